"""What the stream benchmarks share: a server process, reader processes, a producer at a rate."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.stream_server import INOTIFY, PERMISSIONS, ROOT, directory
from deploy.local.processes import free_ports
from schemas import codec, kafka_topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_READY_S = 60.0


@contextlib.contextmanager
def services() -> Iterator[tuple[str, str]]:
    """Give Kafka and Redis: those of KAFKA_BOOTSTRAP and REDIS_URL, or ones started for this."""
    with contextlib.ExitStack() as stack:
        bootstrap, url = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("REDIS_URL")
        if not bootstrap or not url:
            from tests import services as local

            bootstrap = bootstrap or stack.enter_context(local.running_kafka()).bootstrap
            url = url or stack.enter_context(local.running_redis()).url
        yield bootstrap, url


class Server:
    """The process under test."""

    def __init__(self, way: str, kafka: str, redis: str, prefix: str, *options: str) -> None:
        self.port = free_ports(1)[0]
        arguments = ["--way", way, "--port", str(self.port), "--kafka", kafka]
        arguments += ["--redis", redis, "--prefix", prefix, *options]
        command = [sys.executable, "-m", "benchmarks.stream_server", *arguments]
        self.process = subprocess.Popen(command)

    def state(self) -> dict[str, Any]:
        """Return what it has used, and what it misses."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=30) as answer:
            content: dict[str, Any] = json.load(answer)
        return content

    def until(self, enough: Any) -> dict[str, Any]:
        """Wait until its state is enough."""
        ends = time.monotonic() + _READY_S
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                state = self.state()
                if enough(state):
                    return state
            time.sleep(0.1)
        raise TimeoutError("the server under test is not ready")

    def stop(self) -> None:
        """End it; it has nothing to lose."""
        self.process.kill()
        self.process.wait()


class Readers:
    """A process full of readers."""

    def __init__(self, port: int, readers: int, *, first: int = 0, query: str = "") -> None:
        command = [sys.executable, "-m", "benchmarks.stream_readers", "--port", str(port)]
        command += ["--readers", str(readers), "--first", str(first), "--query", query]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.connected_s = float(self._line()["connected_s"])

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        content: dict[str, Any] = json.loads(self.process.stdout.readline())
        return content

    def report(self) -> dict[str, Any]:
        """Return what was read since the last report."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()

    def stop(self) -> None:
        """End them."""
        self.process.kill()
        self.process.wait()


class Source:
    """Produces inotify messages to Kafka; each says in its name when that was."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._topic = prefix + INOTIFY.topic.name
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
        self.number = 0
        (self._made,) = INOTIFY.derive(record("CREATE"))

    def value(self, number: int = 0) -> bytes:
        """Return the next message: a file was created in `/d<number>`, now."""
        self.number += 1
        name = f"t{time.time_ns()}~"
        parent = directory(number)
        made = {
            **self._made,
            "number": self.number,
            "watched": parent + self._made["watched"][18:],
            "ancestors": ROOT + parent,
            "names": [name, *self._made["names"][1:]],
            "path": f"/d{number}/{name}",
        }
        return codec.encode("inotify", made)

    async def send(self, number: int = 0) -> None:
        """Send one message."""
        await self._producer.send(self._topic, self.value(number), key=b"sim", partition=0)

    async def run(self, rate: float, seconds: float) -> int:
        """Send at a rate; return how many were sent."""
        begun = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - begun) < seconds:
            while sent < passed * rate:
                await self.send()
                sent += 1
            await asyncio.sleep(max(0.0, (sent + 1) / rate - (time.perf_counter() - begun)))
        await self._producer.flush()
        return sent


def record(kind: str) -> Any:
    """Return the billing record of an operation on a file in `/d0`."""
    from tests import builders

    return builders.billing_record(
        kind=kind, ancestors=ROOT + directory(0), permissions=f"{PERMISSIONS} 0:0:644"
    )


@contextlib.asynccontextmanager
async def source(bootstrap: str, prefix: str) -> AsyncIterator[Source]:
    """Give a source whose topic is made before and deleted after."""
    await kafka_topics.ensure_topics(bootstrap, [INOTIFY.topic], partitions=1, prefix=prefix)
    made = Source(bootstrap, prefix)
    await made._producer.start()
    try:
        yield made
    finally:
        await made._producer.stop()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.delete_topics([prefix + INOTIFY.topic.name])
        await admin.close()


def new_prefix() -> str:
    """Return a prefix that nothing else has."""
    return f"bench-{uuid.uuid4().hex[:8]}-"


def table(rows: list[dict[str, Any]]) -> str:
    """Write rows as a table."""
    columns = list(rows[0])
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
