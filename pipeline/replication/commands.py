"""The commands of `python -m pipeline.replication`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx

from pipeline.replication import app, jobs, queries, rules_file
from pipeline.replication.database import Database
from pipeline.replication.ledger import Ledger
from pipeline.replication.obligations import Obligations
from pipeline.replication.reconcile import Lister, reconcile
from pipeline.replication.retries import Retries
from schemas.errors import SettingsError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from pipeline.replication.jobs import Job
    from pipeline.replication.settings import ReplicationSettings

_NOT_FOUND: Final = 1
_DIFFERENT: Final = 3


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        run: does it and returns the exit status.
        least: how many arguments it needs.
        most: how many it takes.
    """

    run: Callable[..., int]
    least: int = 0
    most: int = 0

    def takes(self, count: int) -> bool:
        """Whether it can be run with so many arguments."""
        return self.least <= count <= self.most


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")


@contextlib.contextmanager
def _catalogue(settings: ReplicationSettings) -> Iterator[sqlite3.Connection]:
    database = Database(settings.state_path, own=False)
    try:
        with database.reading() as db:
            yield db
    finally:
        database.close()


def _run(settings: ReplicationSettings) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # aiokafka writes lines for each attempt at a broker that is away, twenty a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    asyncio.run(app.run(settings))
    return 0


def _check(settings: ReplicationSettings) -> int:
    rules = rules_file.load(settings.rules_path)
    for rule in rules.rules:
        freed = ", then the original is freed" if rule.free_source else ""
        _say(f"{rule.name}: {rule.source} -> {rule.copies} of {', '.join(rule.targets)}{freed}")
    _say(f"{len(rules.rules)} replication rules, {len(rules.storages)} storages")
    return 0


def _where(settings: ReplicationSettings, path: str) -> int:
    with _catalogue(settings) as db:
        found = queries.where(db, path)
    for replica in found:
        _say(f"{replica.storage}:{replica.path}", replica.size_bytes, replica.checksums)
    return 0 if found else _NOT_FOUND


def _say_job(job: Job) -> None:
    reason = f": {job.reason}" if job.reason else ""
    _say(
        job.id, job.rule, job.action, f"{job.original.storage}:{job.original.path}", "->",
        f"{job.target.storage}:{job.target.path}", f"{job.state}{reason}",
    )  # fmt: skip


def _missing(settings: ReplicationSettings, rule: str | None = None) -> int:
    with _catalogue(settings) as db:
        found = queries.missing(db, rule)
    for job in found:
        _say_job(job)
    return _DIFFERENT if found else 0


def _dead(settings: ReplicationSettings) -> int:
    with _catalogue(settings) as db:
        found = queries.dead(db)
    for job in found:
        _say_job(job)
    return _DIFFERENT if found else 0


def _since(settings: ReplicationSettings, sequence: str = "0") -> int:
    if not sequence.isdecimal():
        raise SettingsError(f"since: {sequence!r} is not a number")
    at = int(sequence)
    with _catalogue(settings) as db:
        while changes := queries.since(db, at):
            for change in changes:
                when = datetime.fromtimestamp(change.time_us / 1_000_000, UTC).isoformat()
                _say(json.dumps({**change._asdict(), "time": when}))
            at = changes[-1].sequence
    return 0


def _status(settings: ReplicationSettings) -> int:
    with _catalogue(settings) as db:
        replicas, counts = queries.replica_counts(db), queries.counts(db)
    for storage, (files, size_bytes) in sorted(replicas.items()):
        _say(f"{storage}: {files} files, {size_bytes} bytes")
    for (rule, action, state), count in sorted(counts.items()):
        _say(f"{rule}: {count} {action} {state}")
    return 0


def _retry(settings: ReplicationSettings, *ids: str) -> int:
    database = Database(settings.state_path, own=False)
    try:
        ledger = Ledger(database, Obligations(rules_file.load(settings.rules_path)), Retries())
        wanted = list(ids)
        if wanted == ["all"]:
            with database.reading() as db:
                wanted = [job.id for job in queries.dead(db)]
        queued = sum(ledger.retry(job_id) for job_id in wanted)
    finally:
        database.close()
    _say(f"{queued} of {len(wanted)} are {jobs.QUEUED}")
    return 0 if queued == len(wanted) else _NOT_FOUND


def _adopt(settings: ReplicationSettings) -> int:
    database = Database(settings.state_path)
    try:
        with database.transaction() as db:
            db.execute("DELETE FROM cluster")
            db.execute("DELETE FROM offsets")
    finally:
        database.close()
    _say("the Kafka that is set will be read from its beginning; what is known counts once")
    _say("what was told to nobody but the old one is found by: reconcile STORAGE")
    return 0


def _reconcile(settings: ReplicationSettings, name: str, directory: str = "/") -> int:
    storage = rules_file.load(settings.rules_path).storages.get(name)
    if storage is None:
        raise SettingsError(f"{settings.rules}: there is no storage {name!r}")
    database = Database(settings.state_path, own=False)

    async def compare() -> int:
        async with httpx.AsyncClient(timeout=settings.idle_s) as client:
            findings = await reconcile(database, name, Lister(storage, client), directory)
        for finding in findings:
            _say(finding.kind, f"{finding.storage}:{finding.path}", finding.detail)
        _say(f"{len(findings)} differences")
        return _DIFFERENT if findings else 0

    try:
        return asyncio.run(compare())
    finally:
        database.close()


COMMANDS: Final = {
    "run": Command(_run),
    "check": Command(_check),
    "where": Command(_where, 1, 1),
    "missing": Command(_missing, 0, 1),
    "since": Command(_since, 0, 1),
    "status": Command(_status),
    "dead": Command(_dead),
    "retry": Command(_retry, 1, 10_000),
    "adopt": Command(_adopt),
    "reconcile": Command(_reconcile, 1, 2),
}
