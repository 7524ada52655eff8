"""From the trigger topics into the ledger, and from its outbox to Kafka.

An offset is committed when the ledger has what stood before it. When as many jobs wait as the
ledger may hold, the topics are paused; Kafka keeps the rest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CommitFailedError, KafkaError

from pipeline.ingest.agent import SESSION_MS
from pipeline.ingest.ledger_rows import Arrived
from pipeline.transport.parsed import ask_for_all
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.ingest.executor import Executor
    from pipeline.ingest.ledger import Ledger

logger = logging.getLogger(__name__)

_POLL_MS: Final = 500
_MOST_AT_ONCE: Final = 500
_REST_S: Final = 1.0


class Intake:
    """Takes triggers from Kafka.

    Args:
        bootstrap: Kafka's addresses.
        group: the consumer group.
        instance_id: the runner's name: restarted, it has its partitions at once.
        topics: the trigger topics.
        queue_jobs: how many unfinished jobs the ledger may hold.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        queue_jobs: int,
        instance_id: str = "",
    ) -> None:
        self._queue_jobs = queue_jobs
        self.trouble = "triggers are not read yet"
        self._consumer = AIOKafkaConsumer(
            *topics,
            bootstrap_servers=bootstrap,
            group_id=group,
            group_instance_id=instance_id or None,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 3,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )

    async def run(self, executor: Executor, ledger: Ledger, stopped: asyncio.Event) -> None:
        """Hand triggers to the executor until `stopped` is set.

        Raises:
            Unavailable: Kafka cannot be reached at start.
        """
        try:
            await self._consumer.start()
            ask_for_all(self._consumer)
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            raise Unavailable(f"Kafka cannot be reached: {error!r}") from error
        try:
            while not stopped.is_set():
                await self._some(executor, self._queue_jobs - ledger.unfinished())
        finally:
            await self._consumer.stop()

    async def _some(self, executor: Executor, room: int) -> None:
        if room <= 0:
            self._consumer.pause(*self._consumer.assignment())
        else:
            self._consumer.resume(*self._consumer.paused())
        try:
            batches = await self._consumer.getmany(
                timeout_ms=_POLL_MS, max_records=max(1, min(room, _MOST_AT_ONCE))
            )
            self.trouble = ""
            messages = [message for batch in batches.values() for message in batch]
            if messages:
                executor.take(_arrived(message) for message in messages)
                await self._consumer.commit()
        except CommitFailedError:
            logger.info("Partitions were taken over by another runner")
        except KafkaError as error:
            self.trouble = f"triggers cannot be read now: {error!r}"
            logger.warning("Triggers cannot be read now: %r", error)
            await asyncio.sleep(_REST_S)


def _arrived(message: Any) -> Arrived:
    return Arrived(
        f"{message.topic}:{message.partition}:{message.offset}",
        message.headers,
        message.value or b"",
        message.topic,
        message.partition,
        message.offset,
    )


class OutboxPublisher:
    """Sends what the ledger's outbox holds, in order, until Kafka has it.

    Args:
        bootstrap: Kafka's addresses.
        prefix: stands before each topic's name.
    """

    def __init__(self, *, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        # Repeats are dropped by readers: the numbers tell. See `agent` for why not idempotent.
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        self._filled = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._filled.set()

    async def run(self, ledger: Ledger, stopped: asyncio.Event) -> None:
        """Send until `stopped` is set and nothing is left, or Kafka is away then.

        Raises:
            Unavailable: Kafka cannot be reached at start.
        """
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise Unavailable(f"Kafka cannot be reached: {error!r}") from error
        stop = asyncio.create_task(stopped.wait())
        try:
            while await self._send_all(ledger, stopped) or not stopped.is_set():
                filled = asyncio.create_task(self._filled.wait())
                await asyncio.wait({filled, stop}, return_when=asyncio.FIRST_COMPLETED)
                filled.cancel()
                self._filled.clear()
        finally:
            stop.cancel()
            await self._producer.stop()

    async def _send_all(self, ledger: Ledger, stopped: asyncio.Event) -> bool:
        """Send what is there; whether there was anything that Kafka took."""
        sent_any = False
        while rows := ledger.outbox(_MOST_AT_ONCE):
            sent_any = True
            try:
                futures = [
                    await self._producer.send(self._prefix + topic, value, key=key)
                    for _, topic, key, value in rows
                ]
                await asyncio.gather(*futures)
            except KafkaError as error:
                logger.warning("Events wait in the ledger: %r", error)
                if stopped.is_set():
                    return False
                await asyncio.sleep(_REST_S)
            else:
                ledger.sent(rows[-1][0])
        return sent_any
