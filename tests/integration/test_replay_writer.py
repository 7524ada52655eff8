"""The replay writer alone, on a real Kafka and a real Redis: where it begins."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.agents.replay import ReplayWriter, make_consumer
from pipeline.event_types.inotify import EVENT_TYPE
from pipeline.metrics import Metrics
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect
from schemas import codec, kafka_topics
from tests import builders
from tests.topics import delete_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHARDS = ("sim0", "sim1", "sim2")
"""One in each partition."""


class Writing:
    """A topic that a test fills, deletes and makes again, and a writer that reads it."""

    def __init__(self, bootstrap: str, prefix: str, log: RedisReplayLog) -> None:
        self.bootstrap, self.prefix, self.log = bootstrap, prefix, log
        self.topic = prefix + EVENT_TYPE.topic.name

    async def make(self) -> None:
        await kafka_topics.ensure_topics(
            self.bootstrap, [EVENT_TYPE.topic], partitions=len(SHARDS), prefix=self.prefix
        )

    async def publish(self, first: int, last: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            for partition, shard in enumerate(SHARDS):
                for number in range(first, last + 1):
                    record = builders.billing_record(shard=shard, number=number)
                    (made,) = EVENT_TYPE.derive(record)
                    value = codec.encode("inotify", made)
                    await producer.send(self.topic, value, key=shard.encode(), partition=partition)
        finally:
            await producer.stop()

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator[None]:
        consumer = make_consumer(
            bootstrap=self.bootstrap, group=self.topic, instance_id="", session_timeout_s=10,
            fetch_bytes=1 << 20,
        )  # fmt: skip
        writer = ReplayWriter(
            consumer=consumer, logs={self.topic: self.log}, batch_records=100, metrics=Metrics()
        )
        task = asyncio.create_task(writer.run())
        try:
            yield
        finally:
            writer.stop()
            await task

    async def until_kept(self, number: int) -> None:
        for shard in SHARDS:
            assert await self.log.wait_for(shard, number, 60)

    async def kept(self) -> list[list[int]]:
        """The numbers of each shard, after its floor."""
        inode = builders.inode(2)
        state = await self.log.state()
        found = []
        for shard in SHARDS:
            after, up_to = state.floors.get(shard, 0), state.marks[shard]
            chunks = [one async for one in self.log.read(shard, [inode], [], after, up_to)]
            found.append([number for chunk in chunks for number, _ in chunk])
        return found

    async def floors(self) -> set[int]:
        state = await self.log.state()
        return {state.floors.get(shard, 0) for shard in SHARDS}


@pytest.fixture
async def writing(
    kafka_bootstrap: str, redis_url: str, topic_prefix: str, redis_prefix: str
) -> AsyncIterator[Writing]:
    """Give a topic and a log of the test's own."""
    log = RedisReplayLog(
        connect(redis_url, timeout_s=10),
        prefix=redis_prefix,
        event_type="inotify",
        max_age_s=3600,
        max_bytes=1 << 30,
    )
    made = Writing(kafka_bootstrap, topic_prefix, log)
    await made.make()
    yield made
    await log.close()


async def test_it_goes_on_where_the_log_is(writing: Writing) -> None:
    """Nothing is repeated, nothing is lost, and nobody is told of a loss."""
    await writing.publish(1, 10)
    async with writing.writer():
        await writing.until_kept(10)
    await writing.publish(11, 20)
    async with writing.writer():
        await writing.until_kept(20)
    assert await writing.kept() == [[*range(1, 21)]] * len(SHARDS)
    assert await writing.floors() == {0}


@pytest.mark.parametrize("grown", [5, 10, 30])
async def test_a_topic_that_was_made_anew_is_read_from_its_first(
    grown: int, writing: Writing
) -> None:
    """Also one that has grown past the offset where the log was; what may be missing is told."""
    await writing.publish(1, 10)
    async with writing.writer():
        await writing.until_kept(10)
    await delete_topic(writing.bootstrap, writing.topic)
    await writing.make()
    await writing.publish(13, 12 + grown)
    async with writing.writer():
        await writing.until_kept(12 + grown)
    assert await writing.kept() == [[*range(13, 13 + grown)]] * len(SHARDS)
    assert await writing.floors() == {12}
