"""What is still to be told: billing records, written in the transaction of what they tell.

A record takes its shard's next number in that same transaction, so numbers have no holes, and the
outbox's own sequence is the order of commits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shards (
    shard TEXT PRIMARY KEY, number INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    shard TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    value BLOB NOT NULL
);
"""


class Pending(NamedTuple):
    """A record that Kafka has not confirmed yet.

    Attributes:
        sequence: its place in the order of commits.
        shard: its key.
        time_ms: when it was committed, epoch milliseconds.
        value: the bytes for Kafka.
    """

    sequence: int
    shard: str
    time_ms: int
    value: bytes


def next_number(db: sqlite3.Connection, shard: str) -> int:
    """Take the shard's next number; it is given back if the transaction fails."""
    number: int = db.execute(
        "INSERT INTO shards VALUES (?, 1) "
        "ON CONFLICT (shard) DO UPDATE SET number = number + 1 RETURNING number",
        (shard,),
    ).fetchone()[0]
    return number


def append(db: sqlite3.Connection, shard: str, time_ms: int, value: bytes) -> None:
    """Add a record at the end."""
    db.execute(
        "INSERT INTO outbox (shard, time_ms, value) VALUES (?, ?, ?)", (shard, time_ms, value)
    )


def pending(db: sqlite3.Connection, after: int, limit: int) -> list[Pending]:
    """Return the first records behind a sequence, in order."""
    found = db.execute(
        "SELECT sequence, shard, time_ms, value FROM outbox "
        "WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    return list(map(Pending._make, found))


def prune(db: sqlite3.Connection, up_to: int) -> None:
    """Delete the records that Kafka has confirmed."""
    db.execute("DELETE FROM outbox WHERE sequence <= ?", (up_to,))


def oldest(db: sqlite3.Connection) -> int | None:
    """Return the first record's sequence; None when there is none."""
    sequence: int | None = db.execute("SELECT min(sequence) FROM outbox").fetchone()[0]
    return sequence


def backlog(db: sqlite3.Connection, after: int) -> int:
    """Return how many records are behind a sequence; sequences have no holes."""
    first, last = db.execute("SELECT min(sequence), max(sequence) FROM outbox").fetchone()
    return 0 if last is None else max(0, last - max(after, first - 1))


def positions(db: sqlite3.Connection) -> dict[str, int]:
    """Return every shard's newest number."""
    return dict(db.execute("SELECT shard, number FROM shards").fetchall())
