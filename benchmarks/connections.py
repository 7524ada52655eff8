"""Many idle readers on one node: memory for each, keep-alives, one event to all, connecting.

    python -m benchmarks connections [--readers 10000]

Each reader has a channel and a watch of its own. Memory is that of the server process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from typing import TYPE_CHECKING, Any

from benchmarks import options, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEEP_ALIVE_S = 5.0
_RUSH = 1_000
_SPARE_FILES = 200
_LONGEST_S = 30.0
QUICK = {"readers": 1_000}
TAKES_S = (60, 8)


async def _until(crowd: streams.Readers, what: str, count: int) -> tuple[dict[str, Any], float]:
    """Ask until all have read something; return the last report and the seconds it took."""
    begun = time.monotonic()
    report: dict[str, Any] = {}
    seen = 0
    while time.monotonic() - begun < _LONGEST_S:
        report = await asyncio.to_thread(crowd.report)
        seen = report[what] if what == "keep_alives" else seen + report[what]
        if seen >= count:
            break
        await asyncio.sleep(0.02)
    return report | {"seen": seen}, time.monotonic() - begun


async def _measure(kafka: str, redis: str, readers: int) -> dict[str, Any]:
    prefix = streams.new_prefix()
    crowds: list[streams.Readers] = []
    async with streams.source(kafka, prefix) as source:
        server = streams.Server("ours", kafka, redis, prefix, "--keep-alive-s", str(_KEEP_ALIVE_S))
        try:
            empty = await asyncio.to_thread(server.until, lambda state: not state["missing"])
            rush = min(_RUSH, readers)
            crowds.append(await asyncio.to_thread(streams.Readers, server.port, rush))
            if readers > rush:
                more = readers - rush
                crowds.append(
                    await asyncio.to_thread(streams.Readers, server.port, more, first=rush)
                )
            full = await asyncio.to_thread(server.until, lambda state: state["live"] == readers)
            begun = time.monotonic()
            for crowd in crowds:
                await _until(crowd, "keep_alives", rush if crowd is crowds[0] else readers - rush)
            keep_alive_s = time.monotonic() - begun
            reports = []
            begun = time.monotonic()
            await source.send()
            for crowd in crowds:
                count = rush if crowd is crowds[0] else readers - rush
                reports.append((await _until(crowd, "count", count))[0])
            event_s = time.monotonic() - begun
        finally:
            for crowd in crowds:
                crowd.stop()
            server.stop()
    kib = (full["rss_bytes"] - empty["rss_bytes"]) / 1024 / readers
    return {
        "readers": readers,
        "KiB each": kib,
        f"connect {rush}: s": crowds[0].connected_s,
        "all keep-alives: s": keep_alive_s,
        "one event to all: s": event_s,
        "told": sum(report["seen"] for report in reports),
        "last reader: ms": max(report["max_ms"] for report in reports),
    }


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = options.parser("connections", __doc__)
    parser.add_argument("--readers", type=int, default=10_000)
    settings = options.given(parser, arguments, QUICK)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    readers = min(settings.readers, most - _SPARE_FILES)
    with streams.services() as (kafka, redis):
        row = asyncio.run(_measure(kafka, redis, readers))
    if not settings.json:
        print(streams.table([row]))
    result = {"benchmark": "connections", "rows": [row]}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
