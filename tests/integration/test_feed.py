"""The feed against a real Kafka: in order, from where the log is, through outages and garbage."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from api.feed import Feed
from pipeline.event_types import inotify
from pipeline.replay.log import Batch, Entry
from pipeline.replay.memory_log import MemoryReplayLog
from schemas import codec, kafka_topics
from tests import builders
from tests.topics import delete_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from api.delivery_message import Message

pytestmark = pytest.mark.stack
INOTIFY = inotify.EVENT_TYPE
TYPES: Any = {"inotify": INOTIFY}


def message(number: int, shard: str = "sim") -> bytes:
    """Return a message as it stands on Kafka."""
    record = builders.billing_record(number=number, shard=shard, kind="CREATE")
    (made,) = INOTIFY.derive(record)
    return codec.encode("inotify", made)


class Seen:
    """What a feed delivered."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int]] = []
        self.marks: dict[str, int] = {}
        self.more = asyncio.Event()

    def deliver(self, message: Message) -> None:
        self.messages.append((message.shard, message.number))
        self.more.set()

    def learn(self, marks: Mapping[str, Mapping[str, int]]) -> None:
        self.marks = dict(marks["inotify"])

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not enough():
                self.more.clear()
                await self.more.wait()


@contextlib.asynccontextmanager
async def running(feed: Feed) -> AsyncIterator[Seen]:
    """Run a feed; give what it delivers."""
    seen = Seen()
    task = asyncio.create_task(feed.run(seen.deliver, seen.learn))
    try:
        yield seen
        assert not task.done()
    finally:
        task.cancel()


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await made.start()
    yield made
    await made.stop()


async def make_topic(bootstrap: str, prefix: str) -> str:
    await kafka_topics.ensure_topics(bootstrap, [INOTIFY.topic], partitions=2, prefix=prefix)
    return prefix + INOTIFY.topic.name


async def send(producer: AIOKafkaProducer, topic: str, value: bytes, partition: int = 0) -> int:
    return int((await producer.send_and_wait(topic, value, partition=partition)).offset)


async def test_a_feed_begins_where_the_log_is_and_reads_all_partitions_in_order(
    kafka_bootstrap: str, topic_prefix: str, producer: AIOKafkaProducer
) -> None:
    topic = await make_topic(kafka_bootstrap, topic_prefix)
    for number in range(1, 6):
        await send(producer, topic, message(number))
    log = MemoryReplayLog()
    entries = [Entry("sim", number, b"", b"", message(number)) for number in (1, 2, 3)]
    await log.append([Batch(0, 3, entries)])
    feed = Feed(kafka_bootstrap, TYPES, {"inotify": log}, topic_prefix=topic_prefix)
    async with running(feed) as seen:
        await seen.until(lambda: len(seen.messages) == 2)
        assert (seen.messages, seen.marks) == ([("sim", 4), ("sim", 5)], {"sim": 3})
        for number in range(6, 206):
            await send(producer, topic, message(number, f"s{number % 2}"), number % 2)
        await seen.until(lambda: len(seen.messages) == 202)
        assert [n for shard, n in seen.messages if shard == "s0"] == list(range(6, 206, 2))
        assert [n for shard, n in seen.messages if shard == "s1"] == list(range(7, 206, 2))
        assert feed.connected
        assert feed.caught_up


async def test_garbage_is_counted_and_left_out(
    kafka_bootstrap: str, topic_prefix: str, producer: AIOKafkaProducer
) -> None:
    topic = await make_topic(kafka_bootstrap, topic_prefix)
    await send(producer, topic, b"garbage")
    await send(producer, topic, b"\0\0\0\xff\xff123")
    await producer.send_and_wait(topic, None, key=b"k", partition=0)
    await send(producer, topic, message(1))
    feed = Feed(kafka_bootstrap, TYPES, {"inotify": MemoryReplayLog()}, topic_prefix=topic_prefix)
    async with running(feed) as seen:
        await seen.until(lambda: len(seen.messages) == 1)
        assert feed.unreadable == 3


async def test_a_topic_that_is_not_there_yet_is_waited_for(
    kafka_bootstrap: str, topic_prefix: str, producer: AIOKafkaProducer
) -> None:
    feed = Feed(kafka_bootstrap, TYPES, {"inotify": MemoryReplayLog()}, topic_prefix=topic_prefix)
    async with running(feed) as seen:
        async with asyncio.timeout(60):
            while not feed.connected:
                await asyncio.sleep(0.02)
        assert not feed.caught_up
        topic = await make_topic(kafka_bootstrap, topic_prefix)
        await send(producer, topic, message(1))
        await seen.until(lambda: len(seen.messages) == 1)


async def test_without_kafka_the_feed_goes_on_trying() -> None:
    feed = Feed("127.0.0.1:9", TYPES, {"inotify": MemoryReplayLog()})
    async with running(feed):
        await asyncio.sleep(1.5)
        assert not feed.connected


async def test_a_topic_that_is_made_anew_meanwhile_is_read_from_its_first(
    kafka_bootstrap: str, topic_prefix: str, producer: AIOKafkaProducer
) -> None:
    """It has less than what was read before, and Kafka says so."""
    topic = await make_topic(kafka_bootstrap, topic_prefix)
    for number in range(1, 11):
        await send(producer, topic, message(number))
    feed = Feed(kafka_bootstrap, TYPES, {"inotify": MemoryReplayLog()}, topic_prefix=topic_prefix)
    async with running(feed) as seen:
        await seen.until(lambda: len(seen.messages) == 10)
        await delete_topic(kafka_bootstrap, topic)
        await make_topic(kafka_bootstrap, topic_prefix)
        for number in range(11, 14):
            await send(producer, topic, message(number))
        await seen.until(lambda: len(seen.messages) >= 13)
        assert [number for _, number in seen.messages] == [*range(1, 14)]
