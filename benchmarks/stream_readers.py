"""Many readers in one process: they count events and say how long each took from commit to read.

An event's name begins with when it was made and ends with a tilde, of which there is no other.
Each reader counts tildes, and looks at the time of the first event of what it gets at once (it
waited longest), so that reading costs less than what is measured; a report says how much it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from typing import Any

import uvloop

_MARK = b'"name":"t'
_END = b"~"
_DIGITS = 19


class Reader(asyncio.Protocol):
    """One reader: raw bytes, no parsing of what need not be parsed."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.transport: Any = None
        self.head = b""
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.transport = transport
        query = self.crowd.query.replace("{number}", str(self.number))
        transport.write(
            f"GET /open/{self.number}{query} HTTP/1.1\r\nHost: bench\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Count."""
        crowd = self.crowd
        if not self.is_open:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            assert self.head.startswith(b"HTTP/1.1 200"), self.head
            self.is_open = True
            crowd.open += 1
            data = self.head.partition(b"\r\n\r\n")[2]
        now_ns = time.time_ns()
        if data.startswith(b": k\n"):
            crowd.keep_alives += 1
            return
        crowd.count += data.count(_END)
        first = data.find(_MARK) + len(_MARK)
        sent = data[first : first + _DIGITS]
        if first >= len(_MARK) and len(sent) == _DIGITS:
            crowd.latencies_ns.append(now_ns - int(sent))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Remember that it ended."""
        self.crowd.lost += 1


class Crowd:
    """All readers."""

    def __init__(self, query: str) -> None:
        self.query = query
        self.open = self.count = self.lost = self.keep_alives = 0
        self.latencies_ns: list[int] = []

    def report(self) -> dict[str, Any]:
        """Return counts and latencies since the last report."""
        latencies, self.latencies_ns = sorted(self.latencies_ns), []
        count, self.count = self.count, 0

        def share(part: float) -> float:
            return latencies[int(part * (len(latencies) - 1))] / 1e6 if latencies else 0.0

        return {
            "open": self.open,
            "lost": self.lost,
            "count": count,
            "keep_alives": self.keep_alives,
            "p50_ms": share(0.5),
            "p99_ms": share(0.99),
            "max_ms": share(1.0),
            "cpu_s": _cpu_s(),
        }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def serve(settings: argparse.Namespace) -> None:
    """Connect, then answer each line on stdin with a report."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(settings.query)
    gate = asyncio.Semaphore(100)

    async def connect(number: int) -> None:
        async with gate:
            await loop.create_connection(
                lambda: Reader(crowd, number), settings.host, settings.port
            )

    started = time.monotonic()
    first = settings.first
    await asyncio.gather(*(connect(n) for n in range(first, first + settings.readers)))
    while crowd.open < settings.readers:
        await asyncio.sleep(0.01)
    print(json.dumps({"connected_s": time.monotonic() - started}), flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(json.dumps(crowd.report()), flush=True)


def main() -> None:
    """Read until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--query", default="")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
