"""A catalogue in a file, events made by hand, and the jobs that follow."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from pipeline.replication import jobs, queries
from pipeline.replication.catalogue import Batch, Catalogue
from pipeline.replication.database import Database
from pipeline.replication.ledger import Ledger
from pipeline.replication.obligations import Obligations
from pipeline.replication.retries import Retries
from pipeline.replication.rules import Rule, RuleSet
from tests.builders import inode

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.replication.jobs import Job


def adler(content: bytes) -> str:
    return f"adler32:{zlib.adler32(content):08x}"


class World:
    """What a storage tells, what the catalogue makes of it."""

    def __init__(self, file: Path, *rules: Rule, attempts: int = 3) -> None:
        self.file = file
        self.now_s = 1000.0
        self.numbers: dict[str, int] = {}
        self.sent: list[dict[str, Any]] = []
        self.database = Database(file)
        obligations = Obligations(RuleSet(rules))
        self.catalogue = Catalogue(self.database, obligations, clock_s=lambda: self.now_s)
        self.ledger = Ledger(
            self.database,
            obligations,
            Retries(most=attempts),
            clock_s=lambda: self.now_s,
            spread=lambda: 1.0,
        )

    def message(self, change: str, storage: str, path: str, number: int, **more: Any) -> Any:
        shard = more.get("shard", storage)
        self.numbers[shard] = self.numbers.get(shard, 0) + 1
        content = more.pop("content", b"")
        return {
            "shard": shard,
            "number": self.numbers[shard],
            "watched": b"",
            "ancestors": b"",
            "source_ancestors": b"",
            "scopes": [],
            "time_us": 1,
            "change": change,
            "half": "WHOLE",
            "storage": storage,
            "inode": inode(number),
            "is_directory": False,
            "path": path,
            "source_path": None,
            "overwritten": None,
            "size_bytes": len(content),
            "checksums": [adler(content)] if change == "ADDED" else [],
            "user": "alice",
            **more,
        }

    def tell(self, change: str, storage: str, path: str, number: int, **more: Any) -> int:
        """Tell the catalogue one event; return how many were new."""
        message = self.message(change, storage, path, number, **more)
        self.sent.append(message)
        return self.catalogue.apply([Batch(0, len(self.sent), [message])])

    def added(self, storage: str, path: str, number: int, content: bytes = b"x", **m: Any) -> None:
        self.tell("ADDED", storage, path, number, content=content, **m)

    def take(self) -> Job:
        """Take the next job."""
        taken = self.ledger.take()
        assert taken is not None
        return taken[0]

    def copy_all(self, first_inode: int = 900) -> list[Job]:
        """Do all copies that are due, each with the event that its target then tells."""
        done = []
        while (taken := self.ledger.take()) is not None:
            job = taken[0]
            if job.action == jobs.COPY:
                self.tell(
                    "ADDED",
                    *job.target,
                    first_inode + len(done),
                    size_bytes=job.content.size_bytes,
                    checksums=job.content.checksums.split(),
                )
            elif job.action == jobs.FREE:
                self.tell("REMOVED", *job.target, int.from_bytes(job.inode, "big"))
            self.ledger.done(job)
            done.append(job)
        return done

    def states(self) -> dict[tuple[str, str, str], int]:
        with self.database.reading() as db:
            return queries.counts(db)

    def where(self, path: str) -> set[tuple[str, str]]:
        with self.database.reading() as db:
            return {(found.storage, found.path) for found in queries.where(db, path)}

    def missing(self) -> list[tuple[str, str]]:
        with self.database.reading() as db:
            return [(job.original.path, job.state) for job in queries.missing(db)]
