"""The replay log in memory: the twin of the one in Redis, for tests and demonstrations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pipeline.replay.layout import split_ids
from pipeline.replay.log import Rewound, State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pipeline.replay.log import Batch, Entry

_PAGE = 500


class MemoryReplayLog:
    """A replay log that lives as long as the process.

    Args:
        max_entries: how many messages of a shard are kept; the oldest go first.
    """

    def __init__(self, *, max_entries: int = 1_000_000) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, list[Entry]] = {}
        self._marks: dict[str, int] = {}
        self._floors: dict[str, int] = {}
        self._offsets: dict[int, int] = {}
        self._seen_after_loss: dict[int, set[str]] = {}
        self._appended = asyncio.Condition()

    async def append(self, batches: Sequence[Batch]) -> None:
        """Keep messages, marks and offsets; see the port."""
        for batch in batches:
            stored = self._offsets.get(batch.partition, -1)
            if batch.follows is not None and stored < batch.follows:
                raise Rewound(f"partition {batch.partition}: nothing before {batch.next_offset}")
            if stored >= batch.next_offset:
                continue
            seen = self._seen_after_loss.get(batch.partition)
            for entry in batch.entries:
                if entry.number > self._marks.get(entry.shard, 0):
                    if seen is not None and entry.shard not in seen:
                        seen.add(entry.shard)
                        self._floors[entry.shard] = entry.number - 1
                    self._keep(entry)
            self._offsets[batch.partition] = batch.next_offset
        async with self._appended:
            self._appended.notify_all()

    def _keep(self, entry: Entry) -> None:
        self._marks[entry.shard] = entry.number
        entries = self._entries.setdefault(entry.shard, [])
        entries.append(entry)
        if len(entries) > self._max_entries:
            self._floors[entry.shard] = entries.pop(0).number

    async def restart(self, partition: int, offset: int, *, lossy: bool) -> None:
        """Say where a partition begins; see the port."""
        self._offsets[partition] = offset
        if lossy:
            self._seen_after_loss[partition] = set()

    async def state(self, shards: Sequence[str] | None = None) -> State:
        """Return how far the log has come; see the port."""
        wanted = self._marks if shards is None else shards
        return State(
            {shard: self._marks[shard] for shard in wanted if shard in self._marks},
            {shard: self._floors[shard] for shard in wanted if shard in self._floors},
            dict(self._offsets),
        )

    async def read(
        self,
        shard: str,
        watched: Sequence[bytes],
        below: Sequence[bytes],
        after: int,
        up_to: int,
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield what was told to `watched` or below `below`; see the port."""
        told, above = {*watched, *below}, set(below)
        found = [
            (entry.number, entry.value)
            for entry in self._entries.get(shard, ())
            if after < entry.number <= up_to
            and (
                not told.isdisjoint(split_ids(entry.watched))
                or not above.isdisjoint(split_ids(entry.ancestors))
            )
        ]
        for begin in range(0, len(found), _PAGE):
            yield found[begin : begin + _PAGE]

    async def wait_for(self, shard: str, number: int, timeout_s: float) -> bool:
        """Wait until the shard's mark is at least `number`; see the port."""
        try:
            async with asyncio.timeout(timeout_s), self._appended:
                await self._appended.wait_for(lambda: self._marks.get(shard, 0) >= number)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Nothing to give back."""
