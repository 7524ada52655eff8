"""Whole batches to Kafka, in order, confirmed before the call returns.

At most one batch of a partition is on its way, so a batch that has to be sent again cannot come
after a later one. The producer is idempotent (`acks=all`): a broker that is away delays, and a
batch that it had already written is not written twice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from mode import get_logger

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.producer.message_accumulator import BatchBuilder

logger = get_logger(__name__)

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_STOP_S = 5.0
_NO_HEADERS: list[tuple[str, bytes | None]] = []


class Message(NamedTuple):
    """What is produced: key, value, and the record's timestamp in milliseconds."""

    key: bytes | None
    value: bytes
    timestamp_ms: int


class BatchProducer:
    """Sends lists of messages to one partition as few large batches.

    Args:
        bootstrap: Kafka's addresses, `host:port`, joined by commas.
        max_batch_bytes: the largest batch; not above the broker's `message.max.bytes`.
        compression: Kafka's name of a compression, or empty.
    """

    def __init__(self, *, bootstrap: str, max_batch_bytes: int, compression: str = "") -> None:
        self._bootstrap = bootstrap
        self._max_batch_bytes = max_batch_bytes
        self._compression = compression or None
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, topic: str, partition: int, messages: Sequence[Message]) -> list[Message]:
        """Send messages in order and wait until Kafka has them all.

        Returns:
            Those that the broker refuses for their size; all others are written.

        Raises:
            Unavailable: Kafka did not take them; those before may be written.
        """
        refused: list[Message] = []
        rest = list(messages)
        while rest:
            count, too_large = await self._send_some(topic, partition, rest)
            if too_large:
                refused.append(rest[0])
            rest = rest[count:]
        return refused

    async def _send_some(
        self, topic: str, partition: int, messages: Sequence[Message]
    ) -> tuple[int, bool]:
        """Send what one batch takes; return how many those are, and whether one is too large."""
        limit = len(messages)
        while True:
            producer = await self._ready()
            batch = producer.create_batch()
            count = _fill(batch, messages[:limit])
            try:
                await (await producer.send_batch(batch, topic, partition=partition))
            except _TOO_LARGE:
                await self._drop(producer)
                if count == 1:
                    return 1, True
                limit = count // 2
            except KafkaError as error:
                await self._drop(producer)
                raise Unavailable(f"Kafka does not take {topic}: {error!r}") from error
            else:
                return count, False

    async def _ready(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=self._max_batch_bytes,
                    compression_type=self._compression,
                )
                try:
                    await producer.start()
                except (KafkaError, OSError) as error:
                    await producer.stop()
                    raise Unavailable(f"Kafka cannot be reached: {error!r}") from error
                self._producer = producer
            return self._producer

    async def _drop(self, producer: AIOKafkaProducer) -> None:
        """Begin anew after an error: an idempotent producer's sequence has a hole then."""
        if self._producer is producer:
            self._producer = None
            await _stop(producer)

    async def stop(self) -> None:
        """Give back the connection; what was not confirmed is not waited for long."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


def _fill(batch: BatchBuilder, messages: Sequence[Message]) -> int:
    """Append messages until one has no room; return how many that are.

    `BatchBuilder.append` makes three calls for each of them (seen with aiokafka 0.14).
    """
    append = batch._builder.append  # noqa: SLF001
    count = 0
    for key, value, timestamp in messages:
        if append(count, timestamp, key, value, _NO_HEADERS) is None:
            break
        count += 1
    batch._relative_offset = count  # noqa: SLF001
    return count


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_S):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        logger.warning("Producer did not end cleanly: %r", error)
