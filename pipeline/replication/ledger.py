"""The jobs as the executor sees them: take one, say how it ended."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from pipeline.replication import jobs, obligations
from pipeline.replication.queue import Turns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from pipeline.replication.database import Database
    from pipeline.replication.jobs import Job, Place
    from pipeline.replication.obligations import Obligations
    from pipeline.replication.retries import Retries


class Ledger:
    """Takes and ends jobs, each in a transaction of its own.

    Args:
        database: where they are kept.
        consequences: what follows from a job that is done.
        retries: when what failed is tried again.
        clock_s: epoch seconds.
        spread: random numbers from 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        consequences: Obligations,
        retries: Retries,
        *,
        clock_s: Callable[[], float] = time.time,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._consequences = consequences
        self._retries = retries
        self._clock_s = clock_s
        self._spread = spread
        self._turns = Turns()
        self._away_since_s: dict[str, float] = {}

    def recover(self) -> int:
        """Queue again what an earlier process left running; return how many."""
        with self._database.transaction() as db:
            return jobs.requeue_running(db, self._clock_s())

    def take(self) -> tuple[Job, list[Place]] | None:
        """Take the job whose turn it is, with where its content is; None: nothing is due."""
        now_s = self._clock_s()
        with self._database.transaction() as db:
            while (group := self._turns.next(self._due(db, now_s))) is not None:
                job = jobs.take(db, group, now_s)
                if job is None:
                    return None
                found = obligations.sources(db, job)
                if found or job.action != jobs.COPY:
                    self._turns.began(group)
                    return job, found
                state = jobs.MISSING if job.was_done else jobs.CANCELLED
                jobs.end(db, job, state, "there is nothing to copy from", now_s=now_s)
            return None

    def until_due_s(self) -> float | None:
        """Return in how many seconds something is due; None: nothing is queued."""
        with self._database.reading() as db:
            due_s = min(jobs.groups_queued(db).values(), default=None)
        return None if due_s is None else max(0.0, due_s - self._clock_s())

    @staticmethod
    def _due(db: sqlite3.Connection, now_s: float) -> list[tuple[str, str]]:
        return [group for group, due_s in jobs.groups_queued(db).items() if due_s <= now_s]

    def done(self, job: Job) -> None:
        """A job was done."""
        now_s = self._clock_s()
        for storage in (job.original.storage, job.target.storage):
            self._away_since_s.pop(storage, None)
        with self._database.transaction() as db:
            self._turns.ended((job.rule, job.user))
            if not self._is_current(db, job):
                return
            if job.action == jobs.COPY:
                clean = job._replace(stale_paths=(), attempts=0)
                self._consequences.done(db, clean, now_s)
            else:
                jobs.end(db, job, jobs.DONE, now_s=now_s)

    def failed(self, job: Job, reason: str, *, for_good: bool = False) -> str:
        """A job failed; return the state it has now.

        Args:
            job: as it was taken.
            reason: why, in a sentence.
            for_good: trying again cannot help.
        """
        now_s = self._clock_s()
        attempts = job.attempts + 1
        wait_s = None if for_good else self._retries.wait_s(attempts, self._spread())
        tried = job._replace(attempts=attempts)
        with self._database.transaction() as db:
            self._turns.ended((job.rule, job.user))
            if not self._is_current(db, job):
                return jobs.QUEUED
            if wait_s is None:
                self._consequences.dead(db, tried, reason, now_s)
                return jobs.DEAD
            again = tried._replace(state=jobs.QUEUED, reason=reason)
            jobs.save(db, again, due_s=now_s + wait_s, now_s=now_s)
            return jobs.QUEUED

    def postponed(self, job: Job, storage: str, reason: str) -> bool:
        """A storage cannot be reached: try again later, without counting it.

        Returns:
            Whether it could be reached until now.
        """
        now_s = self._clock_s()
        is_new = storage not in self._away_since_s
        away_s = now_s - self._away_since_s.setdefault(storage, now_s)
        wait_s = self._retries.outage_wait_s(away_s, self._spread())
        with self._database.transaction() as db:
            self._turns.ended((job.rule, job.user))
            if self._is_current(db, job):
                again = job._replace(state=jobs.QUEUED, reason=reason)
                jobs.save(db, again, due_s=now_s + wait_s, now_s=now_s)
        return is_new

    def copies(self, job: Job) -> list[Place]:
        """Return where the copies are that let an original be freed."""
        with self._database.reading() as db:
            found = jobs.of_original(db, job.original.storage, job.inode, job.rule)
        return [
            other.target
            for other in found
            if other.action == jobs.COPY and other.state == jobs.DONE
        ]

    def begin_expiry(self, job: Job) -> None:
        """From now on a copy is not missed: it is going to be removed, as its rule says."""
        now_s = self._clock_s()
        with self._database.transaction() as db:
            for copy in jobs.copies_at(db, job.target):
                if copy.rule == job.rule and copy.state == jobs.DONE:
                    jobs.end(db, copy, jobs.EXPIRED, now_s=now_s)

    def retry(self, job_id: str) -> bool:
        """Queue a job that was given up; return whether there was one."""
        now_s = self._clock_s()
        with self._database.transaction() as db:
            job = jobs.find(db, job_id)
            if job is None or job.state not in (jobs.DEAD, jobs.MISSING, jobs.CANCELLED):
                return False
            jobs.queue(db, job, due_s=now_s, now_s=now_s)
            return True

    @staticmethod
    def _is_current(db: sqlite3.Connection, job: Job) -> bool:
        """Whether nothing has happened to a job since it was taken."""
        now = jobs.find(db, job.id)
        return now is not None and now.generation == job.generation
