"""The ingest agent: `billing` in, triggers with signed URLs out.

At least once: a partition's offset is committed after its triggers are on Kafka, and a trigger
made twice has the same id. A partition whose storage or Kafka is away rests and is read again from
where it was; the other partitions go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
)

from pipeline.ingest import triggers
from pipeline.ingest.urls import TriggerUrls
from pipeline.transport.parsed import ask_for_all
from schemas import codec, topics
from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from pipeline.ingest.rules import Rule, RuleSet
    from schemas.records import BillingRecord

logger = logging.getLogger(__name__)

AGENT: Final = "ingest"
SESSION_MS: Final = 6000
"""How long a killed process's partitions rest before others take them."""
_POLL_MS: Final = 500
_REST_S: Final = 2.0
_DAYS_MS: Final = 24 * 60 * 60 * 1000
TRIGGER_RETENTION_MS: Final = 7 * _DAYS_MS


def trigger_topics(rules: RuleSet) -> list[topics.Topic]:
    """Return the topics that the rules send triggers to."""
    names = sorted({rule.topic for rule in rules.rules})
    return [
        topics.Topic(name, "", TRIGGER_RETENTION_MS, key="the uploaded file's path")
        for name in names
    ]


class IngestAgent:
    """Makes triggers of uploads.

    Args:
        rules: what starts what.
        bootstrap: Kafka's addresses.
        group: the consumer group.
        instance_id: a name that this agent has for ever: restarted, it has its partitions at once.
        client: what speaks HTTP to the storages.
        prefix: stands before each topic's name.
        batch_records: the most records taken at once.
        clock: epoch seconds.
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        bootstrap: str,
        group: str,
        client: httpx.AsyncClient,
        prefix: str = "",
        batch_records: int = 500,
        instance_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._prefix = prefix
        self._batch_records = batch_records
        self._clock = clock
        self._urls = TriggerUrls(rules, client, clock)
        self._resting: dict[TopicPartition, str] = {}
        self._marks: dict[str, int] = {}
        self._consumer = AIOKafkaConsumer(
            prefix + topics.BILLING.name,
            bootstrap_servers=bootstrap,
            group_id=group,
            group_instance_id=instance_id or None,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        # Not idempotent: after an outage such a producer has a hole in its sequence and must be
        # made anew, and a trigger that is there twice is recognised by its id anyway.
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2)
        self._is_reading = False
        self.triggers_sent = 0

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until `stopped` is set, then commit what is done and leave.

        Raises:
            Unavailable: Kafka cannot be reached at start.
        """
        try:
            await self._producer.start()
            await self._consumer.start()
            ask_for_all(self._consumer)
        except (KafkaError, OSError) as error:
            await self._stop()
            raise Unavailable(f"Kafka cannot be reached: {error!r}") from error
        try:
            self._is_reading = True
            while not stopped.is_set():
                batches = await self._consumer.getmany(
                    timeout_ms=_POLL_MS, max_records=self._batch_records
                )
                await asyncio.gather(*(self._take(*batch) for batch in batches.items()))
        finally:
            await self._stop()

    async def _stop(self) -> None:
        await self._consumer.stop()
        await self._producer.stop()

    async def _take(self, partition: TopicPartition, messages: Sequence[Any]) -> None:
        marks: dict[str, int] = {}
        try:
            sent = [
                future
                for message in messages
                for future in await self._make_triggers(message, marks)
            ]
            await asyncio.gather(*sent)
            await self._consumer.commit({partition: messages[-1].offset + 1})
        except CommitFailedError:
            logger.info("Partition %s was taken over by another agent", partition.partition)
        except (Unavailable, KafkaError) as error:
            self._rest(partition, messages[0].offset, error)
        else:
            self._resting.pop(partition, None)
            self._marks.update(marks)
            self.triggers_sent += len(sent)

    def troubles(self) -> list[str]:
        """Say in sentences what is wrong: which of our partitions stand still, and why."""
        if not self._is_reading:
            return ["billing is not read yet"]
        ours = self._consumer.assignment()
        return [
            f"partition {partition.partition} of billing stands still: {reason}"
            for partition, reason in self._resting.items()
            if partition in ours
        ]

    def _rest(self, partition: TopicPartition, offset: int, error: Exception) -> None:
        """Leave a partition alone for a while, then read it again from `offset`."""
        logger.warning(
            "Partition %s rests for %s s: %s: %s",
            partition.partition, _REST_S, type(error).__name__, error,
        )  # fmt: skip
        self._resting[partition] = f"{type(error).__name__}: {error}"
        # Not ours any more after a rebalance: its new owner begins at the committed offset.
        with contextlib.suppress(IllegalStateError, AssertionError):
            self._consumer.seek(partition, offset)
            self._consumer.pause(partition)
            asyncio.get_running_loop().call_later(_REST_S, self._resume, partition)

    def _resume(self, partition: TopicPartition) -> None:
        with contextlib.suppress(IllegalStateError, AssertionError):
            self._consumer.resume(partition)

    async def _make_triggers(
        self, message: Any, marks: dict[str, int]
    ) -> list[asyncio.Future[Any]]:
        try:
            record: BillingRecord = cast(
                "BillingRecord", codec.decode(topics.BILLING.schema, message.value)
            )
        except BadRecord as error:
            # The deriving worker sets it aside, with its coordinates.
            logger.warning("Offset %s of billing is not a record: %s", message.offset, error)
            return []
        shard, number = record["shard"], record["number"]
        if number <= marks.get(shard, self._marks.get(shard, 0)):
            return []
        futures = [
            await self._send(rule, record, message) for rule in self._rules.started_by(record)
        ]
        marks[shard] = number
        return futures

    async def _send(self, rule: Rule, record: BillingRecord, message: Any) -> asyncio.Future[Any]:
        made = triggers.trigger(rule, record)
        try:
            urls = await self._urls.make(rule, record["storage"], record["path"])
        except (BadRecord, Refused) as error:
            logger.warning("No trigger %s: %s", made.id, error)
            return await self._set_aside(message, str(error))
        try:
            future: asyncio.Future[Any] = await self._producer.send(
                self._prefix + rule.topic,
                triggers.value(urls),
                key=made.path.encode(),
                headers=triggers.headers(made),
            )
        except MessageSizeTooLargeError:
            return await self._set_aside(message, f"{made.id}: too large for Kafka")
        return future

    async def _set_aside(self, message: Any, reason: str) -> asyncio.Future[Any]:
        letter = {
            "topic": message.topic, "partition": message.partition, "offset": message.offset,
            "key": message.key, "value": message.value, "reason": reason, "agent": AGENT,
            "time_us": int(self._clock() * 1_000_000),
        }  # fmt: skip
        future: asyncio.Future[Any] = await self._producer.send(
            self._prefix + topics.DEAD_LETTER.name,
            codec.encode(topics.DEAD_LETTER.schema, letter),
            key=message.key,
        )
        return future
