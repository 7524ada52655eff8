"""How many billing records a worker derives a second, beside bare aiokafka and stock Faust.

    python -m benchmarks pipeline [--records 50000] [--shards 4] [--event-types inotify] [--json]

Each way is a process that reads the same records from Kafka and produces the same messages.
*bare* is a loop of aiokafka alone; *stock* is Faust with `take` and `topic.send`; *worker* is ours
without, *worker+replay* with the replay log in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

from benchmarks import billing, streams
from pipeline.choice import chosen_event_types, needed_topics
from schemas import kafka_topics

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITIONS = 8
_MAX_BATCH = 900_000
_STOCK_SHARE = 5
_WAYS = ("bare", "worker", "worker+replay", "stock")


async def fill(bootstrap: str, prefix: str, count: int, shards: int) -> None:
    """Write billing records as the publisher does, in large batches."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=_MAX_BATCH
    )
    await producer.start()
    batches: dict[int, Any] = {}

    async def flush(partition: int) -> None:
        batch = batches.pop(partition)
        await (await producer.send_batch(batch, f"{prefix}billing", partition=partition))

    for key, value, timestamp in billing.encoded(count, shards=shards):
        partition = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        for _ in range(2):
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=timestamp) is not None:
                break
            await flush(partition)
    for partition in list(batches):
        await flush(partition)
    await producer.stop()


async def _prepare(bootstrap: str, prefixes: Sequence[str], given: argparse.Namespace) -> None:
    for prefix in prefixes:
        await kafka_topics.ensure_topics(
            bootstrap, needed_topics(chosen_event_types(())), partitions=PARTITIONS, prefix=prefix
        )
        await fill(bootstrap, prefix, given.records, given.shards)


async def _delete(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    mine = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
    await admin.delete_topics(mine)
    await admin.close()


def _measure(way: str, kafka: str, redis: str, prefix: str, given: Any) -> dict[str, Any]:
    count = given.records // _STOCK_SHARE if way == "stock" else given.records
    command = [sys.executable, "-m", "benchmarks.contenders", way]
    command += ["--kafka", kafka, "--redis", redis, "--count", str(count)]
    command += ["--source", prefix, "--prefix", prefix, "--event-types", given.event_types]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{way} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| way | records/s | of bare | CPU s per million | memory MB |",
        "|---|---|---|---|---|",
    ]
    base = results["bare"]["records_per_s"]
    for way, one in results.items():
        rate = one["records_per_s"]
        lines.append(
            f"| {way} | {rate:,.0f} | {rate / base:.2f} | {one['cpu_s_per_million']:.1f} "
            f"| {one['memory_mb']:.0f} |"
        )
    return "\n".join(lines)


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure all ways, print a table and a line of JSON, and return what was measured."""
    parser = argparse.ArgumentParser(prog="benchmarks pipeline", description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--event-types", default="", help="joined by commas; empty: all")
    parser.add_argument("--repeat", type=int, default=3, help="of the best-of; stock runs once")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    given = parser.parse_args(arguments)
    base = f"bench-{uuid.uuid4().hex[:6]}-"
    results: dict[str, dict[str, Any]] = {}
    with streams.services() as (kafka, redis):
        rounds = [
            (way, n) for n in range(given.repeat) for way in _WAYS if n == 0 or way != "stock"
        ]
        try:
            asyncio.run(
                _prepare(kafka, [f"{base}{way[:5]}{n}{len(way)}-" for way, n in rounds], given)
            )
            runs: dict[str, list[dict[str, Any]]] = {}
            for way, n in rounds:
                prefix = f"{base}{way[:5]}{n}{len(way)}-"
                runs.setdefault(way, []).append(_measure(way, kafka, redis, prefix, given))
        finally:
            asyncio.run(_delete(kafka, base))
    for way, several in runs.items():
        middle = statistics.median_low(one["records_per_s"] for one in several)
        results[way] = next(one for one in several if one["records_per_s"] == middle)
    if not given.json:
        print(_table(results))
    answer = {"benchmark": "pipeline", "event_types": given.event_types or "all", **results}
    print(json.dumps(answer))
    return answer
