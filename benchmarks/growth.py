"""What an event costs as the system grows: with shards, with watches, with stored events.

    python -m benchmarks growth [--shards 10 100 1000] [--watches 100 1000 10000]
                                [--stored 10000 100000] [--plots docs/reference] [--json]
    python -m benchmarks growth --full

*shards*: CPU time of a worker for a billing record, from Kafka to the derived topics and Redis,
when as many shards take turns; there are 10,000 directories each time, so most of 30,000 records
touch one that is new to the replay log, and one in ten of the 100,000 of `--full`. *watches*: CPU
time of an API node for an event that one of so many watches is told, each on a directory of its
own, a hundred to a stream. *stored*: CPU time, ours and Redis's, to write an event to a replay log
that holds so many, and to give one of its hundred to a reader who missed the last 10,000; and how
long a reader waits who missed all there is. `--plots` writes what is printed as SVG, too. `--full`
goes up to 10,000 shards, 100,000 watches and 10,000,000 stored events, for which Redis needs 3 GB.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import uvloop

from benchmarks import billing, load, options, pipeline, plots, replay, streams, workers
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_RECORDS = 30_000
_RECORDS_FULL = 100_000
_DIRECTORIES = 10_000
_MESSAGES = 4_000
_WATCHES_A_STREAM = 100
_STORE_SAMPLE = 10_000
_ONE_IN = 100
_READS = 50
_MICRO = 1e6
_MIB = 2**20
FULL = {
    "shards": [10, 100, 1_000, 10_000],
    "watches": [100, 1_000, 10_000, 100_000],
    "stored": [10_000, 100_000, 1_000_000, 10_000_000],
}
USUAL = {"shards": [10, 100, 1_000], "watches": [100, 1_000, 10_000], "stored": [10_000, 100_000]}
QUICK = {"shards": [10, 100], "watches": [100, 1_000], "stored": [10_000]}
TAKES_S = (90, 25)


def shards(
    services: tuple[str, str], counts: Sequence[int], base: str, records: int
) -> list[dict[str, Any]]:
    """Measure a worker with so many shards.

    Args:
        services: Kafka and Redis.
        counts: how many shards, one after the other.
        base: the prefix of the topics.
        records: how many are derived from each time.
    """
    rows = []
    for count in counts:
        options.say(f"{count:,} shards")
        directories = max(1, _DIRECTORIES // count)
        values = list(billing.encoded(records, shards=count, directories=directories))
        measured = []
        for way in ("worker", "worker+replay"):
            prefix = f"{base}{count}-{way.replace('+', '-')}-"
            asyncio.run(load.make_topics(services[0], [prefix]))
            asyncio.run(load.fill(services[0], prefix, values))
            measured.append(pipeline.measure(way, services, prefix, records))
        derived, kept = measured
        micros = {"derive µs": derived, "derive and keep µs": kept}
        row = {name: one["cpu_s_per_million"] for name, one in micros.items()}
        rows.append({"shards": count, **row, "memory MB": kept["memory_mb"]})
    return rows


class _Nowhere:
    """A reader's connection that is always ready: counts what is written and drops it."""

    def __init__(self) -> None:
        self.written_bytes = 0

    def write(self, data: bytes, /) -> None:
        self.written_bytes += len(data)

    def unsent_bytes(self) -> int:
        return 0

    async def drain(self) -> None:
        return

    def close(self) -> None:
        return

    abort = close


async def _deliver(world: Any, values: Sequence[bytes]) -> None:
    for at in range(0, len(values), _WATCHES_A_STREAM):
        for value in values[at : at + _WATCHES_A_STREAM]:
            world.deliver(value)
        await asyncio.sleep(0.002)  # the flusher's turn
    await asyncio.sleep(0.05)


