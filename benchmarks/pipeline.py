"""How many billing records a worker derives a second, beside bare aiokafka and stock Faust.

    python -m benchmarks pipeline [--records 50000] [--shards 4] [--event-types inotify] [--json]
    python -m benchmarks pipeline --workers 2 [--share 0.4]

Each way is a process that has a core for itself; Kafka, Redis and this process have the others
(where there is more than one core). *bare* is a loop of aiokafka alone, with fastavro: poll,
derive, one batch per topic and partition, wait for all of them. *bare+codec* has our codec
instead of fastavro. *stock* is Faust with `take` and `topic.send`, and our codec; *worker* is ours
without, *worker+replay* with the replay log written to Redis by the same process: the others write
to no Redis. What bare and worker have produced is compared, byte for byte.

With `--workers` it is measured how much more several worker processes do, each on a core.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

from benchmarks import billing, load, options, streams, workers

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_STOCK_SHARE = 5
_WAYS = ("bare", "bare+codec", "worker", "worker+replay", "stock")
_BASES = _WAYS[:2]
_RUN_S = 300
QUICK = {"records": 10_000, "repeat": 1}
TAKES_S = (60, 12)


def measure(
    way: str, services: tuple[str, str], prefix: str, count: int, names: str = ""
) -> dict[str, Any]:
    """Let one of the ways derive from a filled topic, in a process on the first core.

    Args:
        way: one of `contenders.WAYS`.
        services: Kafka and Redis.
        prefix: of the topics and keys.
        count: how many records there are to derive.
        names: the event types, joined by commas; empty: all.
    """
    command = [sys.executable, "-m", "benchmarks.contenders", way]
    kafka, redis = services
    command += ["--kafka", kafka, "--redis", redis, "--count", str(count)]
    command += ["--source", prefix, "--prefix", prefix, "--event-types", names]
    with workers.on_cores(workers.first_core()):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    try:
        out, err = process.communicate(timeout=_RUN_S)
    finally:
        process.kill()
    if process.returncode:
        raise RuntimeError(f"{way} failed:\n{err}")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def _compare(services: tuple[str, str], given: argparse.Namespace, base: str) -> dict[str, Any]:
    kafka, _ = services
    rounds = [(way, n) for n in range(given.repeat) for way in _WAYS if n == 0 or way != "stock"]
    prefixes = {(way, n): f"{base}{way.replace('+', '-')}-{n}-" for way, n in rounds}
    asyncio.run(load.make_topics(kafka, list(prefixes.values())))
    records = list(billing.encoded(given.records, shards=given.shards))
    runs: dict[str, list[dict[str, Any]]] = {}
    for (way, _), prefix in prefixes.items():
        asyncio.run(load.fill(kafka, prefix, records))
        count = given.records // _STOCK_SHARE if way == "stock" else given.records
        one = measure(way, services, prefix, count, given.event_types)
        runs.setdefault(way, []).append(one)
    made = {
        way: asyncio.run(load.digest(kafka, prefixes[way, 0], given.event_types))
        for way in _WAYS[:4]
    }
    assert len(set(made.values())) == 1, f"not the same bytes: {made}"
    return {
        way: {key: statistics.median(one[key] for one in several) for key in several[0]}
        for way, several in runs.items()
    }


def _table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| way | records/s | of bare | of bare+codec | CPU s/10⁶ | bare's | bare+codec's | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    bases = [results[way] for way in _BASES]
    for way, one in results.items():
        rates = [one["records_per_s"] / base["records_per_s"] for base in bases]
        cpus = [base["cpu_s_per_million"] / one["cpu_s_per_million"] for base in bases]
        lines.append(
            f"| {way} | {one['records_per_s']:,.0f} | {rates[0]:.2f} | {rates[1]:.2f} "
            f"| {one['cpu_s_per_million']:.1f} | {cpus[0]:.2f} | {cpus[1]:.2f} "
            f"| {one['memory_mb']:.0f} |"
        )
    return "\n".join(lines)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("pipeline", __doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--event-types", default="", help="joined by commas; empty: all")
    parser.add_argument(
        "--repeat", type=int, default=3, help="medians of so many; stock runs once"
    )
    parser.add_argument("--workers", type=int, default=1, help="compare so many workers with one")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of its core that each of --workers gets"
    )
    return options.given(parser, arguments, QUICK)


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure all ways, print a table and a line of JSON, and return what was measured."""
    given = _options(arguments)
    base = f"bench-{uuid.uuid4().hex[:6]}-"
    with workers.on_cores(workers.other_cores()), streams.services() as services:
        try:
            if given.workers > 1:
                results = workers.compare(services, given, base)
                table = streams.table(list(results.values()))
            else:
                results = _compare(services, given, base)
                table = _table(results)
        finally:
            asyncio.run(load.delete_topics(services[0], base))
    if not given.json:
        print(table)
    answer = {
        "benchmark": "pipeline",
        "event_types": given.event_types or "all",
        "load_average": os.getloadavg()[0],
        **results,
    }
    print(json.dumps(answer))
    return answer
