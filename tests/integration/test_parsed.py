"""Records that are left as they were parsed say what those of aiokafka say."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords

from pipeline.transport.parsed import ask_for_all, leave_as_parsed
from schemas import kafka_topics, topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

pytestmark = pytest.mark.stack


@contextlib.asynccontextmanager
async def _reading(
    bootstrap: str, partitions: list[TopicPartition], parsed: Collection[str], **options: int
) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", **options
    )
    await consumer.start()
    leave_as_parsed(consumer, parsed)
    ask_for_all(consumer)
    consumer.assign(partitions)
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _read(
    bootstrap: str, topic: str, parsed: Collection[str], begin: int = 0
) -> list[tuple[object, ...]]:
    partition = TopicPartition(topic, 0)
    found = []
    async with _reading(bootstrap, [partition], parsed) as consumer:
        (end,) = (await consumer.end_offsets([partition])).values()
        consumer.seek(partition, begin)
        async with asyncio.timeout(30):
            while await consumer.position(partition) < end:
                for records in (
                    await consumer.getmany(partition, timeout_ms=1000, max_records=2)
                ).values():
                    copied = topic not in parsed
                    assert all(hasattr(record, "topic") == copied for record in records)
                    found += [
                        (r.offset, r.timestamp, r.timestamp_type, r.key, r.value) for r in records
                    ]
    return found


async def _write_four(bootstrap: str, topic: str) -> None:
    """Write four records, each in a batch of its own."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(4):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)


@pytest.fixture
async def topic(kafka_bootstrap: str, topic_prefix: str) -> str:
    made = topics.Topic("parsed", "inotify", topics.DAYS)
    await kafka_topics.ensure_topics(kafka_bootstrap, [made], partitions=2, prefix=topic_prefix)
    return f"{topic_prefix}parsed"


async def test_they_are_those_of_aiokafka(kafka_bootstrap: str, topic: str) -> None:
    """Also a record without a key, one without a value, and those in the middle of a batch."""
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        batch = producer.create_batch()
        for key, value in [(b"k", b"v"), (None, b"v"), (b"k", None), (b"", b""), (b"k", b"v" * 9)]:
            batch.append(key=key, value=value, timestamp=1_700_000_000_123)
        await (await producer.send_batch(batch, topic, partition=0))
        await producer.send_and_wait(topic, b"another batch", partition=0)
    for begin in range(6):
        copied = await _read(kafka_bootstrap, topic, (), begin)
        assert [offset for offset, *_ in copied] == list(range(begin, 6))
        assert await _read(kafka_bootstrap, topic, {topic}, begin) == copied


async def test_what_kafka_notes_of_transactions_is_left_out(
    kafka_bootstrap: str, topic: str
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, transactional_id=topic
    ) as producer:
        for value in (b"a", b"b"):
            async with producer.transaction():
                await producer.send_and_wait(topic, value, partition=0)
    copied = await _read(kafka_bootstrap, topic, ())
    assert [(offset, value) for offset, *_, value in copied] == [(0, b"a"), (2, b"b")]
    assert await _read(kafka_bootstrap, topic, {topic}) == copied


async def test_a_partition_without_records_does_not_keep_others_waiting(
    kafka_bootstrap: str, topic: str
) -> None:
    """While what was fetched lies there, aiokafka by itself asks for the empty one and waits."""
    await _write_four(kafka_bootstrap, topic)
    partitions = [TopicPartition(topic, number) for number in (0, 1)]
    found = []
    async with _reading(
        kafka_bootstrap, partitions, {topic}, fetch_max_wait_ms=30_000, max_partition_fetch_bytes=1
    ) as consumer:
        async with asyncio.timeout(20):
            while len(found) < 4:
                await asyncio.sleep(0.3)
                for records in (await consumer.getmany(*partitions, timeout_ms=1000)).values():
                    found += [record.value for record in records]
    assert found == [b"0", b"1", b"2", b"3"]


async def test_what_was_fetched_goes_without_the_garbage_collector(
    kafka_bootstrap: str, topic: str
) -> None:
    """A worker's collector looks seldom: a ring around a fetch's megabyte keeps it for long."""
    await _write_four(kafka_bootstrap, topic)
    gc.collect()
    gc.disable()
    try:
        assert len(await _read(kafka_bootstrap, topic, {topic})) == 4
        kept = [one for one in gc.get_objects() if isinstance(one, PartitionRecords)]
    finally:
        gc.enable()
    assert not kept


async def test_who_reads_committed_records_only_is_refused(kafka_bootstrap: str) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap, isolation_level="read_committed"
    )
    async with consumer:
        await asyncio.sleep(0)  # aiokafka cannot be stopped before its tasks have begun
        with pytest.raises(ValueError, match="aborted"):
            leave_as_parsed(consumer, {"any"})
