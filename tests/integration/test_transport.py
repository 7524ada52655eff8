"""The batch transport in Faust, on a real broker: chunks, offsets, other agents, bounds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.faust_app import create_faust_app, group_id
from pipeline.settings import PipelineSettings
from schemas import kafka_topics, topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.transport.consumer import BatchApp

pytestmark = pytest.mark.stack
_PARTITIONS = 2


class Site:
    """Two topics, and an app that reads them."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix

    async def make(self) -> None:
        wanted = [topics.Topic(name, "", 3_600_000) for name in ("many", "single")]
        await kafka_topics.ensure_topics(
            self.bootstrap, wanted, partitions=_PARTITIONS, prefix=self.prefix
        )

    def app(self, **settings: Any) -> BatchApp:
        chosen: dict[str, Any] = {"batch_records": 50, "commit_interval_s": 0.1, **settings}
        return create_faust_app(self.settings(**chosen))

    def settings(self, **settings: Any) -> PipelineSettings:
        return PipelineSettings(
            kafka_bootstrap=self.bootstrap, topic_prefix=self.prefix, **settings
        )

    async def send(self, topic: str, count: int, size: int = 10) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        for number in range(count):
            value = str(number).encode().ljust(size)
            await producer.send(self.prefix + topic, value, partition=number % _PARTITIONS)
        await producer.stop()

    async def committed(self, topic: str) -> list[int | None]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=group_id(self.settings())
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self.prefix + topic, n) for n in range(_PARTITIONS)]
            return [await consumer.committed(tp) for tp in tps]
        finally:
            await consumer.stop()

    async def until_committed(self, topic: str, offsets: list[int | None]) -> None:
        async with asyncio.timeout(30):
            while await self.committed(topic) != offsets:
                await asyncio.sleep(0.05)


@pytest.fixture
async def site(kafka_bootstrap: str, topic_prefix: str) -> Site:
    made = Site(kafka_bootstrap, topic_prefix)
    await made.make()
    return made


@contextlib.asynccontextmanager
async def running(app: BatchApp) -> AsyncIterator[None]:
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_batched_and_ordinary_agents_live_side_by_side(site: Site) -> None:
    """Each record is seen once by each, in the partition's order, and committed by both."""
    app = site.app()
    chunks: dict[int, list[int]] = {0: [], 1: []}
    sizes: list[int] = []
    singles: list[int] = []

    @app.agent(app.batch_topic(f"{site.prefix}many"))  # type: ignore[untyped-decorator]
    async def many(stream: Any) -> None:
        async for chunk in stream:
            assert chunk.take()
            sizes.append(len(chunk.records))
            chunks[chunk.partition] += [int(record.value) for record in chunk.records]
            chunk.finish()

    raw = {"value_type": bytes, "value_serializer": "raw"}

    @app.agent(app.topic(f"{site.prefix}single", **raw))  # type: ignore[untyped-decorator]
    async def single(stream: Any) -> None:
        async for value in stream:
            singles.append(int(value))  # noqa: PERF401 - the stream never ends

    await site.send("many", 600)
    await site.send("single", 60)
    async with running(app):
        await until(lambda: sum(map(len, chunks.values())) == 600 and len(singles) == 60)
        await site.until_committed("many", [300, 300])
        await site.until_committed("single", [30, 30])
    assert chunks == {0: list(range(0, 600, 2)), 1: list(range(1, 600, 2))}
    assert sorted(singles) == list(range(60))
    assert max(sizes) > 10, "one message of Faust carries many records"


async def test_only_what_is_finished_without_a_gap_is_committed(site: Site) -> None:
    """Whatever Faust acknowledges; the rest is read again after a restart."""
    app = site.app()
    held: list[Any] = []

    @app.agent(app.batch_topic(f"{site.prefix}many"))  # type: ignore[untyped-decorator]
    async def many(stream: Any) -> None:
        async for chunk in stream:
            chunk.take()
            held.append(chunk)

    await site.send("many", 100)
    async with running(app):
        await until(lambda: sum(len(chunk.records) for chunk in held) == 100)
        await site.send("many", 100)
        await until(lambda: sum(len(chunk.records) for chunk in held) == 200)
        first = [chunk for chunk in held if chunk.records[0].offset == 0]
        for chunk in held:
            if chunk not in first:
                chunk.finish()
        assert len(first) == _PARTITIONS
        await asyncio.sleep(0.3)  # several commits
        assert await site.committed("many") == [None, None]
        first[0].finish()
        wanted: list[int | None] = [None, None]
        wanted[first[0].partition] = 100
        await site.until_committed("many", wanted)
        first[1].abandon()
    seen: list[tuple[int, int]] = []
    again = site.app()

    @again.agent(again.batch_topic(f"{site.prefix}many"))  # type: ignore[untyped-decorator]
    async def rest(stream: Any) -> None:
        async for chunk in stream:
            chunk.take()
            seen.extend((chunk.partition, record.offset) for record in chunk.records)
            chunk.finish()

    async with running(again):
        await site.until_committed("many", [100, 100])
    assert seen == [(first[1].partition, offset) for offset in range(100)]


async def test_what_is_handed_out_is_bounded_in_bytes(site: Site) -> None:
    """A slow agent stops the reading, not the memory."""
    app = site.app(max_in_flight_bytes=100_000, batch_records=10)
    held: list[Any] = []

    @app.agent(app.batch_topic(f"{site.prefix}many"))  # type: ignore[untyped-decorator]
    async def many(stream: Any) -> None:
        async for chunk in stream:
            chunk.take()
            held.append(chunk)

    await site.send("many", 500, size=1000)
    finished = 0
    async with running(app):
        await until(lambda: app.consumer.in_flight_bytes >= 100_000)
        await asyncio.sleep(0.3)  # time enough to read all of it
        assert sum(chunk.size_bytes for chunk in held) < 130_000

        async def finish() -> None:
            nonlocal finished
            while finished < 500:
                while held:
                    chunk = held.pop(0)
                    finished += len(chunk.records)
                    chunk.finish()
                await asyncio.sleep(0.01)

        async with asyncio.timeout(30):
            await finish()
        await site.until_committed("many", [250, 250])
        assert app.consumer.in_flight_bytes == 0


async def test_what_comes_before_the_flow_goes_on_is_not_missed(site: Site) -> None:
    """A fetch that was asked for before a rebalance is answered after its seeks."""
    app = site.app()
    read: list[int] = []

    @app.agent(app.batch_topic(f"{site.prefix}many"))  # type: ignore[untyped-decorator]
    async def many(stream: Any) -> None:
        async for chunk in stream:
            assert chunk.take()
            read.extend(int(record.value) for record in chunk.records)
            chunk.finish()

    await site.send("many", 2)
    async with running(app):
        await until(lambda: len(read) == 2)
        consumer = app.consumer
        asked = asyncio.create_task(consumer._getmany(consumer._active_partitions, 20.0))
        await asyncio.sleep(0.5)  # it waits in the consumer's thread
        assert not asked.done()
        consumer.stop_flow()
        await asyncio.sleep(2)  # Faust's own fetch ends, and waits for the flow
        await consumer.perform_seek()
        await site.send("many", 6)
        assert await asked == {}
        consumer.resume_flow()
        await until(lambda: len(read) >= 8)
    assert sorted(read[-6:]) == list(range(6))


def test_a_topic_has_one_batched_agent() -> None:
    app = create_faust_app(PipelineSettings())
    app.batch_topic("billing")
    with pytest.raises(ValueError, match="batched agent already"):
        app.batch_topic("billing")
