"""Operations on the tree: make, remove, rename."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from pipeline.authz import acl, scope
from schemas import vocabulary
from storage_sim import inodes, namespace
from storage_sim.billing import INTERNAL, Caller, Origin
from storage_sim.core import Core, may_enter, may_list
from storage_sim.errors import OperationFailed, forbidden, invalid

if TYPE_CHECKING:
    import sqlite3

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode
    from storage_sim.walk import Place

_KINDS = {
    vocabulary.FileType.REGULAR: vocabulary.Kind.CREATE,
    vocabulary.FileType.DIR: vocabulary.Kind.MKDIR,
    vocabulary.FileType.LINK: vocabulary.Kind.SYMLINK,
}


class Tree(Core):
    """The operations that change which objects there are, and their names.

    Each is one transaction with its record, and raises `OperationFailed` as the kernel would.
    """

    def mkdir(
        self, principal: Principal, path: str, origin: Origin = INTERNAL, *, mode: int = 0o755
    ) -> Inode:
        """Make a directory."""

        def work(db: sqlite3.Connection) -> Inode:
            place = self._reach(db, principal, path, "MANAGE", follow=False)
            caller = Caller(principal, origin)
            return self._add(db, place, vocabulary.FileType.DIR, caller, mode).found

        return self.database.write(work)

    def symlink(
        self, principal: Principal, target: str, path: str, origin: Origin = INTERNAL
    ) -> Inode:
        """Make a symlink at `path` that says `target`."""
        if not namespace.split_path(target) and not target.startswith("/"):
            raise invalid("a link needs a target")

        def work(db: sqlite3.Connection) -> Inode:
            place = self._reach(db, principal, path, "MANAGE", follow=False)
            caller, kind = Caller(principal, origin), vocabulary.FileType.LINK
            return self._add(db, place, kind, caller, 0o777, target=target).found

        return self.database.write(work)

    def rmdir(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> None:
        """Remove an empty directory."""

        def work(db: sqlite3.Connection) -> None:
            place = self._reach(db, principal, path, "DELETE", follow=False)
            if not place.found.is_directory:
                raise OperationFailed(errno.ENOTDIR)
            self._check_removable(principal, place)
            self._check_empty(db, principal, place)
            self._remove(db, vocabulary.Kind.RMDIR, place, Caller(principal, origin))

        self.database.write(work)

    def delete(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> None:
        """Remove a file or a symlink."""

        def work(db: sqlite3.Connection) -> None:
            place = self._reach(db, principal, path, "DELETE", follow=False)
            if place.found.is_directory:
                raise OperationFailed(errno.EISDIR)
            self._check_removable(principal, place)
            self._remove(db, vocabulary.Kind.DELETE, place, Caller(principal, origin))

        self.database.write(work)

    def rename(
        self, principal: Principal, source: str, target: str, origin: Origin = INTERNAL
    ) -> None:
        """Move an object to another name or place, in one step; replace what is there.

        As rename(2): an object onto itself does nothing and is not told.
        """

        def work(db: sqlite3.Connection) -> None:
            old = self._reach(db, principal, source, "MANAGE", follow=False)
            new = self._reach(db, principal, target, "MANAGE", follow=False)
            if old.found.id == (new.inode and new.inode.id):
                return
            self._check_removable(principal, old)
            self._check_target(db, principal, old, new)
            self._rename(db, old, new, Caller(principal, origin))

        self.database.write(work)

    def check_rename(self, principal: Principal, source: str, target: str) -> None:
        """Check that a rename would be done, were nothing at the target; nothing is changed."""
        with self.database.read() as db:
            old = self._reach(db, principal, source, "MANAGE", follow=False)
            new = self._reach(db, principal, target, "MANAGE", follow=False)
            self._check_removable(principal, old)
            self._check_target(db, principal, old, new.holding(None))

    def _rename(self, db: sqlite3.Connection, old: Place, new: Place, caller: Caller) -> None:
        if new.inode is not None:
            self._discard(db, new.inode)
            inodes.remove(db, new.inode)
        now_us = self._biller.clock_us()
        moved = inodes.update(
            db, old.found, parent=new.parent.id, name=new.name, changed_us=now_us
        )
        self._touch(db, old.parent)
        self._touch(db, new.parent)
        self._biller.bill_rename(db, old, new, moved, caller)

    def _check_target(
        self, db: sqlite3.Connection, principal: Principal, old: Place, new: Place
    ) -> None:
        """Check the place that something is to be renamed to."""
        moving = old.found
        if not new.above:
            raise OperationFailed(errno.EBUSY)
        namespace.check_rename(moving, new.inode, new.above)
        if moving.is_directory and namespace.scatters(
            old.path, new.path, self.shard_depth, is_empty=_is_known_empty(db, principal, old)
        ):
            raise OperationFailed(errno.EXDEV, "the directory holds shards of its own")
        if new.inode is None:
            namespace.check_name(new.name)
            namespace.check_place(new.path)
            if not may_enter(principal, new.parent):
                raise forbidden()
        else:
            self._check_removable(principal, new)
            if new.inode.is_directory:
                self._check_empty(db, principal, new)
        # a directory that gets another parent is itself changed: its `..`
        if moving.is_directory and old.parent.id != new.parent.id:
            if not scope.allows(principal, moving.permission, "w"):
                raise forbidden()
            self._check_depth(db, principal, old, new.path)

    def _check_depth(
        self, db: sqlite3.Connection, principal: Principal, old: Place, path: str
    ) -> None:
        """Check that nothing below a moved directory gets too deep."""
        if path.count("/") <= old.path.count("/"):
            return
        if not may_list(principal, old.found, old.path):
            raise forbidden()
        levels = db.execute(
            "WITH RECURSIVE below (id, depth) AS (SELECT ?, 0 UNION ALL "
            "SELECT inodes.id, depth + 1 FROM inodes JOIN below ON inodes.parent = below.id) "
            "SELECT max(depth) FROM below",
            (old.found.id,),
        ).fetchone()[0]
        if path.count("/") + levels > namespace.DEPTH_MAX:
            raise OperationFailed(errno.ENAMETOOLONG, "what is in the directory would be too deep")

    def _add(
        self,
        db: sqlite3.Connection,
        place: Place,
        kind: vocabulary.FileType,
        caller: Caller,
        mode: int,
        **changes: Any,
    ) -> Place:
        """Add an object of that kind at a free place; return the place with it."""
        if place.inode is not None:
            raise OperationFailed(errno.EEXIST)
        namespace.check_name(place.name)
        namespace.check_place(place.path)
        parent = place.parent
        if not may_enter(caller.principal, parent):
            raise forbidden()
        is_directory = kind == vocabulary.FileType.DIR
        mode = namespace.new_mode(mode, parent, is_directory=is_directory)
        inherited = acl.inherit(parent.acl, is_directory=is_directory) if parent.acl else ""
        inode = self._new_inode(parent.id, place.name, kind, caller.principal, mode)
        group = namespace.new_group(parent, caller.principal.gids)
        inode = inode._replace(gid=group, acl=inherited, **changes)
        inodes.insert(db, inode)
        self._touch(db, parent)
        there = place.holding(inode)
        self._biller.bill(db, _KINDS[kind], there, caller)
        return there

    def _check_empty(self, db: sqlite3.Connection, principal: Principal, place: Place) -> None:
        """Check that a directory may go.

        Whether anything is in it is only for those who may list it; rmdir(2) tells it to everybody
        who may write in the directory above.
        """
        if not may_list(principal, place.found, place.path):
            raise forbidden()
        if inodes.has_children(db, place.found.id):
            raise OperationFailed(errno.ENOTEMPTY)

    def _check_removable(self, principal: Principal, place: Place) -> None:
        if not place.above:
            raise OperationFailed(errno.EBUSY)
        if not scope.may_remove(principal, place.parent.permission, place.found.permission):
            raise forbidden()

    def _remove(
        self, db: sqlite3.Connection, kind: vocabulary.Kind, place: Place, caller: Caller
    ) -> None:
        self._biller.bill(db, kind, place, caller)
        self._discard(db, place.found)
        inodes.remove(db, place.found)
        self._touch(db, place.parent)


def _is_known_empty(db: sqlite3.Connection, principal: Principal, place: Place) -> bool:
    """Whether a directory is empty and a principal may know it."""
    return may_list(principal, place.found, place.path) and not inodes.has_children(
        db, place.found.id
    )
