"""From the outbox to Kafka: in the order of commits, each shard's records never out of order.

For each partition one batch is under way at a time, with all that has piled up meanwhile; the next
leaves when Kafka has confirmed it. So nothing can overtake what has to be sent again, whatever
went wrong, and batches grow with the load. What Kafka has confirmed is deleted a little later: a
process that dies in between sends it again, in order, under the same numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from schemas import kafka_topics, tasks
from schemas.errors import SettingsError, StorageEventsError, Unavailable
from schemas.topics import BILLING
from storage_sim import outbox

if TYPE_CHECKING:
    from storage_sim.outbox import Pending
    from storage_sim.storage import Storage

log = logging.getLogger(__name__)

_AT_ONCE: Final = 2000
_BATCH_BYTES: Final = 900_000
_REQUEST_BYTES: Final = 1_048_576
_REQUEST_TIMEOUT_MS: Final = 10_000
_SHORTEST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_NOTICE_S: Final = 2.0
_PATIENCE_S: Final = 30.0
_SWEEP_PAUSE_S: Final = 0.5
_STOP_S: Final = 2.0


class Publisher:
    """Publishes a storage's outbox until it is cancelled.

    Args:
        storage: whose outbox.
        bootstrap: Kafka's addresses.
        partitions: how many partitions the topic has.
        topic_prefix: what stands before its name.

    Attributes:
        connected: whether Kafka takes records.
        published_records: how many it has confirmed since the start.
    """

    def __init__(
        self, storage: Storage, *, bootstrap: str, partitions: int, topic_prefix: str = ""
    ) -> None:
        self._storage = storage
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._prefix = topic_prefix
        self._topic = topic_prefix + BILLING.name
        self._partitioner = DefaultPartitioner()
        self._confirmed = 0
        self._committed = asyncio.Event()
        self._to_sweep = asyncio.Event()
        self._confirmation = asyncio.Condition()
        self._told_away = False
        self.connected = False
        self.published_records = 0

    def backlog(self) -> int:
        """Return how many records Kafka has not confirmed yet."""
        with self._storage.database.read() as db:
            return outbox.backlog(db, self._confirmed)

    async def run(self) -> None:
        """Publish for ever; Kafka may come and go."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the last commit
                loop.call_soon_threadsafe(self._wake)

        self._storage.set_on_commit(wake)
        self._wake()
        work = [
            asyncio.create_task(self._publish_for_ever()),
            asyncio.create_task(self._sweep_for_ever()),
        ]
        try:
            await asyncio.gather(*work)
        finally:
            await tasks.end(work)

    async def drain(self, timeout_s: float) -> int:
        """Wait until Kafka has confirmed everything, or the time is over; clean up.

        Returns:
            How many records are left; they are published at the next start.
        """
        with contextlib.suppress(TimeoutError):
            await self.confirmed(timeout_s)
        await asyncio.to_thread(self._storage.sweep, self._confirmed)
        return self.backlog()

    async def confirmed(self, timeout_s: float) -> None:
        """Wait until Kafka has confirmed everything.

        Raises:
            TimeoutError: it has not within `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s), self._confirmation:
            await self._confirmation.wait_for(lambda: self.backlog() == 0)

    def _wake(self) -> None:
        self._committed.set()
        self._to_sweep.set()

    async def _publish_for_ever(self) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while True:
            try:
                await self._publish_while_connected()
            except SettingsError as error:
                log.error("cannot publish: %s", error)  # noqa: TRY400 - it says what to do
            except (KafkaError, StorageEventsError, OSError) as error:
                self._is_away(f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause_s)
            # what worked for a while is tried again at once
            pause_s = _SHORTEST_PAUSE_S if self.connected else min(2 * pause_s, _LONGEST_PAUSE_S)
            self.connected = False

    def _is_away(self, reason: str) -> None:
        """Say once that Kafka is away."""
        if not self._told_away:
            log.warning(
                "Kafka at %s is away, %d records wait: %s", self._bootstrap, self.backlog(), reason
            )
        self._told_away = True

    def _is_here(self) -> None:
        """Say once that Kafka is there, again."""
        if not self.connected or self._told_away:
            log.info("publishing to %s at %s", self._topic, self._bootstrap)
        self.connected = True
        self._told_away = False

    async def _publish_while_connected(self) -> None:
        await kafka_topics.ensure_topics(
            self._bootstrap, [BILLING], partitions=self._partitions, prefix=self._prefix
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            self._is_here()
            while True:
                self._committed.clear()
                with self._storage.database.read() as db:
                    records = outbox.pending(db, self._confirmed, _AT_ONCE)
                if records:
                    await self._send(producer, records)
                else:
                    await self._committed.wait()
        finally:
            await _stop(producer)

    async def _send(self, producer: AIOKafkaProducer, records: list[Pending]) -> None:
        """Send records and wait until Kafka has confirmed all of them."""
        lanes: dict[int, list[Pending]] = {}
        everywhere = list(range(self._partitions))
        for record in records:
            partition = self._partitioner(record.shard.encode(), everywhere, everywhere)
            lanes.setdefault(partition, []).append(record)
        sending = asyncio.gather(
            *(self._send_lane(producer, partition, lane) for partition, lane in lanes.items()),
            return_exceptions=True,
        )
        for outcome in await self._confirmed_in_time(sending):
            if outcome is not None:
                raise outcome
        self._is_here()
        async with self._confirmation:
            self._confirmed = records[-1].sequence
            self.published_records += len(records)
            self._to_sweep.set()
            self._confirmation.notify_all()

    async def _confirmed_in_time(self, sending: asyncio.Future[list[Any]]) -> list[Any]:
        """Wait for Kafka. The producer itself would try for ever, and not say so."""
        done, _ = await asyncio.wait({sending}, timeout=_NOTICE_S)
        if not done:
            self.connected = False
            self._is_away(f"nothing was confirmed for {_NOTICE_S:.0f} s")
            done, _ = await asyncio.wait({sending}, timeout=_PATIENCE_S)
        if not done:
            sending.cancel()
            raise Unavailable(f"nothing was confirmed for {_PATIENCE_S:.0f} s")
        return sending.result()

    async def _send_lane(
        self, producer: AIOKafkaProducer, partition: int, lane: list[Pending]
    ) -> None:
        sent = 0
        while sent < len(lane):
            batch = producer.create_batch()
            taken = _fill(batch, lane, sent)
            if not taken:
                raise Unavailable(f"record {lane[sent].sequence} is too large for Kafka")
            await (await producer.send_batch(batch, self._topic, partition=partition))
            sent += taken

    async def _sweep_for_ever(self) -> None:
        """Clean up behind the work, a little later and off the loop."""
        while True:
            await self._to_sweep.wait()
            await asyncio.sleep(_SWEEP_PAUSE_S)
            self._to_sweep.clear()
            try:
                await asyncio.to_thread(self._storage.sweep, self._confirmed)
            except (StorageEventsError, OSError) as error:
                log.warning("cleaning up later: %s", error)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer, also one that waits for a Kafka that is away."""
    try:
        await asyncio.wait_for(producer.stop(), _STOP_S)
    except (TimeoutError, KafkaError):
        # its own stop flushes first and has no time limit (aiokafka 0.14)
        with contextlib.suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(producer._sender.close(), _STOP_S)  # noqa: SLF001
        await producer.client.close()


def _fill(batch: Any, lane: list[Pending], start: int) -> int:
    """Put records into a batch until it is full; return how many."""
    for index in range(start, len(lane)):
        record = lane[index]
        added = batch.append(
            key=record.shard.encode(), value=record.value, timestamp=record.time_ms
        )
        if added is None:
            return index - start
    return len(lane) - start
