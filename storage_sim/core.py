"""What all operations share: the database, the contents, the biller, and who may do what where."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
from typing import IO, TYPE_CHECKING, Any, Final

from pipeline.authz import caveats, paths, scope
from pipeline.authz.principal import Principal
from schemas import vocabulary
from schemas.errors import SettingsError, Unavailable
from storage_sim import database, inodes, outbox, power, walk
from storage_sim.billing import Biller, Caller, Origin
from storage_sim.contents import Contents
from storage_sim.errors import forbidden, not_found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.authz.principal import Restrictions
    from storage_sim.inodes import Inode
    from storage_sim.walk import Place

log = logging.getLogger(__name__)

_SCHEMA: Final = (
    inodes.SCHEMA
    + outbox.SCHEMA
    + power.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS uploads (
    content TEXT PRIMARY KEY, inode BLOB NOT NULL, attribute TEXT NOT NULL, who TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS garbage (content TEXT PRIMARY KEY) WITHOUT ROWID;
"""
)

SYSTEM: Final = Principal("system", 0, (0,))
"""Who does what the storage does by itself."""


class Core:
    """The state of a storage instance; the operations are in the classes built on it.

    Args:
        folder: where namespace and contents are kept; one process at a time may use it.
        biller: writes the records.
        sync: whether an operation that was confirmed survives a loss of power.
        bill_reads: whether reading a file is told.
        bill_listings: whether listing a directory is told.
        max_upload_bytes: the largest file; 0: any.

    Raises:
        SettingsError: another process uses the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        biller: Biller,
        sync: bool = True,
        bill_reads: bool = True,
        bill_listings: bool = False,
        max_upload_bytes: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._held = _hold(folder)
        self._biller = biller
        self._bill_reads = bill_reads
        self._bill_listings = bill_listings
        self._max_upload_bytes = max_upload_bytes
        self.contents = Contents(folder / "data", sync=sync)
        self.database = database.Database(folder / "namespace.sqlite", _SCHEMA, sync=sync)
        self.database.write(self._make_root)
        if self.database.write(lambda db: power.begin(db, power.boot_id(), sync=sync)):
            log.error(
                "the last operations were lost with the power; the hole in the records is it"
            )

    @property
    def shard_depth(self) -> int:
        """How many path components belong to a shard."""
        return self._biller.shard_depth

    def set_on_commit(self, wake: Callable[[], None]) -> None:
        """Have `wake` called after each commit; it must not block."""
        self.database.on_commit = wake

    def close(self) -> None:
        """Give back the database and the folder; no operation may be running."""
        with contextlib.suppress(Unavailable):
            self.database.write(power.end)
        self.database.close()
        self._held.close()

    def _make_root(self, db: sqlite3.Connection) -> None:
        if db.execute("SELECT 1 FROM inodes WHERE parent IS NULL").fetchone() is None:
            root = self._new_inode(None, "", vocabulary.FileType.DIR, SYSTEM, 0o755)
            inodes.insert(db, root)

    def _new_inode(
        self,
        parent: bytes | None,
        name: str,
        kind: vocabulary.FileType,
        owner: Principal,
        mode: int,
    ) -> Inode:
        now_us = self._biller.clock_us()
        return inodes.Inode(
            id=inodes.new_id(),
            parent=parent,
            name=name,
            type=kind.value,
            uid=owner.uid,
            gid=owner.gids[0] if owner.gids else 0,
            mode=mode,
            acl="",
            size=0,
            content="",
            target="",
            checksums="",
            created_us=now_us,
            modified_us=now_us,
            changed_us=now_us,
        )

    def _reach(
        self,
        db: sqlite3.Connection,
        principal: Principal,
        path: str,
        activity: str,
        *,
        follow: bool = True,
    ) -> Place:
        """Walk a path as the user wrote it, and check what their token leaves them there.

        Raises:
            OperationFailed: ENOENT for what they may not know of; EACCES where they may look but
                their token does not leave them the activity.
        """
        below_root = paths.resolve(principal.restrictions.root, path)
        is_shown = _shown_to(principal.restrictions)
        place = walk.walk(db, below_root, principal, follow=follow, is_shown=is_shown)
        if not caveats.may_act(principal.restrictions, caveats.READ_METADATA, place.path):
            raise not_found()
        if not caveats.may_act(principal.restrictions, activity, place.path):
            raise forbidden()
        return place

    def _touch(self, db: sqlite3.Connection, directory: Inode) -> None:
        """Set a directory's times: its entries have changed."""
        now_us = self._biller.clock_us()
        inodes.update(db, directory, modified_us=now_us, changed_us=now_us)

    def _discard(self, db: sqlite3.Connection, inode: Inode) -> None:
        """Leave an inode's content to the sweep."""
        if inode.content:
            db.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (inode.content,))

    def sweep(self, published: int = 0) -> None:
        """Clean up: records that Kafka has confirmed, contents that nobody names any more.

        Args:
            published: the outbox's sequence up to which Kafka has confirmed.
        """
        with self.database.read() as db:
            old = outbox.oldest(db)
            garbage = db.execute("SELECT content FROM garbage").fetchall()
        for (content,) in garbage:
            self.contents.remove(content)

        def work(db: sqlite3.Connection) -> None:
            outbox.prune(db, published)
            db.executemany("DELETE FROM garbage WHERE content = ?", garbage)

        if garbage or (old is not None and old <= published):
            self.database.write(work)


def _hold(folder: Path) -> IO[bytes]:
    """Lock the folder for this process: two publishers would tell things out of order."""
    file = (folder / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SettingsError(f"{folder} is in use by another storage process") from None
    return file


def _shown_to(restrictions: Restrictions) -> Callable[[str], bool] | None:
    """Return what says whether a token leaves anything of a path to be known of; None: all.

    The directories above its root are there, that is no secret.
    """
    if not restrictions.confines:
        return None
    return lambda path: (
        paths.is_below(restrictions.root, path)
        or caveats.may_act(restrictions, caveats.READ_METADATA, path)
    )


def may_list(principal: Principal, directory: Inode, path: str) -> bool:
    """Whether a principal may list a directory, and so be told anything of what is in it."""
    return scope.allows(principal, directory.permission, "rx") and caveats.may_act(
        principal.restrictions, caveats.LIST, path
    )


def may_enter(principal: Principal, directory: Inode) -> bool:
    """Whether a principal may make entries in a directory."""
    return scope.allows(principal, directory.permission, "wx")


def caller_text(caller: Caller) -> str:
    """Write down who began an upload, so that a record can be written after a crash."""
    principal, origin = caller
    who: dict[str, Any] = {
        "user": principal.user,
        "uid": principal.uid,
        "gids": list(principal.gids),
        "client": origin.client,
        "door": origin.door,
        "protocol": origin.protocol,
    }
    return json.dumps(who)


def caller_from(text: str) -> Caller:
    """Read what `caller_text` wrote."""
    who = json.loads(text)
    return Caller(
        Principal(who["user"], who["uid"], tuple(who["gids"])),
        Origin(who["client"], who["door"], who["protocol"]),
    )
