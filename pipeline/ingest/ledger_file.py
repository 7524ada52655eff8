"""The SQLite file of one runner's ledger, and who may work with it."""

from __future__ import annotations

import fcntl
import sqlite3
from typing import IO, TYPE_CHECKING, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_S: Final = 30.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    headers TEXT NOT NULL,
    data BLOB,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    waiting_since_s REAL,
    due_s REAL NOT NULL,
    ended_s REAL,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS due ON jobs (state, due_s);
CREATE INDEX IF NOT EXISTS ended ON jobs (ended_s) WHERE ended_s IS NOT NULL;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    key BLOB,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS claims (
    id TEXT PRIMARY KEY, runner TEXT NOT NULL, read_s REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_read ON claims (read_s);
CREATE TABLE IF NOT EXISTS claim_offsets (
    cluster TEXT NOT NULL, partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL) STRICT;
INSERT INTO identity SELECT lower(hex(randomblob(4))) WHERE NOT EXISTS (SELECT 1 FROM identity);
"""


class LedgerFile:
    """The file.

    Args:
        directory: where it is kept.
        own: whether this is the runner; only one may be. Others look, or change single rows.

    Raises:
        SettingsError: another runner works with it, or there is none and this is not the runner.
    """

    def __init__(self, directory: Path, *, own: bool = True) -> None:
        file = directory / "ledger.sqlite"
        if not own and not file.exists():
            raise SettingsError(f"{directory}: there is no ledger (STORAGE_EVENTS_INGEST_STATE)")
        self._lock = _hold(directory) if own else None
        self.db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
        if own:
            self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.executescript(_TABLES)

    @property
    def identity(self) -> str:
        """What no other ledger is called: its numbers begin anew, so they are told apart by it."""
        return str(self.db.execute("SELECT name FROM identity").fetchone()[0])

    def transaction(self) -> Transaction:
        """All of the block is kept, or nothing."""
        return Transaction(self.db)

    def close(self) -> None:
        """Let others in."""
        self.db.close()
        if self._lock is not None:
            self._lock.close()


class Transaction:
    """All or nothing, with the write lock from the start."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _hold(directory: Path) -> IO[str]:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise SettingsError(
            f"another runner works with {directory}: give each a STORAGE_EVENTS_INGEST_STATE of "
            "its own"
        ) from error
    return lock
