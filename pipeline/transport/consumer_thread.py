"""The thread in which Faust keeps aiokafka's consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from mode import get_logger

from pipeline.transport.parsed import ask_for_all, leave_as_parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = get_logger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread around aiokafka; a commit that fails is not the end of the worker."""

    async def on_start(self) -> None:
        """Start the consumer; what it reads for chunks is left as it was parsed."""
        await super().on_start()
        consumer = self._ensure_consumer()
        leave_as_parsed(consumer, self.consumer.app.batched_topics)
        ask_for_all(consumer)

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
