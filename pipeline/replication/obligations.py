"""What follows from a change in the catalogue: which copies are wanted, repaired, not wanted.

Everything here is part of the transaction of the change that causes it, so that a change and its
consequences are there both or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.replication import jobs
from pipeline.replication.jobs import COPY, DEAD, DONE, EXPIRE, FREE, QUEUED, Content, Job, Place
from pipeline.replication.rules import File, copy_id

if TYPE_CHECKING:
    import sqlite3

    from pipeline.replication.rules import Rule, RuleSet

_NOT_WANTED: Final = frozenset({jobs.CANCELLED, jobs.MISSING})
_TAKEN: Final = "another file has taken the place of the copy"


class Replica(NamedTuple):
    """A file in a storage, as events tell it.

    Attributes:
        place: where it is.
        inode: what it is for ever.
        content: what it holds.
        user: who wrote it.
    """

    place: Place
    inode: bytes
    content: Content
    user: str


def sources(db: sqlite3.Connection, job: Job) -> list[Place]:
    """Return where the content of a job can be copied from: the original, then other copies."""
    found = []
    row = db.execute(
        "SELECT path, size_bytes, checksums FROM replicas WHERE storage = ? AND inode = ?",
        (job.original.storage, job.inode),
    ).fetchone()
    if row is not None and job.content.is_like(Content(row["size_bytes"], row["checksums"])):
        found.append(Place(job.original.storage, row["path"]))
    found.extend(
        other.target
        for other in jobs.of_original(db, job.original.storage, job.inode)
        if other.action == COPY and other.target != job.target and _is_at(db, other)
    )
    return found


def _is_at(db: sqlite3.Connection, job: Job) -> bool:
    row = db.execute(
        "SELECT size_bytes, checksums FROM replicas WHERE storage = ? AND path = ?", job.target
    ).fetchone()
    return row is not None and job.content.is_like(Content(*row))


class Obligations:
    """The consequences of changes, by these rules.

    Args:
        rules: what is wanted.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules

    def added(self, db: sqlite3.Connection, replica: Replica, now_s: float) -> None:
        """A replica came to be, or has another content, or another name."""
        arrived = jobs.copies_at(db, replica.place)
        for job in arrived:
            if job.content.is_like(replica.content):
                # who works on it has stale copies to remove before it is done
                if job.state not in (DONE, jobs.EXPIRED) and not job.stale_paths:
                    self.done(db, job, now_s)
            elif job.state == DONE:
                jobs.end(db, job, DEAD, _TAKEN, now_s=now_s)
        file = File(*replica.place, replica.content.size_bytes, replica.user)
        came_from = {job.original.storage for job in arrived}
        for rule in self._rules.rules:
            if rule.is_about(file):
                self._want(db, rule, replica, came_from, now_s)

    def _want(
        self,
        db: sqlite3.Connection,
        rule: Rule,
        replica: Replica,
        came_from: set[str],
        now_s: float,
    ) -> None:
        storage, path = replica.place
        known = {
            job.target.storage: job
            for job in jobs.of_original(db, storage, replica.inode, rule.name)
            if job.action == COPY
        }
        chosen = [target for target in rule.candidates(replica.inode) if target not in came_from]
        for target in list(known) or chosen[: rule.copies]:
            place = Place(target, rule.target_path(path) or path)
            if target in known:
                self._refresh(db, known[target], replica, place, now_s)
            else:
                self._insert(db, rule, replica, place, now_s)

    def _insert(
        self, db: sqlite3.Connection, rule: Rule, replica: Replica, place: Place, now_s: float
    ) -> None:
        job = Job(
            id=copy_id(rule.name, replica.place.storage, replica.inode, place.storage),
            action=COPY,
            rule=rule.name,
            user=replica.user,
            original=replica.place,
            inode=replica.inode,
            content=replica.content,
            target=place,
            stale_paths=(),
            replaces=False,
            was_done=False,
            generation=1,
            state=QUEUED,
            attempts=0,
            reason="",
        )
        job = job._replace(replaces=self._supersede(db, job, now_s))
        jobs.insert(db, job, due_s=now_s, now_s=now_s)
        if _is_at(db, job):
            self.done(db, job, now_s)

    def _supersede(self, db: sqlite3.Connection, job: Job, now_s: float) -> bool:
        """End the rule's copies of earlier originals that are at the place of a new copy.

        Returns:
            Whether what is there is, or may be, such a copy.
        """
        is_ours = False
        for other in jobs.copies_at(db, job.target):
            if other.rule == job.rule and other.id != job.id:
                is_ours |= job.target.path in other.where_copies_may_be()
                if other.state not in _NOT_WANTED:
                    handed_on = other._replace(was_done=False, replaces=False)
                    reason = "a newer original has its name"
                    jobs.end(db, handed_on, jobs.CANCELLED, reason, now_s=now_s)
        for other in jobs.with_stale_copies(db, job.rule, job.target.storage):
            if job.target.path in other.stale_paths and other.id != job.id:
                is_ours = True
                left = tuple(path for path in other.stale_paths if path != job.target.path)
                jobs.set_stale_paths(db, other, left)
        return is_ours

    def _refresh(
        self, db: sqlite3.Connection, job: Job, replica: Replica, place: Place, now_s: float
    ) -> None:
        """Bring a copy up to date with an original that was written again, or renamed."""
        is_same = job.content.is_like(replica.content) and job.target == place
        changed = job._replace(original=replica.place, content=replica.content, target=place)
        if not is_same:
            is_ours = self._supersede(db, changed, now_s)
            earlier = job.where_copies_may_be()
            changed = changed._replace(
                stale_paths=tuple(sorted(earlier - {place.path})),
                replaces=is_ours or place.path in earlier,
            )
            jobs.queue(db, changed, due_s=now_s, now_s=now_s)
        elif job.state in _NOT_WANTED:
            jobs.queue(db, changed, due_s=now_s, now_s=now_s)
        elif job.original != replica.place:
            db.execute("UPDATE jobs SET path = ? WHERE id = ?", (replica.place.path, job.id))

    def gone(
        self, db: sqlite3.Connection, place: Place, now_s: float, *, is_lost: bool = False
    ) -> None:
        """No replica is at a place any more: repair the copies that should be there.

        Args:
            db: the transaction.
            place: where it was.
            now_s: epoch seconds.
            is_lost: the name is still there, without content.
        """
        for job in jobs.copies_at(db, place):
            if job.state != DONE:
                continue
            if sources(db, job):
                again = job._replace(replaces=is_lost)
                jobs.queue(db, again, "the replica went", due_s=now_s, now_s=now_s)
                self._keep_original(db, job, now_s)
            else:
                jobs.end(db, job, jobs.MISSING, "no replica is left", now_s=now_s)

    def _keep_original(self, db: sqlite3.Connection, job: Job, now_s: float) -> None:
        for other in jobs.of_original(db, job.original.storage, job.inode, job.rule):
            if other.action == FREE and other.state == QUEUED:
                jobs.end(db, other, jobs.CANCELLED, "a copy has gone", now_s=now_s)

    def original_gone(
        self, db: sqlite3.Connection, storage: str, inode: bytes, now_s: float
    ) -> None:
        """An original was removed: what was not copied yet cannot be any more."""
        for job in jobs.of_original(db, storage, inode):
            if job.action == COPY and job.state in (QUEUED, DEAD) and not sources(db, job):
                state = jobs.MISSING if job.was_done else jobs.CANCELLED
                jobs.end(db, job, state, "the original was removed before", now_s=now_s)

    def done(self, db: sqlite3.Connection, job: Job, now_s: float) -> None:
        """A copy is there and verified: what the rule wants next is due."""
        jobs.end(db, job, DONE, now_s=now_s)
        rule = self._rules.named(job.rule)
        if rule is None:
            return
        if rule.keep_s is not None:
            self._after(db, job, EXPIRE, due_s=now_s + rule.keep_s, now_s=now_s)
        if rule.free_source:
            copies = jobs.of_original(db, job.original.storage, job.inode, rule.name)
            safe = [other for other in copies if other.action == COPY and other.state == DONE]
            if len(safe) >= rule.copies:
                self._after(db, job, FREE, due_s=now_s + rule.free_after_s, now_s=now_s)

    def _after(
        self, db: sqlite3.Connection, job: Job, action: str, *, due_s: float, now_s: float
    ) -> None:
        target = job.original if action == FREE else job.target
        subject = action if action == FREE else f"{action} {job.target.storage}"
        follower = job._replace(
            id=copy_id(job.rule, job.original.storage, job.inode, subject),
            action=action,
            target=target,
            stale_paths=(),
            replaces=False,
            was_done=False,
            state=QUEUED,
            attempts=0,
            reason="",
        )
        if jobs.find(db, follower.id) is None:
            jobs.insert(db, follower, due_s=due_s, now_s=now_s)
        else:
            jobs.queue(db, follower, due_s=due_s, now_s=now_s)

    def dead(self, db: sqlite3.Connection, job: Job, reason: str, now_s: float) -> None:
        """A job is given up; a copy goes to another storage, if the rule names one more."""
        jobs.end(db, job, DEAD, reason, now_s=now_s)
        rule = self._rules.named(job.rule)
        if rule is None or job.action != COPY:
            return
        tried = {
            other.target.storage
            for other in jobs.of_original(db, job.original.storage, job.inode, rule.name)
            if other.action == COPY
        }
        for target in rule.candidates(job.inode):
            if target not in tried:
                replica = Replica(job.original, job.inode, job.content, job.user)
                place = Place(target, rule.target_path(job.original.path) or job.original.path)
                self._insert(db, rule, replica, place, now_s)
                return
