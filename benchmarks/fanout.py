"""What it costs to tell an event to many: server CPU for each delivery, and how long it took.

    python -m benchmarks fanout [--seconds 5] [--cases 200x100,200x1000,3000x10] [--no-plain]
                                [--plots docs/reference]

From Kafka to the reader's socket, with channels, ids and permission checks on. *plain* is
sse-starlette with a queue for each client, in the same run. CPU is that of the server process;
`kernel us` is the part of it that the kernel took (of which no server can save much: a write for
each reader). `readers' CPU` is the share of a core that reading took, beside the server.
`KiB each` is what the server's memory grew by for each reader. `--plots` draws both over the
number of readers, for cases like 10x10,100x10,1000x10,10000x10.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import options, plots, streams

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

CASES = "200x100,200x1000,3000x10"
_PLAIN_DELIVERIES_PER_S = 45_000
_SETTLE_S = 10.0
QUICK = {"seconds": 2.0, "cases": "50x50,500x10"}
TAKES_S = (75, 15)


async def measure(
    way: str, given: tuple[str, str], *, readers: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Measure one case in one way, on a given Kafka and Redis."""
    kafka, redis = given
    prefix = streams.new_prefix()
    async with streams.source(kafka, prefix) as source:
        server = streams.Server(way, kafka, redis, prefix)
        crowd = None
        try:
            empty = await asyncio.to_thread(server.until, lambda state: not state["missing"])
            crowd = await asyncio.to_thread(streams.Readers, server.port, readers)
            full = await asyncio.to_thread(server.until, lambda state: state["live"] == readers)
            await source.run(rate, 1.0)  # warm: caches, connections, the interpreter's code
            await asyncio.sleep(0.5)
            read_before_s = crowd.report()["cpu_s"]
            began_s = time.monotonic()
            before = await asyncio.to_thread(server.state)
            sent = await source.run(rate, seconds)
            took_s = time.monotonic() - began_s
            reports = [await asyncio.to_thread(crowd.report)]
            ends = time.monotonic() + _SETTLE_S
            while (
                sum(one["count"] for one in reports) < sent * readers and time.monotonic() < ends
            ):
                await asyncio.sleep(0.1)
                reports.append(await asyncio.to_thread(crowd.report))
            after = await asyncio.to_thread(server.state)
        finally:
            if crowd is not None:
                crowd.stop()
            server.stop()
    delivered = sum(one["count"] for one in reports)
    each_us = 1e6 / max(1, delivered)
    return {
        "way": way,
        "readers": readers,
        "events/s": rate,
        "delivered": delivered,
        "wanted": sent * readers,
        "us/delivered": (after["cpu_s"] - before["cpu_s"]) * each_us,
        "kernel us": (after["kernel_s"] - before["kernel_s"]) * each_us,
        "p50 ms": reports[0]["p50_ms"],
        "p99 ms": reports[0]["p99_ms"],
        "readers' CPU": (reports[0]["cpu_s"] - read_before_s) / took_s,
        "KiB each": (full["rss_bytes"] - empty["rss_bytes"]) / 1024 / readers,
        "RSS MiB": after["rss_bytes"] / 2**20,
    }


async def _all(settings: argparse.Namespace) -> list[dict[str, Any]]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = []
    with streams.services() as given:
        for case in settings.cases.split(","):
            readers, rate = (int(part) for part in case.split("x"))
            ways = ["ours"]
            if settings.plain and readers * rate <= _PLAIN_DELIVERIES_PER_S:
                ways.append("plain")
            rows += [
                await measure(way, given, readers=readers, rate=rate, seconds=settings.seconds)
                for way in ways
            ]
    return rows


def _plots(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the plots over the number of readers, as SVG by name."""
    cost: dict[str, list[tuple[float, float]]] = {"all": [], "in the kernel": []}
    memory: list[tuple[float, float]] = []
    for row in rows:
        if row["way"] == "ours":
            cost["all"].append((row["readers"], row["us/delivered"]))
            cost["in the kernel"].append((row["readers"], row["kernel us"]))
            memory.append((row["readers"], row["RSS MiB"]))
    return {
        "fanout-readers": plots.lines("CPU time for a delivered event", "readers", "µs", cost),
        "fanout-readers-memory": plots.lines(
            "Memory of an API node", "readers", "MiB", {"": memory}
        ),
    }


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = options.parser("fanout", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--no-plain", dest="plain", action="store_false")
    parser.add_argument("--plots", type=Path, help="the folder where SVGs are written")
    settings = options.given(parser, arguments, QUICK)
    rows = asyncio.run(_all(settings))
    if not settings.json:
        print(streams.table(rows))
    if settings.plots:
        for name, svg in _plots(rows).items():
            (settings.plots / f"{name}.svg").write_text(svg)
    result = {"benchmark": "fanout", "rows": rows}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
