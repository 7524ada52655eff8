"""The ledger: what is to be done, what became of it. Each function is part of a transaction.

A *copy* of a file is one row for ever (`rules.copy_id`): queued, running, done, and queued again
when its replica goes. To free an original and to remove an expired copy are rows of their own.

    QUEUED     due at `due_s`
    RUNNING    somebody works on it; after a crash it is queued again
    DONE       the replica was there and verified
    DEAD       given up, with the reason; `retry` queues it again
    CANCELLED  the original went before there was a copy, or it is not wanted any more
    MISSING    there was a copy, it went, and no replica is left to copy from
    EXPIRED    the copy was kept as long as the rule says
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas import digests

if TYPE_CHECKING:
    import sqlite3

COPY: Final = "COPY"
FREE: Final = "FREE"
EXPIRE: Final = "EXPIRE"

QUEUED: Final = "QUEUED"
RUNNING: Final = "RUNNING"
DONE: Final = "DONE"
DEAD: Final = "DEAD"
CANCELLED: Final = "CANCELLED"
MISSING: Final = "MISSING"
EXPIRED: Final = "EXPIRED"

# Two statements, since SQLite scans all of a group for `(rule, user) > (?, ?)`.
_FIRST_AFTER_USER: Final = (
    "SELECT rule, user, due_s FROM jobs WHERE state = ? AND rule = ? AND user > ?"
    " ORDER BY user, due_s LIMIT 1"
)
_FIRST_AFTER_RULE: Final = (
    "SELECT rule, user, due_s FROM jobs WHERE state = ? AND rule > ?"
    " ORDER BY rule, user, due_s LIMIT 1"
)


class Place(NamedTuple):
    """Where a file is."""

    storage: str
    path: str


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        size_bytes: how much.
        checksums: as a record has them, joined by one space.
    """

    size_bytes: int
    checksums: str

    def is_like(self, other: Content) -> bool:
        """Whether two files hold the same, as far as can be known."""
        agreed = digests.agree(
            digests.as_dict(self.checksums.split()), digests.as_dict(other.checksums.split())
        )
        return self.size_bytes == other.size_bytes and agreed is not False


class Job(NamedTuple):
    """A row of the ledger.

    Attributes:
        id: names it for ever.
        action: COPY, FREE or EXPIRE.
        rule: the rule it follows from.
        user: whose file it is; with the rule it decides whose turn it is.
        original: where the file was when the rule met it.
        inode: the original's.
        content: what it must hold.
        target: where the copy is to be (FREE: the original).
        stale_paths: where earlier copies are, from before the original was renamed.
        replaces: whether what is at the target is an earlier copy of ours.
        was_done: whether there ever was a copy.
        generation: changes when the row is queued anew while somebody works on it.
        state: see above.
        attempts: how many have failed.
        reason: why the last one failed.
    """

    id: str
    action: str
    rule: str
    user: str
    original: Place
    inode: bytes
    content: Content
    target: Place
    stale_paths: tuple[str, ...]
    replaces: bool
    was_done: bool
    generation: int
    state: str
    attempts: int
    reason: str

    def where_copies_may_be(self) -> set[str]:
        """Return the paths at the target that have, or may have, a copy of this job's making."""
        is_at_target = (
            self.replaces
            or self.state in {DONE, RUNNING}
            or (self.was_done and not self.stale_paths)
        )
        return {*self.stale_paths, *((self.target.path,) if is_at_target else ())}


def job_of(row: sqlite3.Row) -> Job:
    """Read a row."""
    return Job(
        id=row["id"],
        action=row["action"],
        rule=row["rule"],
        user=row["user"],
        original=Place(row["storage"], row["path"]),
        inode=row["inode"],
        content=Content(row["size_bytes"], row["checksums"]),
        target=Place(row["target"], row["target_path"]),
        stale_paths=tuple(filter(None, row["stale_paths"].split("\n"))),
        replaces=bool(row["replaces"]),
        was_done=bool(row["was_done"]),
        generation=row["generation"],
        state=row["state"],
        attempts=row["attempts"],
        reason=row["reason"],
    )


def find(db: sqlite3.Connection, job_id: str) -> Job | None:
    """Return the job of that id."""
    row = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else job_of(row)


