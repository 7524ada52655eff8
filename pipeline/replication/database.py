"""The SQLite file in which catalogue and ledger stand: what belongs together changes together."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
from typing import IO, TYPE_CHECKING, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS replicas (
    storage TEXT NOT NULL,
    inode BLOB NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    checksums TEXT NOT NULL,
    user TEXT NOT NULL,
    since_us INTEGER NOT NULL,
    PRIMARY KEY (storage, inode)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS replicas_path ON replicas (path, storage);
CREATE INDEX IF NOT EXISTS replicas_place ON replicas (storage, path);
CREATE TABLE IF NOT EXISTS marks (shard TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (
    partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS cluster (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    shard TEXT NOT NULL,
    number INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    change TEXT NOT NULL,
    storage TEXT NOT NULL,
    path TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    rule TEXT NOT NULL,
    user TEXT NOT NULL,
    storage TEXT NOT NULL,
    inode BLOB NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    checksums TEXT NOT NULL,
    target TEXT NOT NULL,
    target_path TEXT NOT NULL,
    stale_paths TEXT NOT NULL DEFAULT '',
    replaces INTEGER NOT NULL DEFAULT 0,
    was_done INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 1,
    state TEXT NOT NULL,
    due_s REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    changed_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (state, rule, user, due_s);
CREATE INDEX IF NOT EXISTS jobs_target ON jobs (target, target_path);
CREATE INDEX IF NOT EXISTS jobs_stale ON jobs (rule, target) WHERE stale_paths <> '';
CREATE INDEX IF NOT EXISTS jobs_path ON jobs (path);
CREATE INDEX IF NOT EXISTS jobs_original ON jobs (storage, inode);
"""
_BUSY_S: Final = 30.0


class Database:
    """The file. Thread-safe; every use blocks.

    Args:
        path: the file; made with its directory when it is missing.
        own: whether this is the process that follows events and works on jobs; only one may. All
            others read, or change a row in a transaction of their own.

    Raises:
        SettingsError: another process owns it, or it is missing and this one does not own it.
    """

    def __init__(self, path: Path, *, own: bool = True) -> None:
        self._held = _hold(path) if own else None
        if not own and not path.exists():
            raise SettingsError(f"{path}: there is no catalogue")
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        if own:
            # A loss of power may cost the last seconds: Kafka and the storages still have them.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block is kept, or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Let the block see one state."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._db.close()
        if self._held is not None:
            self._held.close()


def _hold(path: Path) -> IO[bytes]:
    """Lock the file for this process: two would do everything twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SettingsError(f"{path} is in use by another process") from None
    return file
