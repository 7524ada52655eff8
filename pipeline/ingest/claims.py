"""Which runner runs a trigger: the one whose claim stands first on Kafka.

Each runner has a ledger of its own, and two of them may get the same trigger: after a rebalance in
the wrong instant, or when the agent has sent it twice. So a runner claims a trigger before it runs
it. The claims of a trigger are in one partition of one topic, in an order that is the same for all
who read it, and every runner reads them all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.ingest import notices
from pipeline.transport.parsed import ask_for_all
from schemas.errors import Unavailable
from schemas.kafka_topics import cluster_id, go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.ingest.ledger import Ledger

logger = logging.getLogger(__name__)

_POLL_MS: Final = 500
_MOST_RECORDS: Final = 2000
_REST_S: Final = 1.0


class Claims:
    """Reads all claims into the ledger.

    Args:
        ledger: learns whose a trigger is.
        bootstrap: Kafka's addresses.
        partitions: of the topic.
        prefix: stands before the topic's name.
        runner: who we are in claims.
        claimed: called when there are claims to be sent.
        decided: called when a trigger has turned out to be ours.
        clock: epoch seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        bootstrap: str,
        partitions: int,
        prefix: str,
        runner: str,
        claimed: Callable[[], None],
        decided: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._bootstrap = bootstrap
        self._runner = runner
        self._claimed = claimed
        self._decided = decided
        self._clock = clock
        self._cluster = ""
        self.trouble = "claims are not read yet"
        topic = prefix + notices.CLAIMS.name
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none"
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Read until `stopped` is set.

        Raises:
            Unavailable: Kafka cannot be reached at start.
        """
        try:
            await self._begin()
            while not stopped.is_set():
                await self._some()
        finally:
            await self._consumer.stop()

    async def _begin(self) -> None:
        self._cluster = await cluster_id(self._bootstrap)
        known = self._ledger.claims_read(self._cluster)
        self._claim_again()
        try:
            await self._consumer.start()
            ask_for_all(self._consumer)
            await go_on(self._consumer, self._partitions, known)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka cannot be reached: {error!r}") from error

    def _claim_again(self) -> None:
        """What Kafka has lost since, or another Kafka never had."""
        self._ledger.claim_again(lambda trigger_id: notices.claim(trigger_id, self._runner))
        self._claimed()

    async def _some(self) -> None:
        try:
            got = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        except OffsetOutOfRangeError as error:
            # Older claims are gone, and so are the triggers they were about.
            await self._consumer.seek_to_beginning(*error.args[0])
            self._claim_again()
            return
        except KafkaError as error:
            self.trouble = f"claims cannot be read now: {error!r}"
            logger.warning("Claims cannot be read now: %r", error)
            await asyncio.sleep(_REST_S)
            return
        self.trouble = ""
        for partition, records in got.items():
            ours = self._ledger.decide(
                _claims(records),
                self._runner,
                read=(self._cluster, partition.partition, records[-1].offset + 1),
                now_s=self._clock(),
            )
            if ours:
                self._decided()


def _claims(records: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield trigger ids and who claims them; what is no claim is left out."""
    for record in records:
        try:
            yield record.key.decode(), record.value.decode()
        except (AttributeError, UnicodeDecodeError):
            logger.warning("Offset %s of %s is no claim", record.offset, record.topic)
