"""How long an event takes: the storage's commit to a client's read, and Kafka to many readers.

    python -m benchmarks latency [--uploads 200] [--seconds 5] [--cases 1x20,100x100]

The first table is the whole way on an idle system: real storage, Kafka, worker, Redis, API, one
upload at a time. In the second a case is readers x events a second, from producing to reading;
names carry the instant of producing, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from benchmarks import chain, fanout, options, streams

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

CASES = "1x20,100x100"
QUICK = {"uploads": 20, "seconds": 2.0, "cases": "1x20,20x50"}
TAKES_S = (40, 18)


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
    parser = options.parser("latency", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--uploads", type=int, default=200)
    settings = options.given(parser, arguments, QUICK)
    whole = chain.measure(settings.uploads)
    rows = asyncio.run(_all(settings))
    if not settings.json:
        print(streams.table([whole]))
        print(streams.table(rows))
    result = {"benchmark": "latency", "whole": whole, "rows": rows}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
