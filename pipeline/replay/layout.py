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
_ONE: Final = struct.Struct(">QQI")
_REF: Final = struct.Struct(">QI19s")
_FOUND: Final = struct.Struct(">Q19s")


class Trail(NamedTuple):
    """What a message adds to the indices; most messages of a batch have one of a few trails.

    Attributes:
        shard: the message's shard.
        ancestors: the directories above, concatenated.
        places: of the parents among them.
        home: where the message is if none of them is told.
    """

    shard: str
    ancestors: bytes
    places: tuple[bytes, ...]
    home: bytes


@dataclass(slots=True)
class Numbers:
    """Which numbers of a shard a batch writes.

    Attributes:
        base: the mark it goes on from.
        first: the first number written.
        mark: the mark afterwards.
    """

    base: int
    first: int
    mark: int


class Plan(NamedTuple):
    """What a batch writes.

    Attributes:
        shards: the numbers of each shard.
        pushes: (key, blob) to append: to directories, others and buckets.
        trails: for the indices, each with the last number that left it.
    """

    shards: dict[str, Numbers]
    pushes: list[tuple[bytes, bytes]]
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


def key(shard: str, place: bytes) -> bytes:
    """Return the key of a place of a shard, without what stands before all keys."""
    return b"%c:%b\0%b" % (place[0], shard.encode(), place[1:])


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
        parent: the one directory that the object is in; empty: there are several or none.
        above: all directories above it.
        place: of the parent.
        key: of that place.
        trail: what they add to the indices.
    """

    parent: bytes
    above: frozenset[bytes]
    place: bytes
    key: bytes
    trail: Trail


@functools.lru_cache(maxsize=_REMEMBERED)
def _usual(shard: str, ancestors: bytes) -> _Usual:
    """Return what messages with these ancestors have in common."""
    above = _above(ancestors)
    parent = above.paths[0][-1] if len(above.paths) == 1 else b""
    place = directory(parent)
    trail = Trail(shard, ancestors, (place,), place)
    return _Usual(parent, above.inodes, place, key(shard, place), trail)


class _Planner:
    """Collects what a batch writes."""

    def __init__(self, marks: Mapping[str, int]) -> None:
        self._marks = marks
        self._shards: dict[str, Numbers] = {}
        self._messages: dict[bytes, list[tuple[int, bytes]]] = collections.defaultdict(list)
        self._refs: dict[tuple[str, int], list[bytes]] = collections.defaultdict(list)
        self._trails: dict[Trail, int] = {}

    def add(self, entries: Iterable[Entry]) -> None:
        """Add messages, in their order."""
        shards, messages, trails = self._shards, self._messages, self._trails
        for shard, number, watched, ancestors, value in entries:
            numbers = shards.get(shard)
            mark = self._marks.get(shard, 0) if numbers is None else numbers.mark
            if number <= mark:
                continue
            if numbers is None:
                shards[shard] = Numbers(mark, number, number)
            else:
                numbers.mark = number
            parent, above, place, at, trail = _usual(shard, ancestors)
            others = watched.removeprefix(parent)
            length = len(others)
            # Nearly always it is told to the parent alone, or to it and the object.
            if length < len(watched) and length <= FILE_ID_BYTES and others not in above:
                messages[at].append((number, value))
                trails[trail] = number
                if others:
                    self._refer(shard, number, others, place)
            elif watched:
                self._add_unusual(shard, number, watched, ancestors, value)

    def _refer(self, shard: str, number: int, inode: bytes, place: bytes) -> None:
        checksum = zlib.crc32(inode)
        self._refs[shard, checksum % BUCKETS].append(_REF.pack(number, checksum, place))

    def _add_unusual(
        self, shard: str, number: int, watched: bytes, ancestors: bytes, value: bytes
    ) -> None:
        above = _above(ancestors).inodes
        inodes = split_ids(watched)
        places = tuple(dict.fromkeys(directory(inode) for inode in inodes if inode in above))
        others = [inode for inode in inodes if inode not in above]
        home = places[0] if places else bucket(b"o", others[0])
        for place in places or (home,):
            self._messages[key(shard, place)].append((number, value))
        for inode in others:
            self._refer(shard, number, inode, home)
        self._trails[Trail(shard, ancestors, places, home)] = number

    def plan(self) -> Plan:
        """Return what is to be written."""
        pushes = [(at, blob) for at, found in self._messages.items() for blob in _blobs(found)]
        for (shard, number), refs in self._refs.items():
            blob = refs[-1][: _NUMBER.size] + b"".join(refs)
            pushes.append((key(shard, _REF_BUCKETS[number]), blob))
        return Plan(self._shards, pushes, self._trails)


def plan(entries: Iterable[Entry], marks: Mapping[str, int]) -> Plan:
    """Decide what a batch writes; entries at or below their shard's mark drop out.

    What is collected knows no shards but in its keys: ten thousand cost what ten do.

    Args:
        entries: in the order of the partition.
        marks: each shard's mark; absent: 0. Not changed.
    """
    planner = _Planner(marks)
    planner.add(entries)
    return planner.plan()


def index(trails: Mapping[Trail, int]) -> dict[tuple[bytes, bytes], int]:
    """Return the places that were written below each directory, with the last number there.

    Returns:
        The number for each (key of the directory's index, place).
    """
    found: dict[tuple[bytes, bytes], int] = {}
    for (shard, ancestors, places, home), number in trails.items():
        before = key(shard, b"i")
        for path in _above(ancestors).paths:
            parent = directory(path[-1])
            place = parent if parent in places else home
            for ancestor in path:
                entry = before + ancestor, place
                if found.get(entry, 0) < number:
                    found[entry] = number
    return found


def _blobs(messages: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
    if len(messages) == 1:
        ((number, value),) = messages
        yield _ONE.pack(number, number, len(value)) + value
        return
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
