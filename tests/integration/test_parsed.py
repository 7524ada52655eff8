"""Records that are left as they were parsed say what those of aiokafka say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.transport.parsed import leave_as_parsed
from schemas import kafka_topics, topics

if TYPE_CHECKING:
    from collections.abc import Collection

pytestmark = pytest.mark.stack


async def _read(bootstrap: str, topic: str, parsed: Collection[str]) -> list[tuple[object, ...]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    leave_as_parsed(consumer, parsed)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    (end,) = (await consumer.end_offsets([partition])).values()
    found = []
    try:
        while len(found) < end:
            for records in (
                await consumer.getmany(partition, timeout_ms=1000, max_records=2)
            ).values():
                copied = topic not in parsed
                assert all(hasattr(record, "topic") == copied for record in records)
                found += [
                    (r.offset, r.timestamp, r.timestamp_type, r.key, r.value) for r in records
                ]
            assert await consumer.position(partition) == len(found)
    finally:
        await consumer.stop()
    return found


async def test_they_are_those_of_aiokafka(kafka_bootstrap: str, topic_prefix: str) -> None:
    """Also a record without a key, and one without a value."""
    made = topics.Topic("parsed", "inotify", topics.DAYS)
    await kafka_topics.ensure_topics(kafka_bootstrap, [made], partitions=1, prefix=topic_prefix)
    topic = f"{topic_prefix}parsed"
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for key, value in [(b"k", b"v"), (None, b"v"), (b"k", None), (b"", b""), (b"k", b"v" * 9)]:
            await producer.send_and_wait(
                topic, value, key, partition=0, timestamp_ms=1_700_000_000_123
            )
    copied = await _read(kafka_bootstrap, topic, ())
    assert len(copied) == 5
    assert await _read(kafka_bootstrap, topic, {topic}) == copied
