"""The thread in which Faust keeps aiokafka's consumer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from mode import get_logger

from pipeline.transport.parsed import ask_for_all, leave_as_parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

logger = get_logger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread around aiokafka; a commit that fails is not the end of the worker."""

    async def on_start(self) -> None:
        """Start the consumer; what it reads for chunks is left as it was parsed."""
        await super().on_start()
        consumer = self._ensure_consumer()
        leave_as_parsed(consumer, self.consumer.app.batched_topics)
        ask_for_all(consumer)

    async def _fetch_records(
        self, consumer: AIOKafkaConsumer, *args: Any, **kwargs: Any
    ) -> Mapping[Any, Sequence[Any]]:
        """Read records; what comes while nothing may be handed out stays unread.

        Faust asks before a rebalance and may be answered after its seeks, before the flow goes
        on: dropped then, it would be missed only when the next records came.
        """
        found: Mapping[Any, Sequence[Any]] = await super()._fetch_records(
            consumer, *args, **kwargs
        )
        if self.consumer.flow_active:
            return found
        for tp, records in found.items():
            with contextlib.suppress(IllegalStateError):  # it was taken away: others read it
                consumer.seek(tp, records[0].offset)
        return {}

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        try:
            assigned = self.assignment()
            await self._ensure_consumer().commit(
                {
                    driver.ensure_aiokafka_TP(tp): offset
                    for tp, offset in offsets.items()
                    if tp in assigned
                }
            )
        except KafkaError as error:
            # A rebalance takes the partitions away, or a broker is away: what is not committed is
            # tried again at the next interval, or read again by the partition's next owner.
            logger.warning("Commit failed, will be tried again: %s: %s", type(error), error)
            return False
        return True
