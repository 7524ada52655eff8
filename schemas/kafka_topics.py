"""Make the Kafka topics that are missing; storage and pipeline each name their own.

Who comes first makes them, the others find them: calling this twice, or from several processes at
once, is harmless. A topic that exists with another number of partitions is an error told at once,
since a derived topic must have the partitions of `billing`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas import topics as known_topics
from schemas.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition

_MOST_REPLICAS = 3
_TIMEOUT_S = 30.0


async def ensure_topics(
    bootstrap: str,
    topics: Sequence[known_topics.Topic],
    *,
    partitions: int = known_topics.DEFAULT_PARTITIONS,
    prefix: str = "",
    replicas: int | None = None,
) -> None:
    """Create those of `topics` that are missing, and return once each has its leaders.

    Args:
        bootstrap: Kafka's addresses, `host:port`, joined by commas.
        topics: what to create.
        partitions: how many partitions each has.
        prefix: what stands before each name.
        replicas: copies of each partition; None: three, or one for each broker if they are fewer.

    Raises:
        Unavailable: Kafka cannot be reached or does not create them in 30 seconds.
        SettingsError: a topic exists with another number of partitions.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await _ensure(bootstrap, topics, partitions, prefix, replicas)
    except (KafkaError, OSError, TimeoutError) as error:
        name = type(error).__name__
        raise Unavailable(f"Kafka at {bootstrap} does not answer: {name}: {error}") from error


async def _ensure(
    bootstrap: str,
    topics: Sequence[known_topics.Topic],
    partitions: int,
    prefix: str,
    replicas: int | None,
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        wanted = {prefix + topic.name: topic for topic in topics}
        found = await _partition_counts(admin, list(wanted))
        missing = [name for name in wanted if name not in found]
        if missing:
            brokers = len((await admin.describe_cluster())["brokers"])
            copies = replicas or max(1, min(_MOST_REPLICAS, brokers))
            await _create(admin, {name: wanted[name] for name in missing}, partitions, copies)
        while len(found) < len(wanted):
            await asyncio.sleep(0.05)
            found = await _partition_counts(admin, list(wanted))
    finally:
        await admin.close()
    for name, count in found.items():
        if count != partitions:
            raise SettingsError(
                f"Kafka topic {name} has {count} partitions, STORAGE_EVENTS_PARTITIONS says "
                f"{partitions}: set it to {count}, or delete the topic"
            )


async def cluster_id(bootstrap: str) -> str:
    """Return which Kafka this is: a name that a cluster keeps for as long as its data.

    Args:
        bootstrap: Kafka's addresses, `host:port`, joined by commas.

    Raises:
        Unavailable: Kafka cannot be reached.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await admin.start()
            return str((await admin.describe_cluster())["cluster_id"])
    except (KafkaError, OSError, TimeoutError) as error:
        name = type(error).__name__
        raise Unavailable(f"Kafka at {bootstrap} does not answer: {name}: {error}") from error
    finally:
        await admin.close()


async def go_on(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], known: Mapping[int, int]
) -> None:
    """Read partitions from the offsets that are known, others from their beginning.

    Args:
        consumer: without a group and without a default offset; started.
        partitions: all that it reads from now on.
        known: the next offset, by the partition's number.
    """
    # Nothing is awaited before every partition has its place: none has a default.
    consumer.assign(partitions)
    for partition in partitions:
        if partition.partition in known:
            consumer.seek(partition, known[partition.partition])
    new = [each for each in partitions if each.partition not in known]
    if new:
        await consumer.seek_to_beginning(*new)


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Return how many partitions each topic has; those without a leader are left out."""
    described: list[dict[str, Any]] = await admin.describe_topics(names)
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0 and all(part["leader"] >= 0 for part in topic["partitions"])
    }


async def _create(
    admin: AIOKafkaAdminClient,
    missing: dict[str, known_topics.Topic],
    partitions: int,
    copies: int,
) -> None:
    response = await admin.create_topics(
        [
            NewTopic(
                name,
                partitions,
                copies,
                topic_configs={"retention.ms": str(topic.retention_ms), **topic.config},
            )
            for name, topic in missing.items()
        ]
    )
    for name, code, *rest in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)(f"creating {name}: {rest[0] if rest else ''}")
