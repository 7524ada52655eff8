"""The present: one read of Kafka per node, every partition of every derived topic, no group.

Each partition is read from where the replay log has come to: what is before is in the log, what
comes after arrives here. Records that cannot be read are counted and left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from api.delivery_message import Message
from pipeline.transport.parsed import ask_for_all, leave_as_parsed
from schemas import codec
from schemas.errors import BadRecord, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.event_types.base import EventType
    from pipeline.replay.log import ReplayLog

logger = logging.getLogger(__name__)

RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 5.0
_POLL_MS: Final = 500
_MOST_RECORDS: Final = 2_000
_PARTITION_BYTES: Final = 4 * 1024 * 1024


class Feed:
    """Reads the derived topics.

    Args:
        bootstrap: Kafka's brokers.
        event_types: whose topics are read, by name.
        logs: the replay log of each event type.
        topic_prefix: stands before each topic's name.
        client_id: what brokers call this reader in their logs.

    Attributes:
        unreadable: how many records could not be read.
        connected: whether it reads now.
        caught_up: whether it has come once to what was there when it began.
    """

    def __init__(
        self,
        bootstrap: str,
        event_types: Mapping[str, EventType],
        logs: Mapping[str, ReplayLog],
        *,
        topic_prefix: str = "",
        client_id: str = "storage-events-api",
    ) -> None:
        self._bootstrap = bootstrap
        self._logs = logs
        self._client_id = client_id
        self._by_topic = {topic_prefix + one.topic.name: one for one in event_types.values()}
        self._next: dict[TopicPartition, int] = {}
        self._offsets: dict[str, Mapping[int, int]] | None = None
        self.unreadable = 0
        self.connected = False
        self.caught_up = False

    async def run(
        self,
        deliver: Callable[[Message], None],
        learn: Callable[[Mapping[str, Mapping[str, int]]], None],
    ) -> None:
        """Read for ever, through every outage.

        Args:
            deliver: gets each message, in the order of its partition.
            learn: is told once, before the first message, how far each event type's log has come.
        """
        wait_s = RETRY_S
        while True:
            try:
                await self._read(deliver, learn)
                continue
            except (KafkaError, Unavailable, OSError) as error:
                logger.warning("the feed is interrupted and goes on in %s s: %s", wait_s, error)
            wait_s = RETRY_S if self.connected else min(2 * wait_s, LONGEST_RETRY_S)
            self.connected = False
            await asyncio.sleep(wait_s)

    async def _read(
        self,
        deliver: Callable[[Message], None],
        learn: Callable[[Mapping[str, Mapping[str, int]]], None],
    ) -> None:
        partitions, absent = await self._partitions()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
            max_partition_fetch_bytes=_PARTITION_BYTES,
        )
        await consumer.start()
        leave_as_parsed(consumer, self._by_topic)
        ask_for_all(consumer)
        try:
            await self._begin(consumer, partitions, learn)
            self.connected = True
            look_again_s = time.monotonic() + LONGEST_RETRY_S
            while not absent or time.monotonic() < look_again_s:
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
                for partition, records in batches.items():
                    self._deliver(partition, records, deliver)
                if not self.caught_up and not absent:
                    self.caught_up = await self._is_at_end(consumer)
        finally:
            await consumer.stop()

    async def _partitions(self) -> tuple[list[TopicPartition], set[str]]:
        """Return the partitions there are, and the topics that are not there yet."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id=self._client_id)
        try:
            await admin.start()
            described = await admin.describe_topics(list(self._by_topic))
        finally:
            await admin.close()
        found = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
            if not topic["error_code"]
        ]
        return sorted(found), set(self._by_topic) - {partition.topic for partition in found}

    async def _begin(
        self,
        consumer: Any,
        partitions: Sequence[TopicPartition],
        learn: Callable[[Mapping[str, Mapping[str, int]]], None],
    ) -> None:
        """Go to where the logs have come to, or to where this feed was interrupted."""
        if self._offsets is None:
            # Marks and offsets of one instant belong together: this is done once, and afterwards
            # the feed goes on from where it was itself.
            states = {name: await log.state() for name, log in self._logs.items()}
            self._offsets = {name: state.offsets for name, state in states.items()}
            learn({name: state.marks for name, state in states.items()})
        for partition in partitions:
            offsets = self._offsets[self._by_topic[partition.topic].name]
            self._next.setdefault(partition, offsets.get(partition.partition, 0))
        consumer.assign(partitions)
        if not partitions:
            return
        firsts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            if not firsts[partition] <= self._next[partition] <= ends[partition]:
                # The topic was made anew, or what we have not seen is no longer kept.
                self._next[partition] = firsts[partition]
            consumer.seek(partition, self._next[partition])

    def _deliver(
        self, partition: TopicPartition, records: Any, deliver: Callable[[Message], None]
    ) -> None:
        event_type = self._by_topic[partition.topic]
        decode_head = codec.decode_head
        for record in records:
            try:
                deliver(Message(event_type, decode_head(record.value), record.value))
            except BadRecord:
                self.unreadable += 1
                logger.exception("record left out: %s offset %s", partition, record.offset)
        self._next[partition] = records[-1].offset + 1

    async def _is_at_end(self, consumer: Any) -> bool:
        ends = await consumer.end_offsets(list(self._next))
        return all(self._next[partition] >= end for partition, end in ends.items())
