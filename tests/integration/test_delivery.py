"""Three nodes over real Kafka and Redis: who reconnects gets what an undisturbed one gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any, Self

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from api.delivery import Hub
from api.feed import Feed
from api.redis_channel_store import RedisChannelStore
from pipeline.replay import redis_script
from pipeline.replay.log import Batch, Entry
from pipeline.replay.redis_log import RedisReplayLog
from schemas import codec, kafka_topics
from tests.delivery_world import INOTIFY, ROOT, ListSink, World, names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.stack
TYPES: Any = {"inotify": INOTIFY}
PARTITIONS = 2


class RealWorld(World):
    """A world on real services; `happen` only produces, all else comes by itself."""

    def __init__(self, bootstrap: str, redis_url: str, topics: str, keys: str) -> None:
        self.bootstrap, self.redis_url, self.prefix = bootstrap, redis_url, keys
        super().__init__(3, store=self.new_store(), log=self.new_log())
        self.topic_prefix = topics
        self.stores = [self.new_store() for _ in range(3)]
        self.logs = [self.new_log() for _ in range(3)]
        self.hubs = [
            Hub(
                store=store,
                event_types=TYPES,
                logs={"inotify": log},
                feed=Feed(bootstrap, TYPES, {"inotify": log}, topic_prefix=topics),
                gatekeeper=self.storage,
                clock=self.clock,
            )
            for store, log in zip(self.stores, self.logs, strict=True)
        ]
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=1)

    def new_store(self) -> RedisChannelStore:
        return RedisChannelStore(self.redis_url, prefix=self.prefix)

    def new_log(self) -> RedisReplayLog:
        return RedisReplayLog(
            redis_script.connect(self.redis_url, timeout_s=5.0),
            prefix=self.prefix,
            event_type="inotify",
            max_age_s=3600,
            max_bytes=2**30,
        )

    async def happen(self, name: str = "", **changes: Any) -> bytes:
        value, made = self.message(name, **changes)
        partition = 0 if made["shard"] == "sim" else 1
        await self.producer.send(
            self.topic_prefix + INOTIFY.topic.name, value, key=b"sim", partition=partition
        )
        return value

    async def keep(self) -> None:
        """Do the replay agent's work: from Kafka to the log."""
        topic = self.topic_prefix + INOTIFY.topic.name
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        try:
            await consumer.seek_to_beginning(*partitions)
            while True:
                got = await consumer.getmany(timeout_ms=200)
                for partition, records in got.items():
                    entries = [_entry(record.value) for record in records]
                    end = records[-1].offset + 1
                    await self.log.append([Batch(partition.partition, end, entries)])
        finally:
            await consumer.stop()

    async def __aenter__(self) -> Self:
        await kafka_topics.ensure_topics(
            self.bootstrap, [INOTIFY.topic], partitions=PARTITIONS, prefix=self.topic_prefix
        )
        await self.producer.start()
        self.keeper = asyncio.create_task(self.keep())
        await super().__aenter__()
        async with asyncio.timeout(30):
            while any(hub.missing() for hub in self.hubs):
                await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self.keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.keeper
        await self.producer.stop()
        for one in (self.store, self.log, *self.stores, *self.logs):
            await one.close()


def _entry(value: bytes) -> Entry:
    head = codec.decode_head(value)
    above = head["ancestors"] + head["source_ancestors"]
    return Entry(head["shard"], head["number"], head["watched"], above, value)


@pytest.fixture
async def world(
    kafka_bootstrap: str, redis_url: str, topic_prefix: str, redis_prefix: str
) -> AsyncIterator[RealWorld]:
    async with RealWorld(kafka_bootstrap, redis_url, topic_prefix, redis_prefix) as made:
        yield made


async def test_what_happens_between_subscribing_and_connecting_arrives(world: RealWorld) -> None:
    channel = await world.channel()
    await world.happen("older")
    await world.subscribe(channel.id)
    for _ in range(100):
        await world.happen()
    sink = await world.connect(channel.id, node=2)
    await sink.until(lambda sink: len(names(sink)) == 100, 20)
    assert names(sink) == [f"f{n}" for n in range(2, 102)]


