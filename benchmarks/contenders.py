"""The ways to derive that `pipeline` compares, each a process: how many records a second.

All read the same billing records, call the same functions to derive, produce the same bytes with
the same keys and times, idempotently and confirmed by all replicas, and commit about once a
second. All poll for as many records at once and run on uvloop. Only `worker+replay` writes to
Redis. A process prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import plain_codec
from pipeline.app import Deriving, Replaying, collect_seldom
from pipeline.choice import chosen_event_types
from pipeline.metrics import Metrics
from pipeline.settings import PipelineSettings
from schemas import codec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    Way = Callable[[PipelineSettings, str, int], Awaitable[dict[str, float]]]

_BATCH = 1000
_POLL_S = 0.02


def _peak_kib() -> int:
    """Return the most memory of this process; getrusage would begin with that of its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


class Watch:
    """Measures from the first record to the last."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._before = 0

    def begin(self, before: int = 0) -> None:
        """Say that there are records now.

        Args:
            before: how many were worked on before; they do not count.
        """
        if self._begin is None:
            self._begin = (time.perf_counter(), time.process_time())
            self._before = before

    def result(self, records: int) -> dict[str, float]:
        """Return the rate, the CPU for a million, and the most memory used."""
        assert self._begin is not None
        records -= self._before
        elapsed, cpu = (
            time.perf_counter() - self._begin[0],
            time.process_time() - self._begin[1],
        )
        return {
            "records": records,
            "records_per_s": records / elapsed,
            "cpu_s_per_million": cpu / records * 1e6,
            "memory_mb": _peak_kib() / 1024,
        }


def _derived(
    types: list[Any], by: ModuleType
) -> Callable[[bytes], list[tuple[str, bytes, bytes, int]]]:
    """Return what makes (topic, key, value, timestamp) of a billing record's bytes, by a codec."""
    decode = by.decoder("billing")
    kinds = [(kind.topic.name, kind.derive, by.encoder(kind.name)) for kind in types]

    def derive(value: bytes) -> list[tuple[str, bytes, bytes, int]]:
        billing: Any = decode(value)
        key = billing["shard"].encode()
        at = billing["time_us"] // 1000
        return [
            (topic, key, encode(message), at)
            for topic, derive, encode in kinds
            for message in derive(billing)
        ]

    return derive


async def bare(settings: PipelineSettings, source: str, count: int) -> dict[str, float]:
    """Measure a loop of aiokafka and fastavro alone."""
    return await _bare(settings, source, count, plain_codec)


async def bare_with_codec(settings: PipelineSettings, source: str, count: int) -> dict[str, float]:
    """Measure a loop of aiokafka and our codec."""
    return await _bare(settings, source, count, codec)


async def _bare(
    settings: PipelineSettings, source: str, count: int, by: ModuleType
) -> dict[str, float]:
    """Loop: getmany, derive, one batch per topic and partition."""
    derive = _derived(chosen_event_types(settings.event_types), by)
    consumer = AIOKafkaConsumer(
        f"{source}billing",
        bootstrap_servers=settings.bootstrap,
        group_id=f"{settings.topic_prefix}bare",
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        auto_commit_interval_ms=1000,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap,
        acks="all",
        enable_idempotence=True,
        max_batch_size=settings.max_batch_bytes,
    )
    await producer.start()
    await consumer.start()
    watch, done = Watch(), 0
    while done < count:
        read = await consumer.getmany(timeout_ms=1000, max_records=_BATCH)
        if read:
            watch.begin()
        batches: dict[tuple[str, int], Any] = {}
        for tp, records in read.items():
            for record in records:
                for topic, key, value, at in derive(record.value):
                    batch = batches.get((topic, tp.partition))
                    if batch is None:
                        batch = batches[topic, tp.partition] = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=at)
            done += len(records)
        sent = [
            await producer.send_batch(
                batch, f"{settings.topic_prefix}{topic}", partition=partition
            )
            for (topic, partition), batch in batches.items()
        ]
        await asyncio.gather(*sent)
    result = watch.result(done)
    await consumer.stop()
    await producer.stop()
    return result


