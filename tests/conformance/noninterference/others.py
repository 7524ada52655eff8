"""The others: bob, who hides things, carol, who does not, and the system that opens and closes."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pipeline.authz.principal import Principal
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.conformance.noninterference import histories as h

if TYPE_CHECKING:
    from tests.conformance.noninterference.house import House

ALICE_UID, BOB_UID, CAROL_UID, TEAM, STAFF = 1001, 1002, 1003, 2001, 2002
BOB = Principal("bob", BOB_UID, (BOB_UID, STAFF))
CAROL = Principal("carol", CAROL_UID, (CAROL_UID, TEAM))
MOVED = "/hid/moved"


class Access(NamedTuple):
    """What decides who may do what with a directory."""

    uid: int
    gid: int
    mode: int
    acl: str = ""


# alice is 1001, in TEAM: each of these keeps her out, and bob in
_CLOSED = {
    "mode": Access(BOB_UID, BOB_UID, 0o700),
    "group": Access(BOB_UID, STAFF, 0o770),
    "owner": Access(ALICE_UID, BOB_UID, 0o077),
    "her group": Access(BOB_UID, TEAM, 0o707),
    "acl": Access(BOB_UID, BOB_UID, 0o755, f"D:fd:u={ALICE_UID}:rwx"),
    "acl of her group": Access(BOB_UID, BOB_UID, 0o755, f"D::g={TEAM}:rx,A::EVERYONE@:rx"),
    "acl of all": Access(BOB_UID, BOB_UID, 0o777, f"A::u={BOB_UID}:rwx,D::EVERYONE@:rwx"),
}
_NEEDS = {"delete", "rename", "read", "chmod", "chgrp", "acl", "acl-open", "xattr", "out", "lock"}
"""What is done to something that is there."""

_PASSABLE = {
    "mode": Access(BOB_UID, BOB_UID, 0o711),
    "group": Access(BOB_UID, TEAM, 0o715),
    "acl": Access(BOB_UID, BOB_UID, 0o755, f"D::u={ALICE_UID}:r"),
}
_OPEN = {
    "mode": Access(SYSTEM.uid, 0, 0o777),
    "group": Access(SYSTEM.uid, TEAM, 0o770),
    "acl": Access(SYSTEM.uid, 0, 0o700, f"A::g={TEAM}:rwx"),
}


class Others:
    """All but alice.

    Args:
        house: where they work.
        ground: what they begin with.
    """

    done: ClassVar[Counter[str]] = Counter()
    """How often what was done, in all houses: a history that cannot do a thing shows nothing."""

    def __init__(self, house: House, ground: h.Ground) -> None:
        self._house = house
        self._storage = storage = house.storage
        self._open = dict(zip(h.CLOSABLE, ground.open, strict=True))
        self._closed: dict[str, str] = {}
        self._moved = ""
        own, deep = ground.open
        for path, access in [
            ("/mark", Access(SYSTEM.uid, 0, 0o755)),
            ("/hid", _CLOSED[ground.closed[0]]),
            ("/pub", _OPEN["mode"]),
            ("/pub/own", _OPEN[own]),
            ("/pub/hid", _CLOSED[ground.closed[1]]),
            ("/pub/x", _PASSABLE[ground.passable]),
            ("/pub/x/open", _OPEN[deep]),
            ("/pub/x/s", Access(BOB_UID, BOB_UID, 0o755)),
            ("/pub/hid/s", Access(BOB_UID, BOB_UID, 0o755)),
        ]:
            storage.mkdir(SYSTEM, path)
            self._set(path, access)
        for path in h.OPEN:
            storage.write(SYSTEM, f"{path}/v1", b"here from the beginning")
        storage.symlink(SYSTEM, "/pub/hid/h0", h.LINK)
        storage.symlink(SYSTEM, "/pub/hid", h.WAY)

    def _set(self, path: str, access: Access) -> None:
        self._storage.chown(SYSTEM, path, uid=access.uid, gid=access.gid)
        self._storage.chmod(SYSTEM, path, access.mode)
        self._storage.set_acl(SYSTEM, path, access.acl)

    def _is_hidden(self, path: str) -> bool:
        if path.startswith(h.CLOSABLE):
            return path.startswith(tuple(self._closed))
        return True

    def is_hers_to_open(self, path: str) -> bool:
        """Whether a directory is closed to alice as its owner, who may change its mode again."""
        return self._closed.get(path) == "owner"

    def hidden(self, operation: h.Hidden) -> None:
        """Let bob do something where alice cannot look; what cannot be done is left."""
        storage, (kind, path, other) = self._storage, operation
        touched = (path, other) if kind == "rename" else (path,)
        if not all(self._is_hidden(one) for one in touched):
            return
        if kind == "symlink" and other.startswith(h.CLOSABLE):
            return  # what is written through it would be seen where it leads
        with contextlib.suppress(OperationFailed):
            self._provide(BOB, path, kind)
            match kind:
                case "write":
                    storage.write(BOB, path, b"secret")
                case "delete":
                    storage.delete(BOB, path)
                case "mkdir":
                    storage.mkdir(BOB, path)
                case "rmdir":
                    storage.rmdir(BOB, path)
                case "rename":
                    storage.rename(BOB, path, other)
                case "read":
                    storage.read(BOB, path)
                case "list":
                    storage.listing(BOB, path)
                case "chmod":
                    is_directory = storage.stat(BOB, path).found.is_directory
                    storage.chmod(BOB, path, 0o750 if is_directory else 0o640)
                case "chgrp":
                    storage.chown(BOB, path, gid=STAFF)
                case "symlink":
                    storage.symlink(BOB, other, path)
                case "xattr":
                    storage.set_xattr(BOB, path, "x", "secret")
                case "acl":
                    storage.set_acl(BOB, path, f"A::u={CAROL_UID}:r,D::u={ALICE_UID}:rwx")
                case "acl-open":
                    storage.set_acl(BOB, path, f"A::u={ALICE_UID}:rwx")
                case "lock":
                    self._lock(path)
            self.done[f"hidden {kind}"] += 1

    def _lock(self, path: str) -> None:
        answer = self._house.dav("bob", "LOCK", path, "infinity")
        if answer.is_error:
            raise OperationFailed(errno.EACCES)

    def visible(self, operation: h.Visible) -> None:
        """Let somebody do something that alice may see; what cannot be done is left."""
        storage, (kind, path, other) = self._storage, operation
        with contextlib.suppress(OperationFailed):
            self._provide(CAROL, path, kind)
            match kind:
                case "write":
                    storage.write(CAROL, path, b"open")
                case "delete":
                    storage.delete(CAROL, path)
                case "mkdir":
                    storage.mkdir(CAROL, path)
                case "rename":
                    storage.rename(CAROL, path, other)
                case "read":
                    storage.read(CAROL, path)
                case "chmod":
                    storage.chmod(CAROL, path, 0o600)
                case "chgrp":
                    storage.chown(CAROL, path, gid=TEAM)
                case "acl":
                    storage.set_acl(CAROL, path, f"A::g={TEAM}:r")
                case "symlink":
                    storage.symlink(CAROL, other, path)
                case "xattr":
                    storage.set_xattr(CAROL, path, "x", "open")
                case "out":
                    storage.rename(SYSTEM, path, f"{other}/v")
                case "in":
                    storage.rename(SYSTEM, f"{other}/v", path)
                case "close":
                    self._close(path, other)
                case "reopen":
                    self._reopen(path)
                    return
            self.done[f"visible {kind}"] += 1

    def _provide(self, who: Principal, path: str, kind: str) -> None:
        """Write what an operation needs, if nothing is there: else most would come to nothing."""
        if kind in _NEEDS:
            with contextlib.suppress(OperationFailed):
                self._storage.stat(SYSTEM, path, follow=False)
                return
            self._storage.write(who, path, b"provided")

    def _close(self, path: str, how: str) -> None:
        if path in self._closed or path == self._moved:
            return
        self.done[f"closed by {how}"] += 1
        if how != "move":
            self._set(path, _CLOSED[how])
            self._closed[path] = how
        elif not self._moved:
            self._storage.rename(SYSTEM, path, MOVED)
            self._moved = path

    def _reopen(self, path: str) -> None:
        """Open a directory again, once everything that is secret in it is gone."""
        here = MOVED if path == self._moved else path
        if path not in self._closed and path != self._moved:
            return
        for entry in self._storage.listing(SYSTEM, here):
            self._storage.delete_tree(SYSTEM, f"{here}/{entry.name}")
        if path == self._moved:
            self._storage.rename(SYSTEM, MOVED, path)
            self._moved = ""
            self.done["moved back"] += 1
        else:
            self._set(path, _OPEN[self._open[path]])
            del self._closed[path]
            self.done["reopened"] += 1
