"""From the outbox to a real Kafka: all of it, in order, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from deploy.local import processes
from schemas import codec
from storage_sim.core import SYSTEM
from storage_sim.publisher import Publisher
from tests import services
from tests.integration.storage_doors import DEMO_USERS, basic
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from storage_sim.storage import Storage

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


@contextlib.asynccontextmanager
async def publishing(storage: Storage, bootstrap: str, prefix: str) -> AsyncIterator[Publisher]:
    """Publish a storage's outbox while the block runs."""
    publisher = Publisher(storage, bootstrap=bootstrap, partitions=PARTITIONS, topic_prefix=prefix)
    running = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def consume(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> list[Any]:
    """Return all messages of a topic."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[Any] = []
        while sum(ends.values()) > len(found):
            got = await consumer.getmany(timeout_ms=1000)
            found.extend(message for messages in got.values() for message in messages)
        return found
    finally:
        await consumer.stop()


def check_order(messages: list[Any]) -> dict[str, list[Any]]:
    """Check that first occurrences are in order without holes; return them by shard.

    A message that is there again is equal to the one before.
    """
    first: dict[str, list[Any]] = defaultdict(list)
    for message in sorted(messages, key=lambda message: (message.partition, message.offset)):
        record = codec.decode("billing", message.value)
        assert message.key.decode() == record["shard"]
        known = first[record["shard"]]
        if record["number"] <= len(known):
            assert known[record["number"] - 1] == record
            continue
        assert record["number"] == len(known) + 1, "a hole, or out of order"
        known.append(record)
    return first


async def test_everything_is_published_in_order(
    tmp_path: Path, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Each shard has its partition, Kafka's default one; what is confirmed is deleted."""
    storage = history.open_storage(tmp_path, depth=1)
    try:
        async with publishing(storage, kafka_bootstrap, topic_prefix) as publisher:
            for number in range(20):
                await asyncio.to_thread(storage.mkdir, SYSTEM, f"/d{number}")
            for number in range(400):
                target = f"/d{number % 20}/f{number}"
                await asyncio.to_thread(storage.write, SYSTEM, target, b"x")
            assert await publisher.drain(30) == 0
            assert publisher.published_records == 820
            assert history.records(storage) == []
        messages = await consume(kafka_bootstrap, f"{topic_prefix}billing")
    finally:
        storage.close()
    shards = check_order(messages)
    assert sum(len(records) for records in shards.values()) == len(messages) == 820
    for message in messages:
        assert message.partition == (murmur2(message.key) & 0x7FFFFFFF) % PARTITIONS
        assert message.timestamp == codec.decode("billing", message.value)["time_us"] // 1000


async def test_what_was_not_deleted_is_published_again_in_order(
    tmp_path: Path, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A publisher that dies between confirmation and deletion repeats, and nothing else."""
    storage = history.open_storage(tmp_path)
    try:
        for number in range(10):
            storage.mkdir(SYSTEM, f"/d{number}")
        for _ in range(2):
            async with publishing(storage, kafka_bootstrap, topic_prefix) as publisher:
                await _until(lambda publisher=publisher: publisher.published_records == 10)
        messages = await consume(kafka_bootstrap, f"{topic_prefix}billing")
    finally:
        storage.close()
    assert len(messages) in {10, 20}  # deletion may have been quick
    assert len(check_order(messages)["sim"]) == 10


async def test_users_do_not_notice_that_kafka_is_away(tmp_path: Path) -> None:
    """Kafka is killed amid work and comes back: nothing waits for it, all is told afterwards."""
    storage = history.open_storage(tmp_path)
    slowest_s = 0.0
    stop = threading.Event()

    def work() -> int:
        nonlocal slowest_s
        number = 0
        while not stop.is_set():
            began_s = time.monotonic()
            storage.mkdir(SYSTEM, f"/d{number}")
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            number += 1
            time.sleep(0.002)
        return number

    with services.running_kafka() as kafka:
        async with publishing(storage, kafka.bootstrap, "") as publisher:
            working = asyncio.create_task(asyncio.to_thread(work))
            await _until(lambda: publisher.published_records > 50)
            await asyncio.to_thread(kafka.kill)
            await _until(lambda: not publisher.connected)
            away = publisher.backlog()
            await _until(lambda: publisher.backlog() > away + 50)
            await asyncio.to_thread(kafka.start)
            await _until(lambda: publisher.connected)
            stop.set()
            made = await working
            assert await publisher.drain(60) == 0
        messages = await consume(kafka.bootstrap, "billing")
    storage.close()
    assert len(check_order(messages)["sim"]) == made
    assert slowest_s < 30, "a request that waits for Kafka waits for longer"


async def _until(condition: Any, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class Served:
    """`python -m storage_sim serve` as a process of its own."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.webdav_port, self.rest_port = services_ports()
        self._folder = folder
        self._environ = {
            **environ,
            "PATH": os.environ["PATH"],
            "STORAGE_EVENTS_STORAGE_FOLDER": str(folder / "storage"),
            "STORAGE_EVENTS_USERS_FILE": str(DEMO_USERS),
            "STORAGE_EVENTS_SYNC": "false",
            "STORAGE_EVENTS_PARTITIONS": str(PARTITIONS),
            "WEBDAV_PORT": str(self.webdav_port),
            "REST_PORT": str(self.rest_port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "storage_sim", "serve"],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self.rest_port}/health/ready").status_code == 200:
                    return
            assert self.process.poll() is None, (self._folder / "log").read_text()
        raise AssertionError((self._folder / "log").read_text())

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


def services_ports() -> tuple[int, int]:
    """Return two free ports."""
    first = processes.free_range(2, random.Random())
    return first, first + 1


def burst(url: str, name: str, confirmed: set[str]) -> None:
    """Upload files one after the other until the server is gone; note what it confirmed."""
    with httpx.Client(base_url=url, headers=basic("alice"), timeout=30) as client:
        for number in range(100_000):
            path = f"/data/exp/{name}-{number}"
            try:
                if client.put(path, content=path.encode()).status_code == 201:
                    confirmed.add(path)
                if number % 3 == 0:
                    moved = client.request(
                        "MOVE", path, headers={"Destination": f"{url}{path}-moved"}
                    )
                    if moved.status_code == 201:
                        confirmed.add(f"{path}-moved")
                        confirmed.discard(path)
            except httpx.TransportError:
                return


async def test_kill_9_in_a_burst(tmp_path: Path, kafka_bootstrap: str, topic_prefix: str) -> None:
    """What was confirmed is there and told; numbers have no holes; SIGTERM ends with 0."""
    served = Served(
        tmp_path,
        {"KAFKA_BOOTSTRAP": kafka_bootstrap, "STORAGE_EVENTS_TOPIC_PREFIX": topic_prefix},
    )
    confirmed: set[str] = set()
    url = f"http://127.0.0.1:{served.webdav_port}"
    for round_number in range(3):
        served.start()
        writers = [
            threading.Thread(target=burst, args=(url, f"r{round_number}w{number}", confirmed))
            for number in range(4)
        ]
        goal = len(confirmed) + 100
        for writer in writers:
            writer.start()
        await _until(lambda goal=goal: len(confirmed) > goal)
        assert served.end(signal.SIGKILL) == -signal.SIGKILL
        for writer in writers:
            writer.join()
    served.start()
    assert served.end(signal.SIGTERM) == 0, (tmp_path / "log").read_text()
    storage = history.open_storage(tmp_path / "storage")
    try:
        tree = history.actual(storage)
        left = history.records(storage)
        contents = {path: storage.read(SYSTEM, path) for path in confirmed & set(tree)}
    finally:
        storage.close()
    told = check_order(await consume(kafka_bootstrap, f"{topic_prefix}billing"))["sim"]
    assert left == []
    assert history.rebuild(told) == tree
    moved_at_the_end = {path for path in confirmed if path not in tree}
    assert all(f"{path}-moved" in tree for path in moved_at_the_end)
    for path, content in contents.items():
        assert content.decode() == path.removesuffix("-moved")
    uploaded = {r["path"] for r in told if r["kind"] == "UPLOAD" and r["status_code"] == 0}
    assert {path.removesuffix("-moved") for path in confirmed} <= uploaded
