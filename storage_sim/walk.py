"""From a path to the objects on it, as the kernel walks.

Each directory needs execute, links are followed; who may not go on is told what is told of the
absent.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.authz import scope
from storage_sim import inodes, namespace
from storage_sim.errors import OperationFailed, not_found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads.

    Attributes:
        above: the directories from the root to the parent; empty for the root itself.
        inode: the object there, if there is one.
        path: its absolute path in the storage, free of links.
    """

    above: tuple[Inode, ...]
    inode: Inode | None
    path: str

    @property
    def parent(self) -> Inode:
        """The directory it is in."""
        return self.above[-1]

    @property
    def name(self) -> str:
        """The last component of the path; empty for the root."""
        return self.path.rpartition("/")[2]

    @property
    def found(self) -> Inode:
        """The object, which must be there.

        Raises:
            OperationFailed: it is not.
        """
        if self.inode is None:
            raise not_found()
        return self.inode

    def holding(self, inode: Inode | None) -> Place:
        """Return the same place with another object in it."""
        return Place(self.above, inode, self.path)


def _path_of(stack: list[Inode]) -> str:
    return "/" + "/".join(inode.name for inode in stack[1:])


def _check_passable(here: Inode, principal: Principal) -> None:
    if not here.is_directory:
        raise OperationFailed(errno.ENOTDIR)
    if not scope.allows(principal, here.permission, "x"):
        raise not_found()


def walk(
    db: sqlite3.Connection,
    path: str,
    principal: Principal,
    *,
    follow: bool,
    is_shown: Callable[[str], bool] | None = None,
) -> Place:
    """Walk an absolute path.

    Args:
        db: a connection with a transaction open.
        path: from the storage's root.
        principal: who walks.
        follow: whether a link at the very end is followed, too.
        is_shown: whether what is at a path may be known of; None: a token takes nothing away.
            A link must not tell, by leading through, what is there outside.

    Returns:
        The place; its `inode` is None when all but the last component exist.

    Raises:
        OperationFailed: a directory on the way is absent or closed to the principal (both ENOENT),
            something on the way is not a directory, or links lead round and round.
    """
    root = inodes.root(db)
    stack = [root]
    ahead = deque(namespace.split_path(path))
    links = 0
    while ahead:
        name = ahead.popleft()
        here = stack[-1]
        _check_passable(here, principal)
        if name == "..":
            stack = stack[:-1] or [root]
            continue
        found = inodes.child(db, here.id, name)
        if is_shown is not None and not is_shown(namespace.join_path(_path_of(stack), name)):
            raise not_found()
        if found is None:
            if ahead:
                raise not_found()
            return Place(tuple(stack), None, namespace.join_path(_path_of(stack), name))
        if found.is_link and (ahead or follow):
            links += 1
            if links > namespace.LINKS_MAX:
                raise OperationFailed(errno.ELOOP)
            stack = [root] if found.target.startswith("/") else stack
            ahead.extendleft(reversed(namespace.split_path(found.target)))
        else:
            stack.append(found)
    return Place(tuple(stack[:-1]), stack[-1], _path_of(stack))


def place_of(db: sqlite3.Connection, inode_id: bytes) -> Place | None:
    """Return where the object with that id is now; None when it is gone."""
    inode = inodes.by_id(db, inode_id)
    if inode is None:
        return None
    stack = [inode]
    while stack[-1].parent is not None:
        above = inodes.by_id(db, stack[-1].parent)
        assert above is not None, "only empty directories are removed"
        stack.append(above)
    stack.reverse()
    return Place(tuple(stack[:-1]), inode, _path_of(stack))
