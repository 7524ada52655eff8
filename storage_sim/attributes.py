"""Operations on what an object says about itself: mode, owner, ACL, times, xattrs, labels."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from pipeline.authz import acl as acls
from pipeline.authz import scope
from schemas import vocabulary
from schemas.errors import BadRecord
from storage_sim import inodes, namespace
from storage_sim.billing import INTERNAL, Caller, Origin
from storage_sim.core import Core
from storage_sim.errors import OperationFailed, forbidden, invalid

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sized

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode

XATTR_NAME_MAX_BYTES: Final = 255
XATTR_VALUE_MAX_BYTES: Final = 65_536
XATTRS_MAX: Final = 256
"""For each object; the same number of labels."""
_ID_END: Final = 2**31
_TIME_END_US: Final = 2**62

_OWN: Final = "own"
"""What chmod and its kind need: to be the owner."""


class Attributes(Core):
    """The operations that are told as SETATTR.

    Each is one transaction with its record, and raises `OperationFailed` as the kernel would.
    """

    def chmod(self, principal: Principal, path: str, mode: int, origin: Origin = INTERNAL) -> None:
        """Set the permission bits."""
        if not 0 <= mode <= namespace.MODE_BITS:
            raise invalid(f"not a mode: {mode:o}")
        self._set(
            Caller(principal, origin), path, "mode", _OWN, lambda _db, _inode: {"mode": mode}
        )

    def chown(
        self,
        principal: Principal,
        path: str,
        origin: Origin = INTERNAL,
        *,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Set the owner (only root may) or the group (an owner may, to one of theirs)."""
        given = {key: value for key, value in (("uid", uid), ("gid", gid)) if value is not None}
        if not all(0 <= number < _ID_END for number in given.values()):
            raise invalid("not a user or group id")

        def change(_db: sqlite3.Connection, inode: Inode) -> dict[str, Any]:
            to_others = uid not in (None, inode.uid) or gid not in (
                None,
                inode.gid,
                *principal.gids,
            )
            if to_others and not principal.is_root:
                raise OperationFailed(errno.EPERM)
            return given

        self._set(
            Caller(principal, origin), path, "owner" if uid is not None else "group", _OWN, change
        )

    def set_acl(
        self, principal: Principal, path: str, acl: str, origin: Origin = INTERNAL
    ) -> None:
        """Set the ACL (`pipeline.authz.acl`); the empty text takes it away."""
        try:
            text = acls.acl_text(acls.parse_acl(acl))
        except BadRecord as error:
            raise invalid(str(error)) from error
        self._set(Caller(principal, origin), path, "acl", _OWN, lambda _db, _inode: {"acl": text})

    def set_modified(
        self, principal: Principal, path: str, modified_us: int, origin: Origin = INTERNAL
    ) -> None:
        """Set the time of the last change of content, epoch microseconds."""
        if not 0 <= modified_us < _TIME_END_US:
            raise invalid("not a time")
        self._set(
            Caller(principal, origin),
            path,
            "times",
            "w",
            lambda _db, _inode: {"modified_us": modified_us},
        )

    def set_xattr(
        self, principal: Principal, path: str, name: str, value: str, origin: Origin = INTERNAL
    ) -> None:
        """Set an extended attribute."""
        _check_attribute_name(name)
        if len(value.encode()) > XATTR_VALUE_MAX_BYTES:
            raise OperationFailed(errno.E2BIG, "the value is too long")

        def change(db: sqlite3.Connection, inode: Inode) -> dict[str, Any]:
            db.execute("INSERT OR REPLACE INTO xattrs VALUES (?, ?, ?)", (inode.id, name, value))
            _check_count(inodes.xattrs(db, inode))
            return {}

        self._set(Caller(principal, origin), path, "xattr", "w", change)

    def rm_xattr(
        self, principal: Principal, path: str, name: str, origin: Origin = INTERNAL
    ) -> None:
        """Remove an extended attribute."""

        def change(db: sqlite3.Connection, inode: Inode) -> dict[str, Any]:
            gone = db.execute("DELETE FROM xattrs WHERE inode = ? AND name = ?", (inode.id, name))
            return _if_any(gone)

        self._set(Caller(principal, origin), path, "xattr", "w", change)

    def set_label(
        self, principal: Principal, path: str, label: str, origin: Origin = INTERNAL
    ) -> None:
        """Put a label on an object."""
        _check_attribute_name(label)

        def change(db: sqlite3.Connection, inode: Inode) -> dict[str, Any]:
            db.execute("INSERT OR IGNORE INTO labels VALUES (?, ?)", (inode.id, label))
            _check_count(inodes.labels(db, inode))
            return {}

        self._set(Caller(principal, origin), path, "label", "w", change)

    def rm_label(
        self, principal: Principal, path: str, label: str, origin: Origin = INTERNAL
    ) -> None:
        """Take a label off an object."""

        def change(db: sqlite3.Connection, inode: Inode) -> dict[str, Any]:
            gone = db.execute("DELETE FROM labels WHERE inode = ? AND name = ?", (inode.id, label))
            return _if_any(gone)

        self._set(Caller(principal, origin), path, "label", "w", change)

    def _set(
        self,
        caller: Caller,
        path: str,
        attribute: str,
        needs: str,
        change: Callable[[sqlite3.Connection, Inode], dict[str, Any]],
    ) -> None:
        """Check the right that is needed, change, and tell it.

        Args:
            caller: who.
            path: what.
            attribute: what the record calls it.
            needs: `_OWN`, or rights on the object.
            change: does it, and returns the columns of the inode that change.
        """
        principal = caller.principal

        def work(db: sqlite3.Connection) -> None:
            place = self._reach(db, principal, path, "UPDATE_METADATA")
            inode = place.found
            if needs == _OWN:
                if inode.uid != principal.uid and not principal.is_root:
                    raise OperationFailed(errno.EPERM)
            elif not scope.allows(principal, inode.permission, needs):
                raise forbidden()
            changes = {"changed_us": self._biller.clock_us(), **change(db, inode)}
            after = place.holding(inodes.update(db, inode, **changes))
            kind = vocabulary.Kind.SETATTR
            self._biller.bill(db, kind, after, caller, attribute=attribute)

        self.database.write(work)


def _check_attribute_name(name: str) -> None:
    if not name or len(name.encode(errors="replace")) > XATTR_NAME_MAX_BYTES:
        raise invalid(f"a name has 1 to {XATTR_NAME_MAX_BYTES} bytes")
    if not name.isprintable():
        raise invalid("a name must be printable text")


def _check_count(attributes: Sized) -> None:
    if len(attributes) > XATTRS_MAX:
        raise OperationFailed(errno.ENOSPC, f"an object has at most {XATTRS_MAX} of them")


def _if_any(deleted: sqlite3.Cursor) -> dict[str, Any]:
    if not deleted.rowcount:
        raise OperationFailed(errno.ENODATA)
    return {}
