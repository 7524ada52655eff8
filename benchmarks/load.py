"""Topics for load: made, filled with billing records as the publisher does, read back, deleted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

from pipeline.choice import chosen_event_types, needed_topics
from schemas import kafka_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Records = Sequence[tuple[bytes, bytes, int]]

PARTITIONS = 8
_MAX_BATCH = 900_000


def by_hash(key: bytes) -> int:
    """Return the partition that Kafka's own partitioner gives a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % PARTITIONS


async def fill(
    bootstrap: str, prefix: str, records: Records, partition_of: Callable[[bytes], int] = by_hash
) -> None:
    """Write billing records as the publisher does, in large batches.

    Args:
        bootstrap: Kafka.
        prefix: stands before the topic's name.
        records: key, value and timestamp of each.
        partition_of: the partition of a key.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=_MAX_BATCH
    )
    await producer.start()
    batches: dict[int, Any] = {}

    async def flush(partition: int) -> None:
        batch = batches.pop(partition)
        await (await producer.send_batch(batch, f"{prefix}billing", partition=partition))

    for key, value, timestamp in records:
        partition = partition_of(key)
        for _ in range(2):
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = producer.create_batch()
            if batch.append(key=key, value=value, timestamp=timestamp) is not None:
                break
            await flush(partition)
    for partition in list(batches):
        await flush(partition)
    await producer.stop()


async def make_topics(bootstrap: str, prefixes: Sequence[str]) -> None:
    """Make the topics of workers with these prefixes."""
    wanted = needed_topics(chosen_event_types(()))
    for prefix in prefixes:
        await kafka_topics.ensure_topics(bootstrap, wanted, partitions=PARTITIONS, prefix=prefix)


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete every topic whose name begins so."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        mine = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if mine:
            await admin.delete_topics(mine)
    finally:
        await admin.close()


async def digest(bootstrap: str, prefix: str, names: str) -> str:
    """Return a digest of all that was derived: keys, values, times, in the partitions' order."""
    kinds = chosen_event_types([name for name in names.split(",") if name])
    tps = [
        TopicPartition(prefix + kind.topic.name, partition)
        for kind in kinds
        for partition in range(PARTITIONS)
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(tps)
    ends = await consumer.end_offsets(tps)
    rest = {tp: end for tp, end in ends.items() if end}
    parts = {tp: hashlib.sha256() for tp in tps}
    while rest:
        for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
            for record in records:
                parts[tp].update(b"%s %d %s" % (record.key, record.timestamp, record.value))
        rest = {tp: end for tp, end in rest.items() if await consumer.position(tp) < end}
    await consumer.stop()
    return hashlib.sha256(b"".join(parts[tp].digest() for tp in tps)).hexdigest()