def copies_at(db: sqlite3.Connection, place: Place) -> list[Job]:
    """Return the copies that are to be at a place."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE target = ? AND target_path = ? AND action = ?", (*place, COPY)
    )
    return [job_of(row) for row in rows.fetchall()]


def with_stale_copies(db: sqlite3.Connection, rule: str, target: str) -> list[Job]:
    """Return the copies of a rule in a storage that are there under an earlier name, too."""
    rows = db.execute(
        "SELECT * FROM jobs WHERE stale_paths <> '' AND rule = ? AND target = ?", (rule, target)
    )
    return [job_of(row) for row in rows.fetchall()]


def set_stale_paths(db: sqlite3.Connection, job: Job, paths: tuple[str, ...]) -> None:
    """Say under which earlier names there are copies; nothing else changes."""
    db.execute("UPDATE jobs SET stale_paths = ? WHERE id = ?", ("\n".join(paths), job.id))


def of_original(
    db: sqlite3.Connection, storage: str, inode: bytes, rule: str | None = None
) -> list[Job]:
    """Return all jobs about an original, or those of one rule."""
    rows = db.execute("SELECT * FROM jobs WHERE storage = ? AND inode = ?", (storage, inode))
    jobs = [job_of(row) for row in rows.fetchall()]
    return [job for job in jobs if rule is None or job.rule == rule]


def insert(db: sqlite3.Connection, job: Job, *, due_s: float, now_s: float) -> None:
    """Add a job."""
    db.execute(
        "INSERT INTO jobs (id, action, rule, user, storage, path, inode, size_bytes, checksums,"
        " target, target_path, stale_paths, replaces, was_done, generation, state, attempts,"
        " reason, due_s, changed_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.id, job.action, job.rule, job.user, *job.original, job.inode, *job.content,
            *job.target, "\n".join(job.stale_paths), job.replaces, job.was_done, job.generation,
            job.state, job.attempts, job.reason, due_s, now_s,
        ),
    )  # fmt: skip


def save(db: sqlite3.Connection, job: Job, *, due_s: float, now_s: float) -> None:
    """Write a changed job back; whoever works on it finds out by the generation."""
    db.execute(
        "UPDATE jobs SET path = ?, size_bytes = ?, checksums = ?, target_path = ?,"
        " stale_paths = ?, replaces = ?, was_done = ?, generation = generation + 1, state = ?,"
        " attempts = ?, reason = ?, due_s = ?, changed_s = ? WHERE id = ?",
        (
            job.original.path, *job.content, job.target.path, "\n".join(job.stale_paths),
            job.replaces, job.was_done, job.state, job.attempts, job.reason, due_s, now_s, job.id,
        ),
    )  # fmt: skip


def end(db: sqlite3.Connection, job: Job, state: str, reason: str = "", *, now_s: float) -> None:
    """Give a job a state that it keeps until something happens."""
    ended = job._replace(state=state, reason=reason, was_done=job.was_done or state == DONE)
    save(db, ended, due_s=now_s, now_s=now_s)


def queue(
    db: sqlite3.Connection, job: Job, reason: str = "", *, due_s: float, now_s: float
) -> None:
    """Have a job done, from its first attempt on."""
    save(db, job._replace(state=QUEUED, attempts=0, reason=reason), due_s=due_s, now_s=now_s)


def requeue_running(db: sqlite3.Connection, now_s: float) -> int:
    """Queue again what an earlier process was working on; return how many there were."""
    cursor = db.execute(
        "UPDATE jobs SET state = ?, generation = generation + 1, due_s = ? WHERE state = ?",
        (QUEUED, now_s, RUNNING),
    )
    return cursor.rowcount


def groups_queued(db: sqlite3.Connection) -> dict[tuple[str, str], float]:
    """Return the (rule, user) pairs that have something queued, and when their first is due.

    One step through the index for each pair, however many jobs are queued.
    """
    found: dict[tuple[str, str], float] = {}
    row = db.execute(_FIRST_AFTER_RULE, (QUEUED, "")).fetchone()
    while row is not None:
        rule, user, due_s = row
        found[rule, user] = due_s
        row = db.execute(_FIRST_AFTER_USER, (QUEUED, rule, user)).fetchone()
        if row is None:
            row = db.execute(_FIRST_AFTER_RULE, (QUEUED, rule)).fetchone()
    return found


def take(db: sqlite3.Connection, group: tuple[str, str], now_s: float) -> Job | None:
    """Take the job of a group that has been due for the longest time, as RUNNING."""
    row = db.execute(
        "SELECT * FROM jobs WHERE state = ? AND rule = ? AND user = ? AND due_s <= ?"
        " ORDER BY due_s LIMIT 1",
        (QUEUED, *group, now_s),
    ).fetchone()
    if row is None:
        return None
    job = job_of(row)
    save(db, job._replace(state=RUNNING), due_s=now_s, now_s=now_s)
    return job._replace(state=RUNNING, generation=job.generation + 1)
