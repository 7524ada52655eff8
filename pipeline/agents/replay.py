"""The replay agent: derived topics in, the replay log out. It goes on from where the log is.

It is a plain loop and not a Faust agent (docs/adr/0005): agents of one Faust app share a consumer
and its commits, so a Redis that is slow would hold back the deriving, and what Faust is good at,
keeping offsets in Kafka, is what must not be used here: a log that lost its tail, or everything,
says so by its own offsets and is filled again. The consumer group only divides the partitions.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from mode import get_logger

from pipeline.agents.outage import Outage
from pipeline.replay.log import Batch, Entry, Rewound
from pipeline.transport.parsed import UNREAD_S, ask_for_all, ask_for_some, leave_as_parsed
from schemas import codec
from schemas.errors import BadRecord, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.metrics import Metrics
    from pipeline.replay.log import ReplayLog

logger = get_logger(__name__)

_POLL_MS: Final = 250
_LOOK_MS: Final = int(2000 * UNREAD_S)
_NOTHING_TO_READ_S: Final = 0.05
_FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 5.0
_TIDY_S: Final = 10.0
_new = tuple.__new__  # of a NamedTuple: by its class it costs twice as much
_YEAR_MS: Final = 365 * 24 * 60 * 60 * 1000


class ReplayWriter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Writes derived messages to the replay logs until it is stopped.

    Args:
        consumer: an aiokafka consumer that is not started.
        logs: the log of each topic, by the topic's full name.
        batch_records: most messages of one round.
        metrics: counters.
    """

    def __init__(
        self,
        *,
        consumer: AIOKafkaConsumer,
        logs: Mapping[str, ReplayLog],
        batch_records: int,
        metrics: Metrics,
    ) -> None:
        self._consumer = consumer
        self._logs = logs
        self._batch_records = batch_records
        self._metrics = metrics
        self._places: dict[TopicPartition, int] = {}
        self._stopping = asyncio.Event()
        self._trouble = "has not begun"
        self._outage = Outage("The replay log waits", logger)
        self._tidied_s = time.monotonic()

    @property
    def trouble(self) -> str:
        """What keeps it from going on, or empty."""
        return self._trouble

    def progress(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return, for each partition that is read, its end offset and where the log is."""
        found = {}
        for tp, done in self._places.items():
            with contextlib.suppress(IllegalStateError):
                end = self._consumer.highwater(tp)
                if end is not None:
                    found[tp.topic, tp.partition] = (end, done)
        return found

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Stop reading what others will read."""
        for tp in revoked:
            self._places.pop(tp, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Read nothing yet: the log says where to begin, and may have to be waited for."""
        for tp in assigned:
            self._places.pop(tp, None)

    async def run(self) -> None:
        """Read and write until `stop`; waits for Kafka and Redis as long as they are away."""
        await self._retry(self._start)
        try:
            while not self._stopping.is_set():
                await self._retry(self._round)
        finally:
            await self._consumer.stop()

    def stop(self) -> None:
        """Ask `run` to end; what was read and not written is read again."""
        self._stopping.set()

    async def _retry(self, step: Callable[[], Any]) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stopping.is_set():
            try:
                await step()
            except (Unavailable, KafkaError) as error:
                self._trouble = f"{type(error).__name__}: {error}"
                self._outage.note(error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stopping.wait()
                wait_s = min(2 * wait_s, _MAX_WAIT_S)
            else:
                self._trouble = ""
                self._outage.over()
                return

    async def _start(self) -> None:
        await self._consumer.start()
        leave_as_parsed(self._consumer, self._logs)
        self._consumer.subscribe(topics=list(self._logs), listener=self)

    async def _round(self) -> None:
        if new := [tp for tp in self._consumer.assignment() if tp not in self._places]:
            await self._place(new)
        await self._tidy()
        if not self._places:
            await asyncio.sleep(_NOTHING_TO_READ_S)
            return
        read = await self._consumer.getmany(
            *self._places, timeout_ms=_POLL_MS, max_records=self._batch_records
        )
        for topic in {tp.topic for tp in read}:
            parts = {tp: records for tp, records in read.items() if tp.topic == topic and records}
            await self._retry(functools.partial(self._write, topic, parts))

    async def _place(self, tps: Sequence[TopicPartition]) -> None:
        """Seek partitions to where their logs are."""
        ask_for_some(self._consumer)  # one is looked at while others must wait
        for topic in {tp.topic for tp in tps}:
            offsets = (await self._logs[topic].state([])).offsets
            mine = [tp for tp in tps if tp.topic == topic]
            first = await self._consumer.beginning_offsets(mine)
            end = await self._consumer.end_offsets(mine)
            for tp in mine:
                begin = await self._begin(tp, offsets.get(tp.partition), first[tp], end[tp])
                with contextlib.suppress(IllegalStateError):  # taken away again meanwhile
                    self._consumer.seek(tp, begin)
                    self._places[tp] = begin
        ask_for_all(self._consumer)

    async def _begin(self, tp: TopicPartition, known: int | None, first: int, end: int) -> int:
        """Return where to begin, which is where the log is; tell it if it must begin elsewhere."""
        if known is not None and first <= known <= end:
            if known == first or await self._has_written(tp, known - 1):
                return known
            logger.error("%s-%d is another topic than the one that was read before", *tp)
        lossy = known is not None or first > 0
        if lossy:
            logger.error(
                "%s-%d holds offsets %d to %d, the replay log was at %s: what lies between can no "
                "longer be replayed", *tp, first, end, known,
            )  # fmt: skip
        await self._logs[tp.topic].restart(tp.partition, first, lossy=lossy)
        return first

    async def _has_written(self, tp: TopicPartition, offset: int) -> bool:
        """Whether the log has what stands at an offset that it says it has read.

        A topic that was deleted and made again, and has grown since, begins with what is newer
        than the log: numbers only grow. What cannot be read proves nothing and counts as written.
        """
        try:
            self._consumer.seek(tp, offset)
            read = await self._consumer.getmany(tp, timeout_ms=_LOOK_MS, max_records=1)
            head = codec.decode_head(read[tp][0].value) if read.get(tp) else None
        except (IllegalStateError, BadRecord):
            return True
        if head is None or read[tp][0].offset != offset:
            return True
        marks = (await self._logs[tp.topic].state([head["shard"]])).marks
        return head["number"] <= marks.get(head["shard"], 0)

    async def _write(self, topic: str, parts: Mapping[TopicPartition, Sequence[Any]]) -> None:
        await self._tidy()  # also while nothing can be appended because Redis is full
        batches = []
        for tp, records in parts.items():
            place = self._places.get(tp)
            if place is not None:
                entries = self._entries(tp, records)
                last = records[-1]
                batch = Batch(tp.partition, last.offset + 1, entries, last.timestamp, place)
                batches.append((tp, batch))
                await asyncio.sleep(0)  # the deriving agent lives on the same loop
        try:
            await self._logs[topic].append([batch for _, batch in batches])
        except Rewound as error:
            logger.warning("The replay log has lost its end and is filled again: %s", error)
            for tp in [tp for tp in self._places if tp.topic == topic]:
                del self._places[tp]
            return
        for tp, batch in batches:
            if tp in self._places:
                self._places[tp] = batch.next_offset
            self._metrics.add("replayed_total", len(batch.entries))

    def _entries(self, tp: TopicPartition, records: Sequence[Any]) -> list[Entry]:
        entries: list[Entry] = []
        read = codec.head_values
        for record in records:
            value = record.value
            try:
                shard, number, watched, ancestors, above_source = read(value)
            except BadRecord as error:
                # Nobody but the deriving agent writes here; readers of the topic skip it, too.
                logger.warning("%s-%d@%d is not replayed: %s", *tp, record.offset, error)
                self._metrics.add("unreadable_total", 1)
                continue
            entries.append(_new(Entry, (shard, number, watched, ancestors + above_source, value)))
        return entries

    async def _tidy(self) -> None:
        """Let go of what is too old, also while nothing is appended."""
        if time.monotonic() - self._tidied_s > _TIDY_S:
            self._tidied_s = time.monotonic()
            for log in self._logs.values():
                await log.append([])


def make_consumer(
    *, bootstrap: str, group: str, instance_id: str, session_timeout_s: float, fetch_bytes: int
) -> AIOKafkaConsumer:
    """Make the consumer of a replay writer; it commits nothing.

    Args:
        bootstrap: Kafka's addresses.
        group: the consumer group, which divides the partitions.
        instance_id: static membership; empty: none.
        session_timeout_s: how long a killed writer's partitions rest, in seconds.
        fetch_bytes: most bytes of one partition in one fetch.
    """
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        group_instance_id=instance_id or None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=int(session_timeout_s * 1000),
        heartbeat_interval_ms=int(session_timeout_s * 1000 / 3),
        max_poll_interval_ms=_YEAR_MS,
        max_partition_fetch_bytes=fetch_bytes,
    )
