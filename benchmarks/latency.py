"""How long an event takes from Kafka to its readers when little happens, and at a steady rate.

    python -m benchmarks latency [--seconds 5] [--cases 1x20,100x100]

A case is readers x events a second. Names carry the instant of producing, in nanoseconds. What
the storage, its publisher and the worker add is measured by the demo, end to end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING, Any

from benchmarks import fanout, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = "1x20,100x100"


async def _all(settings: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with streams.services() as given:
        for case in settings.cases.split(","):
            readers, rate = (int(part) for part in case.split("x"))
            rows.append(
                await fanout.measure(
                    "ours", given, readers=readers, rate=rate, seconds=settings.seconds
                )
            )
    return rows


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = argparse.ArgumentParser(prog="benchmarks latency", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    settings = parser.parse_args(arguments)
    rows = asyncio.run(_all(settings))
    if not settings.json:
        print(streams.table(rows))
    result = {"benchmark": "latency", "rows": rows}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