async def stock(settings: PipelineSettings, source: str, count: int) -> dict[str, float]:
    """Measure Faust as its guide says: an agent with `take`, `topic.send`, futures gathered."""
    with tempfile.TemporaryDirectory() as data:
        return await _stock(settings, source, count, data)


async def _stock(
    settings: PipelineSettings, source: str, count: int, data: str
) -> dict[str, float]:
    prefix = settings.topic_prefix
    types = chosen_event_types(settings.event_types)
    derive = _derived(types, codec)
    app = faust.App(
        f"{prefix}stock",
        broker=f"kafka://{settings.bootstrap}",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        store="memory://",
        datadir=data,
        consumer_auto_offset_reset="earliest",
        autodiscover=False,
        producer_acks=-1,
        producer_linger=0.005,  # kinder than its default, 0: a request for each message
    )
    raw = {"value_type": bytes, "value_serializer": "raw", "key_type": bytes}
    outputs = {kind.topic.name: app.topic(f"{prefix}{kind.topic.name}", **raw) for kind in types}
    watch, finished, done = Watch(), asyncio.Event(), 0

    @app.agent(app.topic(f"{source}billing", **raw))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        nonlocal done
        async for values in stream.take(_BATCH, within=0.05):
            watch.begin()
            sent = [
                await outputs[topic].send(key=key, value=message, timestamp=at / 1000)
                for value in values
                for topic, key, message, at in derive(value)
            ]
            await asyncio.gather(*sent)
            done += len(values)
            if done >= count:
                finished.set()

    await app.start()
    await finished.wait()
    result = watch.result(done)
    await app.stop()
    return result


async def worker(
    settings: PipelineSettings, _source: str, count: int, *, replay: bool = False
) -> dict[str, float]:
    """Measure our worker, with or without the replay log in the same process."""
    metrics, stopping, watch = Metrics(), asyncio.Event(), Watch()
    parts: list[Any] = [Deriving(settings, metrics)]
    if replay:
        parts.append(Replaying(settings, metrics))
    collect_seldom()
    tasks = [asyncio.create_task(part.run(stopping)) for part in parts]
    kinds = [kind.name for kind in chosen_event_types(settings.event_types)]
    while not metrics.value("records_total"):
        await asyncio.sleep(_POLL_S)
    watch.begin(metrics.value("records_total"))

    def is_done() -> bool:
        if metrics.value("records_total") < count or parts[0].in_flight_bytes:
            return False
        events = sum(metrics.value("events_total", event_type=name) for name in kinds)
        return not replay or metrics.value("replayed_total") >= events

    while not is_done():
        assert not any(task.done() for task in tasks), tasks
        await asyncio.sleep(_POLL_S)
    result = watch.result(count)
    stopping.set()
    await asyncio.gather(*tasks)
    return result


async def worker_with_replay(
    settings: PipelineSettings, source: str, count: int
) -> dict[str, float]:
    """Measure our worker with the replay log in the same process."""
    return await worker(settings, source, count, replay=True)


WAYS: dict[str, Way] = {
    "bare": bare,
    "bare+codec": bare_with_codec,
    "stock": stock,
    "worker": worker,
    "worker+replay": worker_with_replay,
}


def main() -> None:
    """Measure one way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--source", required=True, help="prefix of the billing topic")
    parser.add_argument("--prefix", required=True, help="prefix of the derived topics")
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--event-types", default="")
    given = parser.parse_args()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    settings = PipelineSettings(
        kafka_bootstrap=given.kafka,
        redis_url=given.redis,
        redis_prefix=given.prefix,
        topic_prefix=given.prefix,
        event_types=tuple(name for name in given.event_types.split(",") if name),
    )

    async def measure() -> dict[str, float]:
        return await WAYS[given.way](settings, given.source, given.count)

    print(json.dumps(asyncio.run(measure())))
    os._exit(0)  # Faust's threads take their time


if __name__ == "__main__":
    main()
