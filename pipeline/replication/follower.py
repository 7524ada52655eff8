"""Follows the topic `replication` into the catalogue; where it is, the catalogue knows."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.event_types.replication import EVENT_TYPE
from pipeline.replication.catalogue import Batch
from pipeline.transport.parsed import ask_for_all
from schemas import codec, topics
from schemas.errors import BadRecord, Unavailable
from schemas.kafka_topics import cluster_id, go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.replication.catalogue import Catalogue

logger = logging.getLogger(__name__)

AGENT: Final = "catalogue"
_POLL_MS: Final = 500
_MOST_RECORDS: Final = 2000


class Follower:
    """Reads every partition, from where the catalogue is.

    Args:
        catalogue: what is told.
        bootstrap: Kafka's addresses.
        partitions: of the topic.
        prefix: stands before each topic's name.
        changed: called after each batch that was not empty.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        bootstrap: str,
        partitions: int,
        prefix: str = "",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalogue = catalogue
        self._bootstrap = bootstrap
        self.trouble = "events are not read yet"
        self._prefix = prefix
        self._changed = changed
        self._topic = prefix + EVENT_TYPE.topic.name
        self._partitions = [TopicPartition(self._topic, number) for number in range(partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none"
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")

    async def run(self, stopped: asyncio.Event) -> None:
        """Follow until `stopped` is set.

        Raises:
            Unavailable: Kafka cannot be reached at start.
            SettingsError: it is another Kafka than before.
        """
        try:
            await self._begin()
            self.trouble = ""
            while not stopped.is_set():
                await self._turn()
        finally:
            await self._consumer.stop()
            await self._producer.stop()

    async def _begin(self) -> None:
        cluster = await cluster_id(self._bootstrap)
        known = await asyncio.to_thread(self._catalogue.follow, cluster)
        try:
            await self._producer.start()
            await self._consumer.start()
            ask_for_all(self._consumer)
            await go_on(self._consumer, self._partitions, known)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka cannot be reached: {error!r}") from error

    async def _turn(self) -> None:
        try:
            got = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        except OffsetOutOfRangeError as error:
            await self._begin_again(error)
            return
        if not got:
            return
        batches = [
            Batch(
                partition.partition,
                records[-1].offset + 1,
                await self._decode(partition.partition, records),
            )
            for partition, records in got.items()
        ]
        if await asyncio.to_thread(self._catalogue.apply, batches):
            self._changed()

    async def _begin_again(self, error: OffsetOutOfRangeError) -> None:
        """Kafka has forgotten what comes next: take what there is.

        What was applied before is known by its number and does not count twice.
        """
        partitions = list(error.args[0])
        logger.error(
            "Records of %s are gone from partitions %s before they were read: run reconcile",
            self._topic, sorted(partition.partition for partition in partitions),
        )  # fmt: skip
        await self._consumer.seek_to_beginning(*partitions)

    async def _decode(self, partition: int, records: Sequence[Any]) -> list[dict[str, Any]]:
        messages = []
        for record in records:
            try:
                messages.append(codec.decode(EVENT_TYPE.name, record.value))
            except BadRecord as error:
                logger.warning("Offset %s of %s: %s", record.offset, self._topic, error)
                await self._set_aside(partition, record, str(error))
        return messages

    async def _set_aside(self, partition: int, record: Any, reason: str) -> None:
        letter = {
            "topic": self._topic, "partition": partition, "offset": record.offset,
            "key": record.key, "value": record.value, "reason": reason, "agent": AGENT,
            "time_us": time.time_ns() // 1000,
        }  # fmt: skip
        await self._producer.send_and_wait(
            self._prefix + topics.DEAD_LETTER.name,
            codec.encode(topics.DEAD_LETTER.schema, letter),
            key=record.key,
        )
