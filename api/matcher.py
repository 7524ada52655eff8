"""Who is to be told of a message: dictionaries, so the cost follows the answer.

Watches that ask for the same of the same inode form one group; what a message tells a group is
found once for all of its members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.delivery_batch import Batch
    from pipeline.event_types.base import Watch
    from schemas.records import Head

M = TypeVar("M")


class Group(Generic[M]):
    """Members that ask for the same.

    Attributes:
        inode: what they watch; b"" for types that watch no inode.
        watch: what they ask for.
        members: by a key of the caller's.
        batch: for the caller's use: those of them that are told together.
    """

    __slots__ = ("batch", "inode", "members", "watch")

    def __init__(self, inode: bytes, watch: Watch) -> None:
        self.inode = inode
        self.watch = watch
        self.members: dict[int, M] = {}
        self.batch: Batch | None = None


def split(inodes: bytes) -> list[bytes]:
    """Split joined inode ids."""
    return [inodes[i : i + FILE_ID_BYTES] for i in range(0, len(inodes), FILE_ID_BYTES)]


class Matcher(Generic[M]):
    """Groups of one event type, found by watched inode and, for recursive watches, by ancestor."""

    __slots__ = ("_by_ancestor", "_by_inode")

    def __init__(self) -> None:
        self._by_inode: dict[bytes, dict[Watch, Group[M]]] = {}
        self._by_ancestor: dict[bytes, dict[Watch, Group[M]]] = {}

    def __len__(self) -> int:
        return sum(len(group.members) for group in self.groups())

    def groups(self) -> Iterator[Group[M]]:
        """Yield all groups."""
        for groups in self._by_inode.values():
            yield from groups.values()

    def add(self, inode: bytes, watch: Watch, key: int, member: M) -> Group[M]:
        """Add a member under a key of its own; return the group it is in now."""
        groups = self._by_inode.setdefault(inode, {})
        group = groups.get(watch)
        if group is None:
            group = groups[watch] = Group(inode, watch)
            if watch.recursive:
                self._by_ancestor.setdefault(inode, {})[watch] = group
        group.members[key] = member
        return group

    def remove(self, inode: bytes, watch: Watch, key: int) -> None:
        """Take a member out, if it is there."""
        groups = self._by_inode.get(inode, {})
        group = groups.get(watch)
        if group is None:
            return
        group.members.pop(key, None)
        if group.members:
            return
        _drop(self._by_inode, inode, watch)
        if watch.recursive:
            _drop(self._by_ancestor, inode, watch)

    def find(self, head: Head) -> list[Group[M]]:
        """Return the groups that a message may concern, each once."""
        by_inode = self._by_inode
        found: list[Group[M]] = []
        watched = head["watched"]
        for at in range(0, len(watched), FILE_ID_BYTES):
            groups = by_inode.get(watched[at : at + FILE_ID_BYTES])
            if groups is not None:
                found.extend(groups.values())
        if b"" in by_inode:
            found.extend(by_inode[b""].values())
        if self._by_ancestor:
            self._find_above(head["ancestors"], found)
            self._find_above(head["source_ancestors"], found)
        return list(dict.fromkeys(found)) if len(found) > 1 else found

    def _find_above(self, ancestors: bytes, found: list[Group[M]]) -> None:
        by_ancestor = self._by_ancestor
        for at in range(0, len(ancestors), FILE_ID_BYTES):
            groups = by_ancestor.get(ancestors[at : at + FILE_ID_BYTES])
            if groups is not None:
                found.extend(groups.values())


def _drop(index: dict[bytes, dict[Watch, Group[M]]], inode: bytes, watch: Watch) -> None:
    groups = index.get(inode)
    if groups is not None:
        groups.pop(watch, None)
        if not groups:
            del index[inode]
