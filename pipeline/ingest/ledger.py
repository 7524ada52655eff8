"""What became of every trigger: one row for each id, one outcome for each row.

SQLite, so that a runner that is killed knows afterwards what it had taken and what was done. A
change of state and the messages that tell of it (job events, dead letters) are one transaction; a
publisher takes the messages from the outbox in order. URLs, and with them macaroons, are forgotten
with the outcome.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

QUEUED: Final = "QUEUED"
RUNNING: Final = "RUNNING"

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
CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL) STRICT;
INSERT INTO identity SELECT lower(hex(randomblob(4))) WHERE NOT EXISTS (SELECT 1 FROM identity);
"""


class Arrived(NamedTuple):
    """A trigger as it stood on Kafka."""

    id: str
    headers: Sequence[tuple[str, bytes]]
    data: bytes
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Row:
    """A job that is not finished.

    Attributes:
        arrived: its trigger.
        attempt: which try this is, from 1.
        failures: how often the function itself has failed.
        waiting_since_s: since when a storage is waited for; None: it is not.
    """

    arrived: Arrived
    attempt: int
    failures: int
    waiting_since_s: float | None


class Message(NamedTuple):
    """A message to be sent: topic, key, and what makes its value of its number."""

    topic: str
    key: bytes | None
    make: Callable[[int], bytes]


class Ledger:
    """One runner's ledger; a second process is kept out.

    Args:
        directory: where it is kept.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise SettingsError(
                f"another runner works with {directory}: give each a "
                "STORAGE_EVENTS_INGEST_STATE of its own"
            ) from error
        self._db = sqlite3.connect(directory / "ledger.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_TABLES)
        # What ran when the last process ended has to be run again.
        self._db.execute("UPDATE jobs SET state = ? WHERE state = ?", (QUEUED, RUNNING))

    @property
    def identity(self) -> str:
        """What no other ledger is called: its numbers begin anew, so they are told apart by it."""
        return str(self._db.execute("SELECT name FROM identity").fetchone()[0])

    def close(self) -> None:
        """Let others in."""
        self._db.close()
        self._lock.close()

    def accept(self, arrived: Iterable[Arrived], messages: Iterable[Message], now_s: float) -> int:
        """Take over triggers that are not known yet, and messages about those that are wrong.

        Returns:
            How many were new.
        """
        with self._transaction():
            before = self._db.total_changes
            self._db.executemany(
                "INSERT OR IGNORE INTO jobs (id, state, headers, data, topic, partition, "
                '"offset", due_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
                [
                    (each.id, QUEUED, _text(each.headers), each.data, *each[3:], now_s)
                    for each in arrived
                ],
            )
            new = self._db.total_changes - before
            self._put(messages)
        return new

    def unfinished(self) -> int:
        """Return how many jobs have no outcome yet."""
        row = self._db.execute(
            "SELECT count(*) FROM jobs WHERE state IN (?, ?)", (QUEUED, RUNNING)
        )
        return int(row.fetchone()[0])

    def unfinished_ids(self) -> list[str]:
        """Return the ids of all jobs without an outcome."""
        found = self._db.execute("SELECT id FROM jobs WHERE state IN (?, ?)", (QUEUED, RUNNING))
        return [row[0] for row in found]

    def begin(self, now_s: float) -> Row | None:
        """Take the job that is due for the longest time; None if none is due."""
        found = self._db.execute(
            "UPDATE jobs SET state = ?, attempt = attempt + 1 WHERE id = (SELECT id FROM jobs "
            "WHERE state = ? AND due_s <= ? ORDER BY due_s LIMIT 1) RETURNING id, headers, data, "
            'topic, partition, "offset", attempt, failures, waiting_since_s',
            (RUNNING, QUEUED, now_s),
        ).fetchall()
        return _row(found[0]) if found else None

    def next_due_s(self) -> float | None:
        """Return when the next job is due; None if none waits."""
        row = self._db.execute("SELECT min(due_s) FROM jobs WHERE state = ?", (QUEUED,)).fetchone()
        return None if row[0] is None else float(row[0])

    def again(
        self,
        job_id: str,
        *,
        due_s: float,
        failures: int,
        waiting_since_s: float | None,
        reason: str,
    ) -> None:
        """Put a running job back, to be tried again at `due_s`."""
        self._db.execute(
            "UPDATE jobs SET state = ?, due_s = ?, failures = ?, waiting_since_s = ?, reason = ? "
            "WHERE id = ? AND state = ?",
            (QUEUED, due_s, failures, waiting_since_s, reason, job_id, RUNNING),
        )

    def tell(self, messages: Iterable[Message]) -> None:
        """Put messages into the outbox."""
        with self._transaction():
            self._put(messages)

    def finish(
        self, job_id: str, *, state: str, reason: str, now_s: float, messages: Iterable[Message]
    ) -> bool:
        """Give a running job its one outcome.

        Returns:
            False if it has one already; then nothing is told.
        """
        with self._transaction():
            changed = self._db.execute(
                "UPDATE jobs SET state = ?, reason = ?, ended_s = ?, data = NULL "
                "WHERE id = ? AND state = ?",
                (state, reason, now_s, job_id, RUNNING),
            ).rowcount
            if changed:
                self._put(messages)
        return bool(changed)

    def is_finished(self, job_id: str) -> bool:
        """Whether a job has its outcome."""
        found = self._db.execute("SELECT ended_s FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return found is not None and found[0] is not None

    def outbox(self, limit: int) -> list[tuple[int, str, bytes | None, bytes]]:
        """Return the oldest messages that are not sent: number, topic, key, value."""
        return self._db.execute(
            "SELECT number, topic, key, value FROM outbox ORDER BY number LIMIT ?", (limit,)
        ).fetchall()

    def sent(self, up_to: int) -> None:
        """Forget messages that Kafka has."""
        self._db.execute("DELETE FROM outbox WHERE number <= ?", (up_to,))

    def outcomes(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def prune(self, before_s: float) -> None:
        """Forget jobs that ended before then."""
        self._db.execute("DELETE FROM jobs WHERE ended_s < ?", (before_s,))

    def _put(self, messages: Iterable[Message]) -> None:
        for topic, key, make in messages:
            number = self._db.execute(
                "INSERT INTO outbox (topic, key, value) VALUES (?, ?, x'')", (topic, key)
            ).lastrowid
            self._db.execute(
                "UPDATE outbox SET value = ? WHERE number = ?", (make(number or 0), number)
            )

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """All or nothing, with the write lock from the start."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def _text(headers: Sequence[tuple[str, bytes]]) -> str:
    return json.dumps([[name, value.decode()] for name, value in headers])


def _row(columns: Sequence[Any]) -> Row:
    job_id, headers, data, topic, partition, offset, attempt, failures, waiting_since_s = columns
    pairs = [(name, value.encode()) for name, value in json.loads(headers)]
    arrived = Arrived(job_id, pairs, data, topic, partition, offset)
    return Row(arrived, attempt, failures, waiting_since_s)
