"""Which records of a partition are done, so that offsets are committed up to there and no further.

A *lease* is the time between two seeks of one partition: what is read under it is contiguous.
A rebalance, a stop or a seek ends the lease, and whatever was read under it and is not done by
then is read again under the next one. An agent finishes chunks in any order; committed is only
what is done without a gap from the start. (Faust's own bookkeeping commits one offset too many
where the first message is still in flight: its issue 606.)
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Chunk:
    """Consecutive records of one partition: what a batched agent gets for a value.

    Attributes:
        lease: the lease it was read under.
        records: aiokafka's records (`key`, `value`, `offset`, `timestamp` in ms; see `parsed`),
            never empty.
        size_bytes: keys and values together.
    """

    __slots__ = (
        "_on_settled",
        "is_finished",
        "is_settled",
        "is_taken",
        "lease",
        "records",
        "size_bytes",
    )

    def __init__(
        self, lease: Lease, records: Sequence[Any], on_settled: Callable[[Chunk], None]
    ) -> None:
        self.lease = lease
        self.records = records
        self.size_bytes = sum(
            len(record.value or b"") + len(record.key or b"") for record in records
        )
        self.is_taken = False
        self.is_finished = False
        self.is_settled = False
        self._on_settled = on_settled

    @property
    def partition(self) -> int:
        """The partition it was read from."""
        return self.lease.partition

    @property
    def topic(self) -> str:
        """The topic it was read from."""
        return self.lease.topic

    @property
    def next_offset(self) -> int:
        """The offset after the last record: what is committed once it is done."""
        offset: int = self.records[-1].offset
        return offset + 1

    def take(self) -> bool:
        """Begin to work on it; False: the lease has ended, leave it alone."""
        if self.lease.has_ended:
            self.abandon()
            return False
        self.is_taken = True
        return True

    def finish(self) -> None:
        """Say that all effects of these records are certain: they may be committed."""
        self.is_finished = True
        self._settle()

    def abandon(self) -> None:
        """Say that nobody works on these records any more; they will be read again."""
        self._settle()

    def _settle(self) -> None:
        if not self.is_settled:
            self.is_settled = True
            self._on_settled(self)


class Lease:
    """What was read from one partition since the last seek, and how much of it is done.

    Args:
        topic: the topic.
        partition: the partition.
        begin: the offset that was sought.
    """

    def __init__(self, topic: str, partition: int, begin: int) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset = begin
        self.has_ended = False
        self._sought_again = -1
        self._chunks: collections.deque[Chunk] = collections.deque()
        self._done: int | None = None
        self._committed: int | None = None

    def fitting(self, records: Sequence[Any]) -> Sequence[Any] | None:
        """Return what of a fetch comes next; None: something is missing before it.

        A fetch that was under way during a seek comes from elsewhere, and one that came at the
        wrong moment was dropped. What was handed out before is left out; where something is
        missing, `next_offset` must be sought. What is missing after that is not there any more.
        """
        first = records[0].offset
        if first > self.next_offset and self._sought_again != self.next_offset:
            self._sought_again = self.next_offset
            return None
        if first < self.next_offset:
            return [record for record in records if record.offset >= self.next_offset]
        return records

    def deliver(self, records: Sequence[Any], on_settled: Callable[[Chunk], None]) -> Chunk:
        """Note that records were handed out, in the order of the partition."""
        chunk = Chunk(self, records, on_settled)
        self.next_offset = chunk.next_offset
        self._chunks.append(chunk)
        return chunk

    def end(self) -> None:
        """End the lease: nobody waits or retries for it any more, what is done still counts."""
        self.has_ended = True

    def committable(self) -> int | None:
        """Return the offset to commit; None if nothing was done since the last commit."""
        while self._chunks and self._chunks[0].is_finished:
            self._done = self._chunks.popleft().next_offset
        return self._done if self._done != self._committed else None

    def committed(self, offset: int) -> None:
        """Note that the broker has confirmed `offset`."""
        self._committed = offset

    def unsettled(self) -> list[Chunk]:
        """Return the chunks that are neither finished nor abandoned."""
        return [chunk for chunk in self._chunks if not chunk.is_settled]

    @property
    def is_in_work(self) -> bool:
        """Whether somebody works on one of its chunks."""
        return any(chunk.is_taken and not chunk.is_settled for chunk in self._chunks)
