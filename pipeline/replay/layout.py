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

import collections
import functools
import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.replay.log import Entry

BUCKETS: Final = 64
MAX_BLOB_BYTES: Final = 16 * 1024
INDEX_SLACK: Final = 16 * 1024
"""An index entry claims this many numbers more than it must, so it need not be written often."""

_REMEMBERED: Final = 16 * 1024

_NUMBER: Final = struct.Struct(">Q")
_HEAD: Final = struct.Struct(">QI")
_REF: Final = struct.Struct(">QI19s")
_FOUND: Final = struct.Struct(">Q19s")


class Push(NamedTuple):
    """A blob to append at a place."""

    place: bytes
    blob: bytes


class Trail(NamedTuple):
    """What a message adds to the indices; most messages of a batch have one of a few trails.

    Attributes:
        ancestors: the directories above, concatenated.
        places: of the parents among them.
        home: where the message is if none of them is told.
    """

    ancestors: bytes
    places: tuple[bytes, ...]
    home: bytes


@dataclass(slots=True)
class ShardPlan:
    """What a batch writes of one shard.

    Attributes:
        base: the mark it goes on from.
        first: the first number written.
        mark: the mark afterwards.
        pushes: blobs for directories, others and buckets.
        trails: for the indices, each with the last number that left it.
    """

    base: int
    first: int
    mark: int
    pushes: list[Push]
    trails: dict[Trail, int]


def split_ids(ids: bytes) -> list[bytes]:
    """Cut a concatenation of file ids."""
    return [ids[at : at + FILE_ID_BYTES] for at in range(0, len(ids), FILE_ID_BYTES)]


def tag(inode: bytes) -> bytes:
    """Return the 4 bytes by which an inode is recognised in its bucket."""
    return zlib.crc32(inode).to_bytes(4)


_REF_BUCKETS: Final = [b"r" + number.to_bytes(FILE_ID_BYTES) for number in range(BUCKETS)]


def bucket(kind: bytes, inode: bytes) -> bytes:
    """Return the place of an inode's bucket; kind is `r` or `o`."""
    return kind + (zlib.crc32(inode) % BUCKETS).to_bytes(FILE_ID_BYTES)


def directory(inode: bytes) -> bytes:
    """Return the place of a directory's messages."""
    return b"d" + inode


class _Above(NamedTuple):
    """What concatenated ancestors say; most messages of a batch have one of a few."""

    inodes: frozenset[bytes]
    paths: tuple[tuple[bytes, ...], ...]


@functools.lru_cache(maxsize=_REMEMBERED)
def _above(ancestors: bytes) -> _Above:
    """Cut concatenated ancestors into the paths they are: each begins at the root."""
    inodes = split_ids(ancestors)
    begins = [at for at, inode in enumerate(inodes) if inode == inodes[0]]
    cuts = itertools.pairwise([*begins, len(inodes)])
    return _Above(frozenset(inodes), tuple(tuple(inodes[a:b]) for a, b in cuts))


class _Usual(NamedTuple):
    """What is needed of messages that are told to the parent alone, or to it and the object.

    Attributes:
        parent: the one directory that the object is in.
        above: all directories above it.
        messages: where the messages go, with others of that directory.
        place: of the parent.
    """

    parent: bytes
    above: frozenset[bytes]
    messages: list[tuple[int, bytes]]
    place: bytes


