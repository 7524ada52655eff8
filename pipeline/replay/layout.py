r"""How the replay log lies in Redis: what is written for a batch, how it is read back. Pure.

All lists ascend by number, and each element (a *blob*) begins with the highest number in it, so a
reader finds its place by bisection and a whole batch costs one element per list:

* `d:<shard>\0<directory>`: the messages told to the watchers of a directory.
* `o:<shard>\0<bucket>`: messages that no directory is told of.
* `r:<shard>\0<bucket>`: for an inode that is told and is not the parent (a file, or a directory
  of its own events): number, tag of the inode and the place of the message. Hashed into a few
  buckets, so that a file does not cost a key.
* `i:<shard>\0<directory>`: a sorted set of the places touched below a directory, each with a
  number it was not touched after: what a recursive reader has to look into. It grows with the
  number of directories, not with that of events.

A parent is known by standing in both `watched` and the ancestors.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.replay.log import Entry

BUCKETS: Final = 64
MAX_BLOB_BYTES: Final = 16 * 1024
INDEX_SLACK: Final = 16 * 1024
"""An index entry claims this many numbers more than it must, so it need not be written often."""

_NUMBER: Final = struct.Struct(">Q")
_HEAD: Final = struct.Struct(">QI")
_REF: Final = struct.Struct(">Q4s19s")
_FOUND: Final = struct.Struct(">Q19s")


class Push(NamedTuple):
    """A blob to append at a place."""

    place: bytes
    blob: bytes


class Touched(NamedTuple):
    """A place that was written below a directory, up to a number."""

    ancestor: bytes
    place: bytes
    number: int


@dataclass(slots=True)
class ShardPlan:
    """What a batch writes of one shard.

    Attributes:
        base: the mark it goes on from.
        first: the first number written.
        mark: the mark afterwards.
        pushes: blobs for directories, others and buckets.
        touched: for the indices.
    """

    base: int
    first: int
    mark: int
    pushes: list[Push] = field(default_factory=list)
    touched: list[Touched] = field(default_factory=list)


def split_ids(ids: bytes) -> list[bytes]:
    """Cut a concatenation of file ids."""
    return [ids[at : at + FILE_ID_BYTES] for at in range(0, len(ids), FILE_ID_BYTES)]


def tag(inode: bytes) -> bytes:
    """Return the 4 bytes by which an inode is recognised in its bucket."""
    return zlib.crc32(inode).to_bytes(4)


def bucket(kind: bytes, inode: bytes) -> bytes:
    """Return the place of an inode's bucket; kind is `r` or `o`."""
    return kind + (zlib.crc32(inode) % BUCKETS).to_bytes(FILE_ID_BYTES)


def directory(inode: bytes) -> bytes:
    """Return the place of a directory's messages."""
    return b"d" + inode


def _paths(ancestors: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut concatenated ancestors into the paths they are: each begins at the root."""
    begin = 0
    for at in range(1, len(ancestors) + 1):
        if at == len(ancestors) or ancestors[at] == ancestors[0]:
            yield ancestors[begin:at]
            begin = at


class _Shard:
    """Collects what a batch writes of one shard."""

    def __init__(self, base: int) -> None:
        self.base = self.mark = base
        self.first = 0
        self.messages: dict[bytes, list[tuple[int, bytes]]] = {}
        self.refs: dict[bytes, list[bytes]] = {}
        self.touched: dict[tuple[bytes, bytes], int] = {}

    def add(self, entry: Entry) -> None:
        self.mark = number = entry.number
        self.first = self.first or number
        if not entry.watched:
            return
        watched = split_ids(entry.watched)
        ancestors = split_ids(entry.ancestors)
        above = set(ancestors)
        parents = [inode for inode in watched if inode in above]
        home = directory(parents[0]) if parents else bucket(b"o", watched[0])
        for place in dict.fromkeys(map(directory, parents)) if parents else (home,):
            self.messages.setdefault(place, []).append((number, entry.value))
        for inode in watched:
            if inode not in above:
                ref = _REF.pack(number, tag(inode), home)
                self.refs.setdefault(bucket(b"r", inode), []).append(ref)
        for path in _paths(ancestors):
            place = directory(path[-1]) if path[-1] in parents else home
            for ancestor in path:
                self.touched[ancestor, place] = number

    def plan(self) -> ShardPlan:
        plan = ShardPlan(self.base, self.first, self.mark)
        for place, messages in self.messages.items():
            plan.pushes += [Push(place, blob) for blob in _blobs(messages)]
        for place, refs in self.refs.items():
            plan.pushes.append(Push(place, refs[-1][:8] + b"".join(refs)))
        plan.touched = [Touched(*key, number) for key, number in self.touched.items()]
        return plan


def plan(entries: Iterable[Entry], marks: dict[str, int]) -> dict[str, ShardPlan]:
    """Decide what a batch writes; entries at or below their shard's mark drop out.

    Args:
        entries: in the order of the partition.
        marks: each shard's mark; absent: 0. Not changed.
    """
    shards: dict[str, _Shard] = {}
    for entry in entries:
        shard = shards.get(entry.shard)
        if shard is None:
            shard = shards[entry.shard] = _Shard(marks.get(entry.shard, 0))
        if entry.number > shard.mark:
            shard.add(entry)
    return {name: shard.plan() for name, shard in shards.items() if shard.mark > shard.base}


def _blobs(messages: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    last = 0
    for number, value in messages:
        if parts and size + len(value) > MAX_BLOB_BYTES:
            yield _NUMBER.pack(last) + b"".join(parts)
            parts, size = [], 0
        parts += (_HEAD.pack(number, len(value)), value)
        size += len(value) + _HEAD.size
        last = number
    yield _NUMBER.pack(last) + b"".join(parts)


def last_number(blob: bytes) -> int:
    """Return the highest number in a blob."""
    number: int = _NUMBER.unpack_from(blob)[0]
    return number


def messages(blob: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, message) of a blob, ascending."""
    at = _NUMBER.size
    end = len(blob)
    while at < end:
        number, length = _HEAD.unpack_from(blob, at)
        at += _HEAD.size
        yield number, blob[at : at + length]
        at += length


def found_refs(answer: bytes) -> list[tuple[int, bytes]]:
    """Return the (number, place) pairs that the script `refs.lua` found."""
    return list(_FOUND.iter_unpack(answer))
