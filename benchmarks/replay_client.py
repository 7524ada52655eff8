"""Clients that come back: what they have missed, from a node's socket, to the last byte."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import streams
from benchmarks.stream_server import INOTIFY
from schemas import kafka_topics, vocabulary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EVENT: Final = b"event: inotify\n"
_CHUNK_BYTES: Final = 1 << 18
_SILENCE_S: Final = 30.0
_TURNS: Final = 7
_OWN_TURNS: Final = 3
_OWN: Final = (
    ("all", vocabulary.IN_ALL_EVENTS, 3),
    ("one_of_three", vocabulary.IN_CLOSE_WRITE, 1),
)
"""What its own past is asked for: name, flags, events of each upload."""


class Client:
    """One reader of one directory.

    Args:
        port: of the node.
        number: of the directory and the user.
        mask: the events asked for; an upload has three of them.
    """

    def __init__(self, port: int, number: int, mask: int = vocabulary.IN_CLOSE_WRITE) -> None:
        self._port, self._number, self._mask = port, number, mask
        self.channel = ""

    @contextlib.asynccontextmanager
    async def _open(self, last_id: str) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=_CHUNK_BYTES * 4
        )
        query = f"directories={self._number}&mask={self._mask}"
        query += f"&channel={self.channel}" if self.channel else ""
        given = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        writer.write(
            f"GET /open/{self._number}?{query} HTTP/1.1\r\nHost: bench\r\n{given}\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200"), head
        lines = dict(line.partition(": ")[::2] for line in head.split("\r\n"))
        self.channel = {name.lower(): value for name, value in lines.items()}["x-channel"]
        try:
            yield reader
        finally:
            writer.transport.abort()

    async def first(self) -> str:
        """Connect, read the first event, and be gone; return its id."""
        async with self._open("") as reader:
            while True:
                line = await asyncio.wait_for(reader.readline(), _SILENCE_S)
                if line.startswith(b"id: "):
                    return line[4:].strip().decode()

    async def back(self, last_id: str, count: int) -> float:
        """Come back for so many events; return the seconds from the request to the last one."""
        begin = time.perf_counter()
        got, rest = 0, b""
        async with self._open(last_id) as reader:
            while got < count:
                data = rest + await asyncio.wait_for(reader.read(_CHUNK_BYTES), _SILENCE_S)
                got += data.count(_EVENT)
                cut = data.rfind(_EVENT)
                rest = data[max(cut + len(_EVENT), len(data) - len(_EVENT)) :]
            assert got == count, (got, count)
            return time.perf_counter() - begin


async def measure(kafka: str, redis: str, prefix: str, *, own: int, few: int) -> dict[str, Any]:
    """Start a node on a log that is there and let two clients come back to it.

    Args:
        kafka: its brokers.
        redis: where the log is.
        prefix: before topics and keys.
        own: how many events directory 0 has.
        few: how many directory 1 has among all the others.
    """
    topic = INOTIFY.topic
    await kafka_topics.ensure_topics(kafka, [topic], partitions=1, prefix=prefix)
    server = streams.Server("ours", kafka, redis, prefix)
    try:
        await asyncio.to_thread(server.until, lambda state: not state["missing"])
        result = {}
        for name, mask, of_each in _OWN:
            one, count = Client(server.port, 0, mask), own * of_each - 1
            first = await one.first()
            before = server.state()["cpu_s"]
            seconds = [await one.back(first, count) for _ in range(_OWN_TURNS)]
            spent = server.state()["cpu_s"] - before
            result[f"client_own_{name}_per_s"] = count / statistics.median(seconds)
            result[f"client_own_{name}_cpu_us"] = spent / _OWN_TURNS / count * 1e6
        other = Client(server.port, 1)
        first = await other.first()
        fews = [await other.back(first, few - 1) for _ in range(_TURNS)]
        result["client_few_ms"] = 1000 * statistics.median(fews)
        nothing = [await other.back(first, 0) for _ in range(_TURNS)]
        result["client_none_ms"] = 1000 * statistics.median(nothing)
        return result
    finally:
        server.stop()
        await _delete(kafka, prefix + topic.name)


async def _delete(kafka: str, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
