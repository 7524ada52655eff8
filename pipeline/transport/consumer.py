"""The Faust consumer that hands out chunks, and the app that uses it.

`BatchApp.batch_topic` declares a topic whose agent gets `leases.Chunk` values. Everything else of
Faust stays: agents, streams, rebalancing, ordinary topics. What differs for batched topics:

* An offset is committed because the agent called `Chunk.finish()`, never because Faust acked:
  Faust also acks what an agent raised on, and what a stream skips during a rebalance.
* A failed commit is tried again with the next one, it does not end the worker.
* At most `max_in_flight_bytes` are handed out and not settled; then nothing more is fetched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import faust
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage
from mode import get_logger

from pipeline.transport.consumer_thread import ConsumerThread
from pipeline.transport.leases import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from pipeline.transport.leases import Chunk

logger = get_logger(__name__)

_TRY_AGAIN_S = 0.1


class ChunkSchema(faust.Schema):  # type: ignore[misc]  # faust is untyped here
    """Passes keys and values through as they are: the codec's work is the agent's."""

    def loads_key(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the key as it is."""
        return message.key

    def loads_value(self, _app: Any, message: Any, **_: Any) -> Any:
        """Return the value, a chunk, as it is."""
        return message.value


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer, with one message per partition and fetch for batched topics."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._leases: dict[Any, Lease] = {}
        self._in_flight_bytes = 0
        self._settled = asyncio.Event()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def in_flight_bytes(self) -> int:
        """What was handed out and is not settled, in bytes."""
        return self._in_flight_bytes

    def progress(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return, for each assigned partition with a known end, (end offset, committed offset)."""
        found = {}
        try:
            assigned = self.assignment()
        except ConsumerNotStarted:
            return {}
        for tp in assigned:
            end = self.highwater(tp)
            if end is not None:
                found[tp.topic, tp.partition] = (end, self._committed_offset[tp] or 0)
        return found

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109
        """Yield one message per partition for batched topics, one per record for others."""
        if not await self._has_room(timeout):
            return
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop or not self.flow_active:
            # Flow stops for a rebalance or the end only, and a seek follows: what is read after
            # that stays unread (`consumer_thread`), what was read before is found missing by the
            # lease. (Faust seeks back here at once, to offsets that do not yet count what agents
            # are just finishing.)
            return
        generation = self.app.consumer_generation_id
        for tp, message in self._messages(records):
            if not self.flow_active or generation != self.app.consumer_generation_id:
                return
            if active is None or tp in active or tp in self._buffered_partitions:
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                if not isinstance(message, list):
                    yield tp, self._to_message(tp, message)
                elif fitting := await self._fitting(tp, message):
                    # Faust drops what is below its read offset; what fits a lease is contiguous,
                    # so there is nothing to drop and there are no gaps to remember.
                    self._read_offset[tp] = None
                    yield tp, self._chunk_message(self._leases[tp], fitting)

    def _messages(self, records: Mapping[Any, list[Any]]) -> Iterable[tuple[Any, Any]]:
        batched = self.app.batched_topics
        single = {}
        for tp, part in records.items():
            if tp.topic not in batched:
                single[tp] = part
            elif part:
                yield tp, part
        yield from self.scheduler.iterate(single)

    async def _fitting(self, tp: Any, records: list[Any]) -> Sequence[Any]:
        lease = self._leases.get(tp)
        if lease is None or lease.has_ended:
            return ()  # a seek follows
        fitting = lease.fitting(records)
        if fitting is None:
            await self.seek_wait({tp: lease.next_offset})
            return ()
        return fitting

    def _chunk_message(self, lease: Lease, records: Sequence[Any]) -> ConsumerMessage:
        chunk = lease.deliver(records, self._on_settled)
        self._in_flight_bytes += chunk.size_bytes
        last = records[-1]
        return ConsumerMessage(
            lease.topic,
            lease.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            chunk,
            None,
            tp=TP(lease.topic, lease.partition),
            generation_id=self.app.consumer_generation_id,
        )

    def _on_settled(self, chunk: Chunk) -> None:
        self._in_flight_bytes -= chunk.size_bytes
        self._settled.set()

    async def _has_room(self, timeout_s: float) -> bool:
        if self._in_flight_bytes < self.app.max_in_flight_bytes:
            return True
        await self._wait_for_settled(timeout_s)
        return self._in_flight_bytes < int(self.app.max_in_flight_bytes)

    async def _wait_for_settled(self, timeout_s: float) -> None:
        self._settled.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            return

    async def perform_seek(self) -> None:
        """Seek to the committed offsets: what was read before and is not done is read again."""
        self._end_leases(list(self._leases))
        await super().perform_seek()
        batched = [tp for tp in self.assignment() if tp.topic in self.app.batched_topics]
        begins = {tp: self._committed_offset[tp] or 0 for tp in batched}
        fresh = [tp for tp in batched if not begins[tp]]
        if fresh:  # Faust leaves these where they are
            begins.update(await self.earliest_offsets(*fresh))
            await self.seek_wait({tp: begins[tp] for tp in fresh})
        self._leases = {tp: Lease(tp.topic, tp.partition, begin) for tp, begin in begins.items()}

    def stop_flow(self) -> None:
        """Stop handing out; called first when partitions may be taken away and at the end."""
        for lease in self._leases.values():
            lease.end()
        super().stop_flow()

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Let the agents finish what they began, commit it, and forget the rest."""
        await super().on_partitions_revoked(revoked)
        self._end_leases(revoked)

    def _end_leases(self, tps: Iterable[Any]) -> None:
        for tp in tps:
            lease = self._leases.pop(tp, None)
            if lease is not None:
                lease.end()
                for chunk in lease.unsettled():
                    chunk.abandon()

    async def wait_empty(self) -> None:
        """Wait until the agents have settled the chunks they hold, then commit.

        The chunks still in their queues were cleared by Faust before this is called: nobody will
        settle those, so the wait ends once nothing that was taken is left.
        """
        deadline = self.loop.time() + self.app.max_settle_s
        while self._is_in_work() and self.loop.time() < deadline:
            await self._wait_for_settled(_TRY_AGAIN_S)
        self._unacked_messages.difference_update(
            [m for m in self._unacked_messages if m.topic in self.app.batched_topics]
        )
        await super().wait_empty()
        # Faust's commit does nothing while another one runs, which began before the last chunk
        # was done; this one is sure to come after it.
        await self.force_commit()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[Any]:
        """Leave batched topics to the leases.

        That Faust acknowledges a chunk says only that the agent has gone on to the next. (Its
        Cython stream notes that here without calling `ack`, which therefore cannot be overridden.)
        """
        for tp in [tp for tp in self._acked if tp.topic in self.app.batched_topics]:
            del self._acked[tp]
            self._acked_index.pop(tp, None)
        return list(super()._filter_tps_with_pending_acks(topics))

    def _is_in_work(self) -> bool:
        return any(lease.is_in_work for lease in self._leases.values())

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's signature
        """Commit what is done of batched topics, then what Faust acked of others."""
        offsets = {}
        for tp, lease in self._leases.items():
            wanted = topics is None or tp in topics or tp.topic in topics
            offset = lease.committable() if wanted else None
            if offset is not None:
                offsets[tp] = offset
        if offsets and await self._commit(offsets):
            for tp, offset in offsets.items():
                if tp in self._leases:
                    self._leases[tp].committed(offset)
            self._committed_offset.update(offsets)
            self.app.monitor.on_tp_commit(offsets)
        committed: bool = await super().force_commit(topics, start_new_transaction)
        return committed or bool(offsets)


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport for Kafka with the consumer above."""

    Consumer = BatchConsumer


class BatchApp(faust.App):  # type: ignore[misc]
    """A Faust app that can have batched topics.

    Args:
        max_in_flight_bytes: how much is handed to agents before they have settled it.
        max_settle_s: how long a rebalance or a stop waits for agents, in seconds.
    """

    def __init__(
        self, *args: Any, max_in_flight_bytes: int, max_settle_s: float, **kwargs: Any
    ) -> None:
        self.batched_topics: set[str] = set()
        self.max_in_flight_bytes = max_in_flight_bytes
        self.max_settle_s = max_settle_s
        super().__init__(*args, **kwargs)

    def _create_directories(self) -> None:
        """Make none: they are for tables, there are none, and a container's disk is read-only."""

    def batch_topic(self, name: str) -> Any:
        """Declare a topic whose one agent gets chunks.

        Raises:
            ValueError: it was declared before: a chunk is finished by one agent.
        """
        if name in self.batched_topics:
            raise ValueError(f"topic {name} has a batched agent already")
        self.batched_topics.add(name)
        return self.topic(name, schema=ChunkSchema())

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)
