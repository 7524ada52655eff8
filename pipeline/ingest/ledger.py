"""What became of every trigger: one row for each id, one outcome for each row.

SQLite, so that a runner that is killed knows afterwards what it had taken and what was done. A
change of state and the messages that tell of it (job events, dead letters) are one transaction; a
publisher takes the messages from the outbox in order. URLs, and with them macaroons, are forgotten
with the outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.event_types import ingest
from pipeline.ingest.ledger_file import LedgerFile
from pipeline.ingest.ledger_rows import Failed, headers_of, row_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pipeline.ingest.ledger_rows import Arrived, Message, Row

CLAIMED: Final = "CLAIMED"
"""Taken from Kafka and claimed; whose it is shows when the claims are read."""
QUEUED: Final = "QUEUED"
RUNNING: Final = "RUNNING"
_UNFINISHED: Final = (CLAIMED, QUEUED, RUNNING)
_ACCEPT: Final = (
    'INSERT OR IGNORE INTO jobs (id, state, headers, data, topic, partition, "offset", due_s) '
    "SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM claims WHERE id = ?)"
)
_DROP: Final = (
    "DELETE FROM jobs WHERE id = ? AND state = ? "
    "AND EXISTS (SELECT 1 FROM claims WHERE id = ? AND runner <> ?)"
)
_QUEUE: Final = (
    "UPDATE jobs SET state = ? WHERE id = ? AND state = ? "
    "AND EXISTS (SELECT 1 FROM claims WHERE id = ? AND runner = ?)"
)


class Ledger:
    """One runner's ledger; a second process is kept out.

    Args:
        directory: where it is kept.
        own: whether this is the runner; others may only look and `retry`.
    """

    def __init__(self, directory: Path, *, own: bool = True) -> None:
        self._file = LedgerFile(directory, own=own)
        self._db = self._file.db
        self._transaction = self._file.transaction
        if own:
            # What ran when the last process ended has to be run again.
            self._db.execute("UPDATE jobs SET state = ? WHERE state = ?", (QUEUED, RUNNING))

    @property
    def identity(self) -> str:
        """What no other ledger is called: its numbers begin anew, so they are told apart by it."""
        return self._file.identity

    def close(self) -> None:
        """Let others in."""
        self._file.close()

    def accept(
        self,
        arrived: Iterable[Arrived],
        messages: Iterable[Message],
        now_s: float,
        claim: Callable[[str], Message],
    ) -> int:
        """Take over triggers that are not known yet, and messages about those that are wrong.

        Args:
            arrived: the triggers.
            messages: what is to be sent besides.
            now_s: epoch seconds.
            claim: makes the message that claims a trigger.

        Returns:
            How many were new; whether they are ours will be decided.
        """
        new = 0
        with self._transaction():
            for each in arrived:
                values = (each.id, CLAIMED, text_of(each.headers), each.data, *each[3:], now_s)
                is_new = self._db.execute(_ACCEPT, (*values, each.id)).rowcount
                self._put([claim(each.id)] * is_new)
                new += is_new
            self._put(messages)
        return new

    def claims_read(self, cluster: str) -> dict[int, int]:
        """Return up to where the claims of a Kafka cluster were read, by partition."""
        found = self._db.execute(
            "SELECT partition, next_offset FROM claim_offsets WHERE cluster = ?", (cluster,)
        )
        return dict(found.fetchall())

    def claim_again(self, claim: Callable[[str], Message]) -> None:
        """Claim what is not decided yet once more, in case that Kafka has lost the claims."""
        with self._transaction():
            rows = self._db.execute("SELECT id FROM jobs WHERE state = ?", (CLAIMED,)).fetchall()
            self._put(claim(job_id) for (job_id,) in rows)

    def decide(
        self,
        claims: Iterable[tuple[str, str]],
        runner: str,
        *,
        read: tuple[str, int, int],
        now_s: float,
    ) -> int:
        """Learn claims in the order in which they stand on Kafka; a trigger's first one counts.

        Args:
            claims: trigger ids and who claims them.
            runner: who we are in claims.
            read: cluster, partition and next offset: from where to go on reading.
            now_s: epoch seconds.

        Returns:
            How many triggers have turned out to be ours.
        """
        known = [(job_id, owner, now_s) for job_id, owner in claims]
        ids = [(job_id, CLAIMED, job_id, runner) for job_id, *_ in known]
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", known)
            self._db.executemany(_DROP, ids)
            ours = self._db.executemany(_QUEUE, [(QUEUED, *each) for each in ids]).rowcount
            self._db.execute("INSERT OR REPLACE INTO claim_offsets VALUES (?, ?, ?)", read)
        return ours

    def unfinished(self) -> int:
        """Return how many jobs have no outcome yet."""
        row = self._db.execute("SELECT count(*) FROM jobs WHERE state IN (?, ?, ?)", _UNFINISHED)
        return int(row.fetchone()[0])

    def unfinished_ids(self) -> list[str]:
        """Return the ids of all jobs without an outcome."""
        found = self._db.execute("SELECT id FROM jobs WHERE state IN (?, ?, ?)", _UNFINISHED)
        return [row[0] for row in found]

    def begin(self, now_s: float) -> Row | None:
        """Take the job that is due for the longest time; None if none is due."""
        found = self._db.execute(
            "UPDATE jobs SET state = ?, attempt = attempt + 1 WHERE id = (SELECT id FROM jobs "
            "WHERE state = ? AND due_s <= ? ORDER BY due_s LIMIT 1) RETURNING id, headers, data, "
            'topic, partition, "offset", attempt, failures, waiting_since_s',
            (RUNNING, QUEUED, now_s),
        ).fetchall()
        return row_of(found[0]) if found else None

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

    def unsent(self) -> int:
        """Return how many messages Kafka does not have yet."""
        return int(self._db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def outcomes(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def failed(self) -> list[Failed]:
        """Return what was given up, the oldest first."""
        found = self._db.execute(
            "SELECT id, headers, attempt, ended_s, reason FROM jobs WHERE state = ? "
            "ORDER BY ended_s",
            (ingest.FAILED,),
        )
        return [Failed(row[0], headers_of(row[1]), *row[2:]) for row in found]

    def retry(
        self, job_id: str, headers: Sequence[tuple[str, bytes]], data: bytes, now_s: float
    ) -> bool:
        """Queue a job again that was given up, with the URLs that it has now.

        Returns:
            Whether there was one.
        """
        changed = self._db.execute(
            "UPDATE jobs SET state = ?, headers = ?, data = ?, due_s = ?, attempt = 0, "
            "failures = 0, waiting_since_s = NULL, ended_s = NULL, reason = '' "
            "WHERE id = ? AND state = ?",
            (QUEUED, text_of(headers), data, now_s, job_id, ingest.FAILED),
        )
        return bool(changed.rowcount)

    def prune(self, before_s: float) -> None:
        """Forget jobs that ended before then, and claims that were read before then."""
        self._db.execute("DELETE FROM jobs WHERE ended_s < ?", (before_s,))
        self._db.execute("DELETE FROM claims WHERE read_s < ?", (before_s,))

    def _put(self, messages: Iterable[Message]) -> None:
        for topic, key, make in messages:
            number = self._db.execute(
                "INSERT INTO outbox (topic, key, value) VALUES (?, ?, x'')", (topic, key)
            ).lastrowid
            self._db.execute(
                "UPDATE outbox SET value = ? WHERE number = ?", (make(number or 0), number)
            )
