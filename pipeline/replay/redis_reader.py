"""Reading the replay log: several lists that ascend by number, merged into one.

Only places that may hold something for the reader are looked at, and each is read in pages: a
number may be given out once every place that is still being read is past it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.replay import layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    Run = Callable[[bytes, Sequence[Any]], Awaitable[Any]]
    Index = Callable[[str, bytes, int], Awaitable[Sequence[bytes]]]

_PAGE_BYTES: Final = 1024 * 1024
_FETCH: Final = 256
_PLACES_PER_CALL: Final = 1024


class Reader:
    """Reads one event type's log.

    Args:
        prefix: what stands before all its keys.
        read: runs `read.lua`.
        refs: runs `refs.lua`.
        fetch: runs `fetch.lua`.
        index: gives the places touched below a directory after a number.
    """

    def __init__(self, *, prefix: bytes, read: Run, refs: Run, fetch: Run, index: Index) -> None:
        self._prefix = prefix
        self._read = read
        self._refs = refs
        self._fetch = fetch
        self._index = index

    async def read(
        self,
        shard: str,
        watched: Sequence[bytes],
        below: Sequence[bytes],
        after: int,
        up_to: int,
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield chunks of (number, message); see the port."""
        if after >= up_to:
            return
        places = {layout.directory(inode) for inode in watched}
        for inode in below:
            places.update(await self._index(shard, inode, after))
        inodes = list(dict.fromkeys([*watched, *below]))
        refs = await self._strays(shard, inodes, after, up_to, places)
        merge = _Merge(after, up_to, places)
        while True:
            await self._read_pages(shard, merge)
            horizon = merge.horizon()
            due = []
            while refs and refs[-1][0] <= horizon:
                due.append(refs.pop())
                if len(due) == _FETCH:
                    break
            if due:
                horizon = min(horizon, due[-1][0]) if refs else horizon
                merge.add_all(await self._fetched(shard, due))
            chunk = merge.take(horizon)
            if chunk:
                yield chunk
            if merge.is_complete(horizon) and not refs:
                return

    async def _strays(
        self, shard: str, inodes: Sequence[bytes], after: int, up_to: int, places: set[bytes]
    ) -> list[tuple[int, bytes]]:
        """Return (number, place) of what is told to the inodes elsewhere, descending."""
        arguments: list[Any] = [shard, after, up_to]
        for inode in inodes:
            arguments += (layout.bucket(b"r", inode), layout.tag(inode))
        found = layout.found_refs(await self._refs(self._prefix, arguments))
        return sorted({ref for ref in found if ref[1] not in places}, reverse=True)

    async def _read_pages(self, shard: str, merge: _Merge) -> None:
        wanted = merge.wanted()
        limit = max(1, _PAGE_BYTES // max(1, len(wanted)))
        for begin in range(0, len(wanted), _PLACES_PER_CALL):
            places = wanted[begin : begin + _PLACES_PER_CALL]
            arguments: list[Any] = [shard, merge.up_to, limit]
            for place in places:
                arguments += (merge.read_to[place], place)
            answer = await self._read(self._prefix, arguments)
            for place, (complete, *blobs) in zip(places, answer, strict=True):
                merge.add(place, blobs, complete=bool(complete))

    async def _fetched(
        self, shard: str, refs: Sequence[tuple[int, bytes]]
    ) -> list[tuple[int, bytes]]:
        arguments: list[Any] = [shard]
        for number, place in refs:
            arguments += (number, place)
        numbers = {number for number, _ in refs}
        blobs = await self._fetch(self._prefix, arguments)
        return [m for blob in blobs for m in layout.messages(blob) if m[0] in numbers]


class _Merge:
    """What was read of each place, given out in order."""

    def __init__(self, after: int, up_to: int, places: set[bytes]) -> None:
        self.up_to = up_to
        self.read_to = dict.fromkeys(places, after)
        self._open = set(places)
        self._given = after
        self._waiting: list[tuple[int, bytes]] = []

    def wanted(self) -> list[bytes]:
        """Return the places that hold the others up."""
        horizon = self.horizon()
        return [place for place in self._open if self.read_to[place] <= horizon]

    def add(self, place: bytes, blobs: Sequence[bytes], *, complete: bool) -> None:
        """Note a page of a place."""
        for blob in blobs:
            self._waiting += layout.messages(blob)
        if blobs:
            self.read_to[place] = layout.last_number(blobs[-1])
        if complete:
            self._open.discard(place)

    def add_all(self, found: Sequence[tuple[int, bytes]]) -> None:
        """Note single messages."""
        self._waiting += found

    def horizon(self) -> int:
        """Return the number up to which everything was read."""
        return min((self.read_to[place] for place in self._open), default=self.up_to)

    def take(self, horizon: int) -> list[tuple[int, bytes]]:
        """Give out what is complete, ascending, each number once."""
        horizon = min(horizon, self.up_to)
        due: dict[int, bytes] = {}
        rest = []
        for message in self._waiting:
            number = message[0]
            if number > horizon:
                rest.append(message)
            elif number > self._given:
                due[number] = message[1]
        self._waiting = rest
        self._given = max(self._given, horizon)
        return sorted(due.items())

    def is_complete(self, horizon: int) -> bool:
        """Whether everything was given out."""
        return not self._open and horizon >= self.up_to
