"""The SQLite database: one writer whose waiting transactions share a commit, and many readers.

A commit forces the disk, which takes longer than the work it confirms. So an operation that finds
others waiting leaves the commit to the last of them (up to `_GROUP_MAX`), and all return when it
is done. Each runs in a savepoint of its own: one that fails takes nothing of the others with it.
What is committed in the end is committed in the order in which the operations ran.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

_GROUP_MAX: Final = 64
_BUSY_S: Final = 30.0


class _Group:
    """Operations that share one commit."""

    __slots__ = ("done", "error", "size")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: sqlite3.Error | None = None
        self.size = 0


class Database:
    """A SQLite file, used from any thread of one process.

    Args:
        path: the file; made if it is missing.
        schema: statements that make missing tables.
        sync: whether a commit survives a loss of power (`synchronous=FULL`), or only the death of
            the process (`NORMAL`).
        on_commit: called after each commit, from the thread that made it; must not block.
    """

    def __init__(
        self, path: Path, schema: str, *, sync: bool, on_commit: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._sync = sync
        self.on_commit = on_commit
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._group: _Group | None = None
        self._idle_readers: list[sqlite3.Connection] = []
        self._writer = self._connect()
        self._writer.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
        return db

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction and return what it returned once that is committed.

        Raises:
            Unavailable: the database cannot be written (disk full, say); nothing was changed.
        """
        with self._counting:
            self._waiting += 1
        with self._lock:
            with self._counting:
                self._waiting -= 1
            try:
                if self._group is None:
                    self._writer.execute("BEGIN IMMEDIATE")
                    self._group = _Group()
                group = self._group
                result = self._in_savepoint(work)
                group.size += 1
            except sqlite3.Error as error:
                raise Unavailable(f"the namespace cannot be written: {error}") from error
            finally:
                self._commit_if_last()
        group.done.wait()
        if group.error is not None:
            raise Unavailable(f"the namespace cannot be written: {group.error}") from group.error
        return result

    def _in_savepoint(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._writer.execute("SAVEPOINT operation")
        try:
            result = work(self._writer)
        except BaseException:
            self._writer.execute("ROLLBACK TO operation")
            self._writer.execute("RELEASE operation")
            raise
        self._writer.execute("RELEASE operation")
        return result

    def _commit_if_last(self) -> None:
        group = self._group
        if group is None or (self._waiting and group.size < _GROUP_MAX):
            return
        self._group = None
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            group.error = error
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
        group.done.set()
        if group.size and group.error is None:
            self.on_commit()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one committed state until the block ends.

        Raises:
            Unavailable: the database cannot be read.
        """
        try:
            db = self._idle_reader()
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")
                self._idle_readers.append(db)
        except sqlite3.Error as error:
            raise Unavailable(f"the namespace cannot be read: {error}") from error

    def _idle_reader(self) -> sqlite3.Connection:
        try:
            return self._idle_readers.pop()
        except IndexError:
            db = self._connect()
            db.execute("PRAGMA query_only = ON")
            return db

    def close(self) -> None:
        """Give back all connections; no thread may be using one."""
        with self._lock:
            for db in (*self._idle_readers, self._writer):
                db.close()
            self._idle_readers.clear()