async def test_two_hundred_random_reconnects_to_three_nodes_lose_and_double_nothing(
    world: RealWorld,
) -> None:
    chance = random.Random(1)
    places = [bytes([50 + n]) * 18 for n in range(20)]
    calm_channel, channel = await world.channel(), await world.channel()
    for one in (calm_channel, channel):
        for n, inode in enumerate(places):
            world.directory(inode, f"/d{n}")
            await world.subscribe(one.id, f"/d{n}")
    calm = await world.connect(calm_channel.id)
    sink = await world.connect(channel.id, node=1)

    async def work() -> None:
        for _ in range(100):
            for _ in range(100):
                await world.happen(ancestors=ROOT + chance.choice(places))
            await asyncio.sleep(0.01)
        await world.happen("end", ancestors=ROOT + places[0])

    worker = asyncio.create_task(work())
    got: list[str] = []
    last: str | None = None
    for _ in range(200):
        with contextlib.suppress(AssertionError):
            await sink.until(lambda sink: len(sink.frames) > chance.randrange(100), 0.05)
        frames = [one for one in sink.frames if one[1]]
        for _, event_id, data in frames[: chance.randrange(len(frames) + 1)]:
            got.append(data.replace(channel.id, "C"))
            last = event_id
        if last is not None:
            sink = await world.connect(channel.id, node=chance.randrange(3), last_event_id=last)
    await worker
    if not any('"end"' in data for data in got):
        await sink.until(lambda sink: "end" in names(sink), 60)
    await calm.until(lambda sink: "end" in names(sink), 60)
    got += [data.replace(channel.id, "C") for _, event_id, data in sink.frames if event_id]
    assert got == [data.replace(calm_channel.id, "C") for _, i, data in calm.frames if i]
    assert len(got) == 10_001


async def test_shards_each_keep_their_order_and_ids_name_them_all(world: RealWorld) -> None:
    channel = await world.channel()
    for n, shard in enumerate(("sim", "other")):
        world.directory(bytes([60 + n]) * 18, f"/{shard}")
        place = world.storage.places[f"/{shard}"]
        assert place is not None
        world.storage.places[f"/{shard}"] = place.__class__(
            inode=place.inode, is_directory=True, shard=shard, positions={}, path=place.path,
            ancestors=ROOT, permissions=place.permissions,
        )  # fmt: skip
        await world.subscribe(channel.id, f"/{shard}")
    got: list[str] = []
    last: str | None = None
    for turn in range(20):
        sink = await world.connect(channel.id, node=turn % 3, last_event_id=last)
        for n in range(10):
            shard, inode = (("sim", 60), ("other", 61))[n % 2]
            await world.happen(shard=shard, ancestors=ROOT + bytes([inode]) * 18)
        await sink.until(lambda sink: len(sink.frames) >= 5, 20)
        take = random.Random(turn).randrange(1, 6)
        events = [one for one in sink.frames if one[1]][:take]
        got += [json.loads(data)["event"]["name"] for _, _, data in events]
        last = events[-1][1]
    sink = await world.connect(channel.id, last_event_id=last)
    await sink.until(lambda sink: len(got) + len(names(sink)) >= 200, 20)
    got += names(sink)
    numbers = [int(name[1:]) for name in got]
    assert sorted(numbers) == list(range(1, 201))
    for parity in (0, 1):
        of_shard = [number for number in numbers if number % 2 == parity]
        assert of_shard == sorted(of_shard)


async def test_streams_go_on_while_redis_cannot_be_reached(world: RealWorld) -> None:
    channel = await world.channel()
    await world.subscribe(channel.id)
    sink = await world.connect(channel.id)
    await world.until_live(sink)
    for store in world.stores:
        store._redis.connection_pool.connection_kwargs["port"] = 9
        await store._redis.connection_pool.disconnect()
    for _ in range(10):
        await world.happen()
    await sink.until(lambda sink: len(names(sink)) == 10, 20)
    assert isinstance(sink, ListSink)
