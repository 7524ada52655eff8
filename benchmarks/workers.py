"""How much more several workers do than one: real worker processes, each on a core of its own.

The workers join and divide the partitions; then they are stopped (SIGSTOP) while the records are
written, and let go at once. What they have done is read from their `/metrics`, their CPU time from
the system. On a machine with two cores the broker must share them with two workers, and what it
takes is missing from their rate. Therefore each worker, one as well as several, can be given a
share of its core only (`--share`, by SIGSTOP and SIGCONT, in turns), which leaves the rest to
Kafka and Redis. And what they would do if they had their cores for themselves is said, too: so
many times one worker's rate, times its CPU time for a record over theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import billing, load
from deploy.local.processes import free_ports
from pipeline.choice import chosen_event_types

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_READY_S = 60.0
_RUN_S = 300.0
_POLL_S = 0.1
_STOP_S = 15.0
_PERIOD_S = 0.04
_SHARDS = 64
_CORES = os.sched_getaffinity(0)  # as this process was started; it pins itself later


def first_core() -> set[int]:
    """Return the core of the process that is measured."""
    return {min(_CORES)}


def other_cores() -> set[int]:
    """Return the cores of everything else: all but the first, if there are more."""
    return (_CORES - first_core()) or _CORES


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Let this process, and what it starts meanwhile, run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Worker:
    """A worker process on one core."""

    def __init__(self, services: tuple[str, str], prefix: str, core: int, names: str) -> None:
        self._port = free_ports(1)[0]
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP": services[0],
            "REDIS_URL": services[1],
            "STORAGE_EVENTS_TOPIC_PREFIX": prefix,
            "STORAGE_EVENTS_REDIS_PREFIX": prefix,
            "STORAGE_EVENTS_EVENT_TYPES": names,
            "STORAGE_EVENTS_WORKER_SESSION_TIMEOUT_S": "15",
            "STORAGE_EVENTS_LOG_LEVEL": "ERROR",
            "WORKER_HEALTH_PORT": str(self._port),
        }
        with on_cores({core}):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker"], env=environment
            )

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def partitions(self) -> list[tuple[str, int]]:
        """Return the partitions it has and knows the end of, of billing and of what it keeps."""
        try:
            lines = self._metrics()
        except OSError:
            return []
        return [
            (topic, int(partition))
            for name, label, _ in lines
            for topic, partition in re.findall(r'topic="(.*)",partition="(\d+)"', label)
            if name == "lag_records"
        ]

    def counted(self) -> dict[str, float]:
        """Return its counters and gauges, summed over their labels."""
        found: dict[str, float] = {}
        for name, _, value in self._metrics():
            found[name] = found.get(name, 0.0) + value
        return found

    def _metrics(self) -> list[tuple[str, str, float]]:
        """Return its metrics: name, labels, value."""
        text = self._get("/metrics")
        found = re.findall(r"^storage_events_worker_(\w+)(\{.*\})? (\S+)$", text, re.MULTILINE)
        return [(name, label, float(value)) for name, label, value in found]

    def cpu_s(self) -> float:
        """Return the CPU time it has used, in seconds."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def _held_to(share: float, several: list[Worker]) -> Iterator[None]:
    """Let each worker run for a share of the time only, one after the other."""
    over = threading.Event()

    def hold(worker: Worker, wait_s: float) -> None:
        worker.process.send_signal(signal.SIGSTOP)
        over.wait(wait_s)
        while not over.is_set():
            worker.process.send_signal(signal.SIGCONT)
            over.wait(share * _PERIOD_S)
            worker.process.send_signal(signal.SIGSTOP)
            over.wait((1 - share) * _PERIOD_S)
        worker.process.send_signal(signal.SIGCONT)

    threads = [
        threading.Thread(target=hold, args=(one, number * _PERIOD_S / len(several)))
        for number, one in enumerate(several)
        if share < 1
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _until(enough: Any, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not enough():
        if time.monotonic() > ends:
            raise TimeoutError("the workers do not come to an end")
        time.sleep(_POLL_S)


def _is_divided(several: list[Worker], topics: int) -> bool:
    """Whether each partition of billing and of each derived topic has one worker."""
    held = [one.partitions() for one in several]
    all_held = [each for one in held for each in one]
    return (
        len(all_held) == len(set(all_held)) == topics * load.PARTITIONS
        and len({sum(topic.endswith("billing") for topic, _ in one) for one in held}) == 1
    )


def _is_done(several: list[Worker], records: int) -> bool:
    counted = [one.counted() for one in several]

    def total(name: str) -> float:
        return sum(one.get(name, 0.0) for one in counted)

    return (
        total("records_total") >= records
        and not total("in_flight_bytes")
        and total("replayed_total") >= total("events_total")
    )


def _measure(
    several: list[Worker],
    kafka: str,
    prefix: str,
    records: load.Records,
    *,
    topics: int,
    share: float,
) -> dict[str, Any]:
    _until(lambda: _is_divided(several, topics), _READY_S)
    for one in several:
        one.process.send_signal(signal.SIGSTOP)
    asyncio.run(load.fill(kafka, prefix, records, _in_turn))
    before_s = [one.cpu_s() for one in several]
    begin_s = time.perf_counter()
    for one in several:
        one.process.send_signal(signal.SIGCONT)
    with _held_to(share, several):
        _until(lambda: _is_done(several, len(records)), _RUN_S)
    elapsed_s = time.perf_counter() - begin_s
    cpu_s = sum(one.cpu_s() for one in several) - sum(before_s)
    shares = [one.counted()["records_total"] / len(records) for one in several]
    return {
        "workers": len(several),
        "records_per_s": len(records) / elapsed_s,
        "cpu_s_per_million": cpu_s / len(records) * 1e6,
        "largest_share": max(shares),
    }


def _in_turn(key: bytes) -> int:
    """Spread shards evenly, so that each worker has as many records."""
    return int(key.removeprefix(b"sim")) % load.PARTITIONS


def compare(services: tuple[str, str], given: argparse.Namespace, base: str) -> dict[str, Any]:
    """Measure one worker and several.

    Args:
        services: Kafka and Redis.
        given: `records`, `workers`, `share` and `event_types`.
        base: the prefix of the topics.

    Returns:
        For one and for all workers: their rate, their CPU time for a million records, and how
        many times the rate of one that is, measured and by CPU time.
    """
    cores = sorted(_CORES)
    records = list(billing.encoded(given.records, shards=_SHARDS))
    topics = 1 + len(chosen_event_types([n for n in given.event_types.split(",") if n]))
    results: dict[str, dict[str, Any]] = {}
    for count in (1, given.workers):
        prefix = f"{base}{count}-"
        asyncio.run(load.make_topics(services[0], [prefix]))
        several: list[Worker] = []
        try:
            for number in range(count):
                core = cores[number % len(cores)]
                several.append(Worker(services, prefix, core, given.event_types))
            results[f"workers_{count}"] = _measure(
                several, services[0], prefix, records, topics=topics, share=given.share
            )
        finally:
            for one in several:
                one.stop()
    alone = results["workers_1"]
    for row in results.values():
        row["times_one"] = row["records_per_s"] / alone["records_per_s"]
        by_cpu = alone["cpu_s_per_million"] / row["cpu_s_per_million"]
        row["times_one_by_cpu"] = row["workers"] * by_cpu
    return results
