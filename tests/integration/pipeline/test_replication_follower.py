"""The catalogue follows a real Kafka topic: once each, whatever is in it, from where it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.event_types.replication import EVENT_TYPE
from pipeline.replication.follower import Follower
from pipeline.replication.rules import Rule
from schemas import codec, topics
from schemas.kafka_topics import ensure_topics
from tests.unit.pipeline.replication_world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.stack

PARTITIONS = 3


class Topic:
    """The topic `replication` of a Kafka of the test's own."""

    def __init__(self, bootstrap: str, prefix: str, world: World) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.world = world

    async def write(self, partition: int, *values: bytes) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for value in values:
            await producer.send_and_wait(
                self.prefix + EVENT_TYPE.topic.name, value, key=b"a", partition=partition
            )
        await producer.stop()

    def added(self, number: int) -> bytes:
        message = self.world.message("ADDED", "a", f"/f{number}", number, content=b"x")
        return codec.encode(EVENT_TYPE.name, message)

    async def follow_until(self, condition: Callable[[], bool]) -> None:
        """Run a follower until something holds."""
        follower = Follower(
            self.world.catalogue,
            bootstrap=self.bootstrap,
            partitions=PARTITIONS,
            prefix=self.prefix,
        )
        stopped = asyncio.Event()
        running = asyncio.create_task(follower.run(stopped))
        async with asyncio.timeout(60):
            while not condition():
                assert not running.done(), await running
                await asyncio.sleep(0.05)
        stopped.set()
        await running

    async def dead_letters(self, count: int) -> list[Any]:
        consumer = AIOKafkaConsumer(
            self.prefix + topics.DEAD_LETTER.name,
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        async with asyncio.timeout(30):
            letters = [await consumer.getone() for _ in range(count)]
        await consumer.stop()
        return [codec.decode("dead_letter", letter.value) for letter in letters]


@pytest.fixture
async def topic(tmp_path: Path, kafka_bootstrap: str, topic_prefix: str) -> Topic:
    await ensure_topics(
        kafka_bootstrap,
        [EVENT_TYPE.topic, topics.DEAD_LETTER],
        partitions=PARTITIONS,
        prefix=topic_prefix,
    )
    world = World(tmp_path / "c.sqlite", Rule("r", "a", ("b",)))
    return Topic(kafka_bootstrap, topic_prefix, world)


async def test_what_is_read_counts_once_and_garbage_is_set_aside(topic: Topic) -> None:
    first, second, third = (topic.added(number) for number in (1, 2, 3))
    await topic.write(1, first, b"garbage", second, first, third)
    await topic.follow_until(lambda: topic.world.catalogue.offsets().get(1) == 5)
    assert topic.world.states() == {("r", "COPY", "QUEUED"): 3}
    (letter,) = await topic.dead_letters(1)
    assert (letter["partition"], letter["offset"], letter["agent"]) == (1, 1, "catalogue")
    assert letter["value"] == b"garbage"


async def test_a_new_follower_goes_on_where_the_last_one_was(topic: Topic) -> None:
    await topic.write(1, topic.added(1))
    await topic.follow_until(lambda: topic.world.catalogue.offsets().get(1) == 1)
    await topic.write(1, topic.added(2), topic.added(3))
    await topic.follow_until(lambda: topic.world.catalogue.offsets().get(1) == 3)
    assert topic.world.states() == {("r", "COPY", "QUEUED"): 3}


async def test_another_cluster_is_read_from_its_beginning(topic: Topic) -> None:
    """Offsets of a Kafka that is no more mean nothing; numbers still tell what is new."""
    with topic.world.database.transaction() as db:
        db.execute("INSERT INTO offsets VALUES (1, 1000)")
    await topic.write(1, topic.added(1))
    await topic.follow_until(lambda: topic.world.catalogue.offsets().get(1) == 1)
    assert topic.world.states() == {("r", "COPY", "QUEUED"): 1}
