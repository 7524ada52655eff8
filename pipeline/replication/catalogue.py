"""Where every file is, known by events alone.

A batch of messages, the marks up to which each shard was applied, the offsets to go on from and
all consequences are one transaction: whatever dies when, each message counts once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.event_types import replication
from pipeline.replication.jobs import Content, Place
from pipeline.replication.obligations import Obligations, Replica
from schemas.errors import SettingsError
from schemas.vocabulary import Half

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pipeline.replication.database import Database


class Batch(NamedTuple):
    """Messages of one partition, in order.

    Attributes:
        partition: where they were read.
        next_offset: the offset after the last one.
        messages: decoded.
    """

    partition: int
    next_offset: int
    messages: Sequence[Mapping[str, Any]]


class Catalogue:
    """Applies what happened.

    Args:
        database: where it is kept.
        obligations: what follows from changes.
        keep_changes: how many changes `since` can tell.
        clock_s: epoch seconds.
    """

    def __init__(
        self,
        database: Database,
        obligations: Obligations,
        *,
        keep_changes: int = 1_000_000,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._obligations = obligations
        self._keep_changes = keep_changes
        self._clock_s = clock_s

    def follow(self, cluster: str) -> dict[int, int]:
        """Return where to go on reading in this Kafka, for each partition.

        Args:
            cluster: which Kafka it is; the first one is remembered for ever.

        Raises:
            SettingsError: the catalogue follows another one.
        """
        with self._database.transaction() as db:
            known = db.execute("SELECT id FROM cluster").fetchone()
            if known is None:
                db.execute("INSERT INTO cluster VALUES (?)", (cluster,))
            elif known["id"] != cluster:
                raise SettingsError(
                    f"this catalogue follows Kafka cluster {known['id']}, and KAFKA_BOOTSTRAP is "
                    f"cluster {cluster}. If Kafka was replaced: python -m pipeline.replication "
                    "adopt"
                )
        return self.offsets()

    def offsets(self) -> dict[int, int]:
        """Return up to where each partition was applied."""
        with self._database.reading() as db:
            return dict(db.execute("SELECT partition, next_offset FROM offsets").fetchall())

    def apply(self, batches: Iterable[Batch]) -> int:
        """Apply batches; return how many messages were new."""
        new = 0
        with self._database.transaction() as db:
            for batch in batches:
                for message in batch.messages:
                    new += self._apply_once(db, message)
                db.execute(
                    "INSERT INTO offsets VALUES (?, ?)"
                    " ON CONFLICT (partition) DO UPDATE SET next_offset = excluded.next_offset",
                    (batch.partition, batch.next_offset),
                )
            if new:
                self._prune(db)
        return new

    def _apply_once(self, db: sqlite3.Connection, message: Mapping[str, Any]) -> bool:
        shard, number = message["shard"], message["number"]
        row = db.execute("SELECT number FROM marks WHERE shard = ?", (shard,)).fetchone()
        if row is not None and number <= row["number"]:
            return False
        self._change(db, message)
        db.execute(
            "INSERT INTO marks VALUES (?, ?)"
            " ON CONFLICT (shard) DO UPDATE SET number = excluded.number",
            (shard, number),
        )
        return True

    def _change(self, db: sqlite3.Connection, message: Mapping[str, Any]) -> None:
        now_s = self._clock_s()
        change, storage = message["change"], message["storage"]
        if change == replication.ADDED:
            self._put(db, message, message["path"], now_s)
        elif change == replication.MOVED:
            self._moved(db, message, now_s)
        else:
            self._take(db, storage, message["inode"], now_s, is_lost=change == replication.LOST)
        self._note(db, message, change)

    def _put(
        self, db: sqlite3.Connection, message: Mapping[str, Any], path: str, now_s: float
    ) -> None:
        content = Content(message["size_bytes"] or 0, " ".join(message["checksums"]))
        place = Place(message["storage"], path)
        replica = Replica(place, message["inode"], content, message["user"])
        self._store(db, replica, message["time_us"])
        self._obligations.added(db, replica, now_s)

    def _store(self, db: sqlite3.Connection, replica: Replica, time_us: int) -> None:
        storage, path = replica.place
        db.execute(
            "DELETE FROM replicas WHERE storage = ? AND path = ? AND inode <> ?",
            (storage, path, replica.inode),
        )
        db.execute(
            "INSERT OR REPLACE INTO replicas VALUES (?, ?, ?, ?, ?, ?, ?)",
            (storage, replica.inode, path, *replica.content, replica.user, time_us),
        )

    def _take(
        self,
        db: sqlite3.Connection,
        storage: str,
        inode: bytes,
        now_s: float,
        *,
        is_lost: bool = False,
    ) -> None:
        row = db.execute(
            "DELETE FROM replicas WHERE storage = ? AND inode = ? RETURNING path", (storage, inode)
        ).fetchone()
        if row is None:
            return  # it never had content, or was gone already
        self._obligations.gone(db, Place(storage, row["path"]), now_s, is_lost=is_lost)
        self._obligations.original_gone(db, storage, inode, now_s)

    def _moved(self, db: sqlite3.Connection, message: Mapping[str, Any], now_s: float) -> None:
        """Rename a file, or all files below a directory.

        Of a move across shards the first half renames: it stands behind all that happened at the
        old path, in the shard where that is told.
        """
        storage = message["storage"]
        if message["overwritten"] is not None:
            self._take(db, storage, message["overwritten"], now_s)
        if message["half"] == Half.TO:
            return
        if not message["is_directory"]:
            self._rename(db, message, message["inode"], message["path"], now_s)
            return
        old, new = message["source_path"], message["path"]
        below = db.execute(
            "SELECT inode, path FROM replicas WHERE storage = ? AND path >= ? AND path < ?",
            (storage, old + "/", old + "0"),
        ).fetchall()
        for inode, path in below:
            self._rename(db, message, inode, new + path[len(old) :], now_s)

    def _rename(
        self,
        db: sqlite3.Connection,
        message: Mapping[str, Any],
        inode: bytes,
        path: str,
        now_s: float,
    ) -> None:
        storage = message["storage"]
        row = db.execute(
            "SELECT * FROM replicas WHERE storage = ? AND inode = ?", (storage, inode)
        ).fetchone()
        if row is None:
            if message["checksums"]:  # from before the catalogue began
                self._put(db, message, path, now_s)
            return
        content = Content(row["size_bytes"], row["checksums"])
        replica = Replica(Place(storage, path), inode, content, row["user"])
        self._store(db, replica, row["since_us"])
        self._obligations.gone(db, Place(storage, row["path"]), now_s)
        self._obligations.added(db, replica, now_s)

    def _note(self, db: sqlite3.Connection, message: Mapping[str, Any], change: str) -> None:
        db.execute(
            "INSERT INTO changes (shard, number, time_us, change, storage, path)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                message["shard"], message["number"], message["time_us"], change,
                message["storage"], message["path"],
            ),
        )  # fmt: skip

    def _prune(self, db: sqlite3.Connection) -> None:
        (newest,) = db.execute("SELECT max(sequence) FROM changes").fetchone()
        db.execute("DELETE FROM changes WHERE sequence <= ?", (newest - self._keep_changes,))