async def _watches(count: int) -> dict[str, Any]:
    delivery_world: Any = importlib.import_module("tests.delivery_world")
    builders: Any = importlib.import_module("tests.builders")
    reader = builders.principal(1000)
    streams_needed = -(-count // _WATCHES_A_STREAM)
    async with delivery_world.World() as world:
        world.storage.principals["a"] = reader
        places = [builders.inode(10_000 + n) for n in range(count)]
        sinks: list[Any] = []
        for first in range(0, count, _WATCHES_A_STREAM):
            channel = await world.channel(maximum=streams_needed)
            for number in range(first, min(count, first + _WATCHES_A_STREAM)):
                world.directory(places[number], f"/d{number}")
                await world.subscribe(channel.id, f"/d{number}")
            sink = _Nowhere()
            stream = await world.hubs[0].connect(channel.id, principal=reader, credentials="a")
            world.streams.append((stream, asyncio.create_task(stream.run(sink)), sink))
            sinks.append(sink)
        while any(stream.held is not None for stream, _, _ in world.streams):
            await asyncio.sleep(0.01)
        held_bytes = psutil.Process().memory_info().rss
        # A burst goes to one stream: how many events are joined in a write is always the same.
        told = [
            (burst * max(1, streams_needed * _WATCHES_A_STREAM // _MESSAGES) % streams_needed)
            * _WATCHES_A_STREAM
            + number
            for burst in range(_MESSAGES // _WATCHES_A_STREAM)
            for number in range(_WATCHES_A_STREAM)
        ]
        values = [
            world.message(
                ancestors=delivery_world.ROOT + places[watch % count],
                path=f"/d{watch % count}/f{n}",
                permissions="0:0:755 0:0:755 0:0:644",
            )[0]
            for n, watch in enumerate(told + told)
        ]
        await _deliver(world, values[:_MESSAGES])  # a watch's first event costs more
        told_bytes = sum(sink.written_bytes for sink in sinks)
        gc.collect()
        begin_s = time.process_time()
        await _deliver(world, values[_MESSAGES:])
        spent_s = time.process_time() - begin_s
        told_bytes = sum(s.written_bytes for s in sinks) - told_bytes
    assert told_bytes > _MESSAGES * 50, "every message is told to one watch"
    return {
        "watches": count,
        "streams": streams_needed,
        "deliver µs": spent_s / _MESSAGES * _MICRO,
        "memory MB": held_bytes / _MIB,
    }


async def _cpu_s(redis: Any) -> float:
    """Return the CPU time that this process and Redis have used, in seconds."""
    used = await redis.info("cpu")
    return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def _stored(url: str, counts: Sequence[int]) -> list[dict[str, Any]]:
    redis = connect(url, timeout_s=120)
    prefix = f"bench-{uuid.uuid4().hex[:8]}:"
    log = RedisReplayLog(
        redis, prefix=prefix, event_type="inotify", max_age_s=86_400, max_bytes=64 * 2**30
    )
    events = replay.Events(1)
    few, *others = events.directories
    own = 0
    rows = []

    async def read(after: int, expected: int) -> tuple[float, float]:
        """Return CPU seconds and seconds of reading what the directory was told."""
        begin_s, begin = await _cpu_s(redis), time.perf_counter()
        for _ in range(_READS):
            found, _ = await replay.read(log, [few], [], after, events.number)
            assert found == expected, found
        elapsed_s = time.perf_counter() - begin
        return (await _cpu_s(redis) - begin_s) / _READS, elapsed_s / _READS

    try:
        for count in counts:
            options.say(f"{count:,} stored events")
            fill = max(0, count - _STORE_SAMPLE - events.number)
            if fill:
                others_only = replay.batches(events, fill, lambda n: others[n % len(others)])
                await replay.write(log, others_only, events.number)
            before = events.number
            sample = list(
                replay.batches(
                    events,
                    _STORE_SAMPLE,
                    lambda n: others[n % len(others)] if n % _ONE_IN else few,
                )
            )
            begin_s = await _cpu_s(redis)
            await replay.write(log, iter(sample), before)
            written_s = await _cpu_s(redis) - begin_s
            info = await redis.info("memory")
            own += _STORE_SAMPLE // _ONE_IN
            read_s, _ = await read(before, _STORE_SAMPLE // _ONE_IN)
            _, read_all_s = await read(0, own)
            rows.append(
                {
                    "stored": events.number,
                    "write µs": written_s / _STORE_SAMPLE * _MICRO,
                    "read µs": read_s / _STORE_SAMPLE * _ONE_IN * _MICRO,
                    "missed all, ms": read_all_s * 1000,
                    "memory MB": info["used_memory"] / _MIB,
                }
            )
    finally:
        async for key in redis.scan_iter(f"{prefix}*", count=10_000):
            await redis.unlink(key)
        await log.close()
    return rows


def _plots(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Return the plots, as SVG by name: of CPU time and of memory."""
    shown = {
        "shards": ("shards", "a worker", ["derive µs", "derive and keep µs"]),
        "watches": ("watches", "an API node", ["deliver µs"]),
        "stored": ("events in the replay log", "Redis", ["write µs", "read µs"]),
    }
    drawn = {}
    for name, (label, of, columns) in shown.items():
        if not rows[name]:
            continue
        cost = {
            column.removesuffix(" µs"): [(row[name], row[column]) for row in rows[name]]
            for column in columns
        }
        memory = {"": [(row[name], row["memory MB"]) for row in rows[name]]}
        drawn[f"growth-{name}"] = plots.lines("CPU time for an event", label, "µs", cost)
        drawn[f"growth-{name}-memory"] = plots.lines(f"Memory of {of}", label, "MB", memory)
    return drawn


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("growth", __doc__)
    parser.add_argument("--full", action="store_true", help="as large as this system is meant for")
    is_full = "--full" in arguments
    for name, counts in (FULL if is_full else USUAL).items():
        parser.add_argument(f"--{name}", type=int, nargs="*", default=counts)
    parser.add_argument("--plots", type=Path, help="the folder where SVGs are written")
    return options.given(parser, arguments, QUICK)


def _show(rows: list[dict[str, Any]], given: argparse.Namespace) -> list[dict[str, Any]]:
    if rows and not given.json:
        print(f"{streams.table(rows)}\n", flush=True)
    return rows


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print tables and a line of JSON, and return what was measured."""
    given = _options(arguments)
    base = f"bench-{uuid.uuid4().hex[:6]}-"
    rows: dict[str, list[dict[str, Any]]] = {}
    with workers.on_cores(workers.other_cores()), streams.services() as services:
        try:
            records = _RECORDS_FULL if given.full else _RECORDS
            rows["shards"] = _show(shards(services, given.shards, base, records), given)
        finally:
            asyncio.run(load.delete_topics(services[0], base))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            rows["stored"] = _show(loop.run(_stored(services[1], given.stored)), given)
    rows["watches"] = []
    for count in given.watches:
        options.say(f"{count:,} watches")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            rows["watches"].append(loop.run(_watches(count)))
    _show(rows["watches"], given)
    if given.plots:
        for name, svg in _plots(rows).items():
            (given.plots / f"{name}.svg").write_text(svg)
    answer = {"benchmark": "growth", "load_average": os.getloadavg()[0], **rows}
    print(json.dumps(answer))
    return answer
