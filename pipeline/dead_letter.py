"""Where a record goes that cannot be used: kept whole, with where it was and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.transport.producer import Message
from schemas import codec, topics
from schemas.records import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.transport.producer import BatchProducer

_MAX_REASON = 1000


class Rejected(NamedTuple):
    """A record set aside.

    Attributes:
        record: aiokafka's record.
        reason: why, in a sentence.
    """

    record: Any
    reason: str


class DeadLetters:
    """Writes the dead-letter topic.

    Args:
        producer: what to send with.
        prefix: what stands before topic names.
        clock_us: the time in epoch microseconds.
    """

    def __init__(
        self, producer: BatchProducer, *, prefix: str, clock_us: Callable[[], int]
    ) -> None:
        self._producer = producer
        self._topic = prefix + topics.DEAD_LETTER.name
        self._clock_us = clock_us

    async def send(
        self, agent: str, topic: str, partition: int, rejected: Sequence[Rejected]
    ) -> None:
        """Set records aside, and return when Kafka has them.

        A record that is too large even for here is kept without its value.

        Raises:
            Unavailable: Kafka is away.
        """
        for one in rejected:
            for value in (one.record.value, None):
                letter = self._letter(agent, topic, partition, one, value)
                message = Message(one.record.key, letter, self._clock_us() // 1000)
                if not await self._producer.send(self._topic, partition, [message]):
                    break

    def _letter(
        self, agent: str, topic: str, partition: int, one: Rejected, value: bytes | None
    ) -> bytes:
        left_out = one.record.value is not None and value is None
        reason = one.reason[:_MAX_REASON]
        return codec.encode(
            "dead_letter",
            DeadLetter(
                topic=topic,
                partition=partition,
                offset=one.record.offset,
                key=one.record.key,
                value=value,
                reason=f"{reason} (value too large to be kept here)" if left_out else reason,
                agent=agent,
                time_us=self._clock_us(),
            ),
        )