class _Shard:
    """Collects what a batch writes of one shard."""

    def __init__(self, base: int) -> None:
        self.base = self.mark = base
        self.first = 0
        self.messages: dict[bytes, list[tuple[int, bytes]]] = collections.defaultdict(list)
        self.refs: dict[int, list[bytes]] = collections.defaultdict(list)
        self.usual: dict[bytes, _Usual | None] = {}
        self.last_usual: dict[bytes, int] = {}
        self.trails: dict[Trail, int] = {}

    def add(self, number: int, watched: bytes, ancestors: bytes, value: bytes) -> None:
        self.mark = number
        self.first = self.first or number
        if not watched:
            return
        if ancestors not in self.usual:
            self.usual[ancestors] = self._usual(_above(ancestors))
        usual = self.usual[ancestors]
        if usual is not None:  # nearly always, so this is all that most messages cost
            parent, above, messages, place = usual
            others = watched.removeprefix(parent)
            told_to_parent = len(others) < len(watched)
            if told_to_parent and len(others) <= FILE_ID_BYTES and others not in above:
                messages.append((number, value))
                self.last_usual[ancestors] = number
                if others:
                    self._refer(number, others, place)
                return
        self._add_unusual(number, watched, ancestors, value)

    def _usual(self, above: _Above) -> _Usual | None:
        if len(above.paths) != 1:
            return None
        parent = above.paths[0][-1]
        place = directory(parent)
        return _Usual(parent, above.inodes, self.messages[place], place)

    def _refer(self, number: int, inode: bytes, place: bytes) -> None:
        checksum = zlib.crc32(inode)
        self.refs[checksum % BUCKETS].append(_REF.pack(number, checksum, place))

    def _add_unusual(self, number: int, watched: bytes, ancestors: bytes, value: bytes) -> None:
        above = _above(ancestors).inodes
        inodes = split_ids(watched)
        places = tuple(dict.fromkeys(directory(inode) for inode in inodes if inode in above))
        others = [inode for inode in inodes if inode not in above]
        home = places[0] if places else bucket(b"o", others[0])
        for place in places or (home,):
            self.messages[place].append((number, value))
        for inode in others:
            self._refer(number, inode, home)
        self.trails[Trail(ancestors, places, home)] = number

    def plan(self) -> ShardPlan:
        pushes = [
            Push(place, blob)
            for place, messages in self.messages.items()
            for blob in _blobs(messages)
        ]
        for number, refs in self.refs.items():
            pushes.append(Push(_REF_BUCKETS[number], refs[-1][:8] + b"".join(refs)))
        for ancestors, last in self.last_usual.items():
            usual = self.usual[ancestors]
            assert usual is not None
            trail = Trail(ancestors, (usual.place,), usual.place)
            self.trails[trail] = max(last, self.trails.get(trail, 0))
        return ShardPlan(self.base, self.first, self.mark, pushes, self.trails)


def touched(trails: Mapping[Trail, int]) -> dict[tuple[bytes, bytes], int]:
    """Return the places that were written below each directory, with the last number there.

    Returns:
        The number for each (directory, place).
    """
    found: dict[tuple[bytes, bytes], int] = {}
    for (ancestors, places, home), number in trails.items():
        for path in _above(ancestors).paths:
            parent = directory(path[-1])
            place = parent if parent in places else home
            for ancestor in path:
                found[ancestor, place] = max(number, found.get((ancestor, place), 0))
    return found


def plan(entries: Iterable[Entry], marks: dict[str, int]) -> dict[str, ShardPlan]:
    """Decide what a batch writes; entries at or below their shard's mark drop out.

    Args:
        entries: in the order of the partition.
        marks: each shard's mark; absent: 0. Not changed.
    """
    shards: dict[str, _Shard] = {}
    for name, number, watched, ancestors, value in entries:
        shard = shards.get(name)
        if shard is None:
            shard = shards[name] = _Shard(marks.get(name, 0))
        if number > shard.mark:
            shard.add(number, watched, ancestors, value)
    return {name: shard.plan() for name, shard in shards.items() if shard.mark > shard.base}


def _blobs(messages: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    last = 0
    for number, value in messages:
        length = len(value)
        if parts and size + length > MAX_BLOB_BYTES:
            yield _NUMBER.pack(last) + b"".join(parts)
            parts, size = [], 0
        parts += (_HEAD.pack(number, length), value)
        size += length + _HEAD.size
        last = number
    if parts:
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
