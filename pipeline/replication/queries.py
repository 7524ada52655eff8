"""What the catalogue answers: where a file is, what is missing, what changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.replication import jobs

if TYPE_CHECKING:
    import sqlite3

    from pipeline.replication.jobs import Job


class Found(NamedTuple):
    """A replica.

    Attributes:
        storage: where it is.
        path: its path there.
        size_bytes: how large it is.
        checksums: `algorithm:value`, joined by blanks.
        since_us: since when, epoch microseconds.
    """

    storage: str
    path: str
    size_bytes: int
    checksums: str
    since_us: int


class Change(NamedTuple):
    """Something that happened.

    Attributes:
        sequence: the catalogue's own number; give the last one to `since` to go on.
        shard: the shard of the event.
        number: its number there.
        time_us: when, epoch microseconds.
        change: ADDED, MOVED, REMOVED or LOST.
        storage: where.
        path: of what, afterwards.
    """

    sequence: int
    shard: str
    number: int
    time_us: int
    change: str
    storage: str
    path: str


def where(db: sqlite3.Connection, path: str) -> list[Found]:
    """Return the replicas of a file, by any of the paths that it has in any storage."""
    rows = db.execute(
        "WITH places (storage, path) AS ("
        " SELECT storage, path FROM replicas WHERE path = :path"
        " UNION SELECT storage, path FROM jobs WHERE path = :path OR target_path = :path"
        " UNION SELECT target, target_path FROM jobs WHERE path = :path OR target_path = :path)"
        " SELECT storage, path, size_bytes, checksums, since_us"
        " FROM replicas JOIN places USING (storage, path) ORDER BY storage, path",
        {"path": path},
    )
    return [Found(*row) for row in rows.fetchall()]


def missing(db: sqlite3.Connection, rule: str | None = None) -> list[Job]:
    """Return the copies that a rule wants and that are not there, with why."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE action = ? AND state IN (?, ?, ?, ?) ORDER BY rule, path",
        (jobs.COPY, jobs.QUEUED, jobs.RUNNING, jobs.DEAD, jobs.MISSING),
    )
    found = [jobs.job_of(row) for row in rows.fetchall()]
    return [job for job in found if rule is None or job.rule == rule]


def dead(db: sqlite3.Connection) -> list[Job]:
    """Return what was given up, with the reason."""
    rows = db.execute("SELECT * FROM jobs WHERE state = ? ORDER BY rule, path", (jobs.DEAD,))
    return [jobs.job_of(row) for row in rows.fetchall()]


def since(db: sqlite3.Connection, sequence: int, limit: int = 1000) -> list[Change]:
    """Return what happened after a change, in the order in which the catalogue heard of it."""
    rows = db.execute(
        "SELECT sequence, shard, number, time_us, change, storage, path FROM changes"
        " WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (sequence, limit),
    )
    return [Change(*row) for row in rows.fetchall()]


def listing(db: sqlite3.Connection, storage: str, below: str = "/") -> dict[str, Found]:
    """Return the replicas that a storage has below a directory, by path."""
    prefix = below.rstrip("/") + "/"
    rows = db.execute(
        "SELECT storage, path, size_bytes, checksums, since_us FROM replicas"
        " WHERE storage = ? AND path >= ? AND path < ?",
        (storage, prefix, prefix[:-1] + "0"),
    )
    return {row["path"]: Found(*row) for row in rows.fetchall()}


def counts(db: sqlite3.Connection) -> dict[tuple[str, str, str], int]:
    """Return how many jobs there are of each rule, action and state."""
    rows = db.execute(
        "SELECT rule, action, state, count(*) FROM jobs GROUP BY rule, action, state"
    )
    return {(rule, action, state): count for rule, action, state, count in rows.fetchall()}


def replica_counts(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Return how many files, and how many bytes, each storage has."""
    rows = db.execute("SELECT storage, count(*), sum(size_bytes) FROM replicas GROUP BY storage")
    return {storage: (files, size_bytes) for storage, files, size_bytes in rows.fetchall()}
