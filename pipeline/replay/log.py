"""The port to the replay log: what the replay agent writes and a reconnecting reader reads.

Messages are kept as the bytes that stand on Kafka. They are found by shard and watched inode, and
for recursive watches by ancestor, so that a reader's cost follows what it may receive and not what
happened. The promise of `append`: all of it or nothing, in order, once, whoever calls, how often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


class Rewound(StorageEventsError):  # noqa: N818 - named after what happened to the log
    """The log has lost what came before the batch: go on from `state().offsets`."""


class Entry(NamedTuple):
    """One derived message.

    Attributes:
        shard: its shard.
        number: its number there.
        watched: the inodes told, 18 bytes each.
        ancestors: the directories above the object (and above its source, for a rename), 18 bytes
            each, that recursive watches may be on.
        value: the bytes on Kafka.
    """

    shard: str
    number: int
    watched: bytes
    ancestors: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive messages of one partition of one event type's topic.

    Attributes:
        partition: where they were read.
        next_offset: the offset after the last one.
        entries: the messages in the order of the partition; repeats are allowed, they are dropped.
        time_ms: the newest record's timestamp.
        follows: the offset that the log is known to have; None: not known. A log that has less by
            now (its store lost its tail) refuses the batch, so no gap is made.
    """

    partition: int
    next_offset: int
    entries: Sequence[Entry]
    time_ms: int = 0
    follows: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """How far the log has come, read at one instant.

    Attributes:
        marks: for each shard, the highest number the log holds.
        floors: for each shard, the number up to which messages may have been trimmed; absent: 0.
        offsets: for each partition, the offset up to which it was read.
    """

    marks: Mapping[str, int] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)
    offsets: Mapping[int, int] = field(default_factory=dict)


class ReplayLog(Protocol):
    """The log of one event type. Every method raises `Unavailable` when the store is away."""

    async def append(self, batches: Sequence[Batch]) -> None:
        """Keep the messages, the shards' marks and the partitions' offsets, each batch atomically.

        Entries at or below their shard's mark are dropped. A batch whose `next_offset` is not
        above what the log has is dropped whole. Without batches it only lets go of what is too
        old.

        Raises:
            Rewound: the log does not have what a batch follows; that batch is not kept, others
                may be.
        """

    async def restart(self, partition: int, offset: int, *, lossy: bool) -> None:
        """Say where a partition begins: it is new here, or its topic was cut off or made anew.

        Args:
            partition: the partition.
            offset: where the first batch will go on.
            lossy: messages before it may be missing; the floor of each shard of this partition
                moves up to before its next message.
        """

    async def state(self, shards: Sequence[str] | None = None) -> State:
        """Return how far the log has come (of all shards, or of these)."""

    def read(
        self,
        shard: str,
        watched: Sequence[bytes],
        below: Sequence[bytes],
        after: int,
        up_to: int,
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield chunks of (number, message) with `after < number <= up_to`, ascending, each once.

        A message is returned if an inode of `watched` is told by it, or an inode of `below` is an
        ancestor of what it is about or is itself told by it. More may be returned than was asked
        (the caller matches exactly), never less; but what is trimmed while reading is missing:
        who must not miss anything compares `state().floors` with `after` when reading is done.
        """

    async def wait_for(self, shard: str, number: int, timeout_s: float) -> bool:
        """Wait until the shard's mark is at least `number`; False when the time is over."""

    async def close(self) -> None:
        """Give back connections."""
