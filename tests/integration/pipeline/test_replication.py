"""Replication between real storages: third-party copies by rule, repaired, freed, reconciled."""

from __future__ import annotations

import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pipeline.event_types.replication import EVENT_TYPE
from pipeline.replication import jobs, queries
from pipeline.replication.catalogue import Batch, Catalogue
from pipeline.replication.database import Database
from pipeline.replication.engine import Engine
from pipeline.replication.executors.tpc import ThirdPartyCopies
from pipeline.replication.ledger import Ledger
from pipeline.replication.obligations import Obligations
from pipeline.replication.reconcile import Lister, reconcile
from pipeline.replication.retries import Retries
from pipeline.replication.rules import Rule, RuleSet
from pipeline.rules.storages import Storage
from storage_sim.core import SYSTEM
from tests.sites import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

RULE = Rule("r", "a", ("b",), directories=("/data/raw",))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    folder = tmp_path_factory.mktemp("sites")
    a, b = Site(folder, "a"), Site(folder, "b")
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def sites(running: tuple[Site, Site]) -> tuple[Site, Site]:
    for site in running:
        site.begin()
    a, b = running
    a.storage.mkdir(SYSTEM, "/data/raw", mode=0o777)
    return a, b


class Following:
    """Catalogue and engine over two sites, whose outboxes are read instead of Kafka."""

    def __init__(self, folder: Path, sites: tuple[Site, ...], *rules: Rule, **retry: Any) -> None:
        self.sites = sites
        self.storages = {
            site.name: Storage(site.url + "/", "alice", "alice-demo") for site in sites
        }
        self.later_s = 0.0
        self.database = Database(folder / "catalogue.sqlite")
        obligations = Obligations(RuleSet(rules, self.storages))
        self.catalogue = Catalogue(self.database, obligations, clock_s=self._clock_s)
        self.ledger = Ledger(
            self.database,
            obligations,
            Retries(retry.pop("first_s", 0.05), 0.2, **retry),
            clock_s=self._clock_s,
        )
        self.engine = Engine(self.ledger, ThirdPartyCopies(self.storages, idle_s=10), at_once=4)

    def _clock_s(self) -> float:
        return time.time() + self.later_s

    def catch_up(self) -> None:
        for site in self.sites:
            messages = [m for record in site.billed() for m in EVENT_TYPE.derive(record)]
            self.catalogue.apply([Batch(0, 1, messages)])

    async def until(self, **states: int) -> None:
        """Follow until there are so many jobs of each state."""
        async with asyncio.timeout(60):
            while True:
                await asyncio.to_thread(self.catch_up)
                self.engine.wake()
                counts: dict[str, int] = {}
                for (_, action, state), count in self.counts().items():
                    counts[f"{action}_{state}"] = counts.get(f"{action}_{state}", 0) + count
                if counts == states:
                    return
                await asyncio.sleep(0.05)

    def counts(self) -> dict[tuple[str, str, str], int]:
        with self.database.reading() as db:
            return queries.counts(db)

    def dead(self) -> list[str]:
        with self.database.reading() as db:
            return [job.reason for job in queries.dead(db)]


@pytest.fixture
async def follow(tmp_path: Path, sites: tuple[Site, Site]) -> AsyncIterator[Any]:
    started: list[tuple[Following, asyncio.Event, asyncio.Task[None]]] = []

    def begin(*rules: Rule, **retry: Any) -> Following:
        following = Following(tmp_path, sites, *rules, **retry)
        stopped = asyncio.Event()
        task = asyncio.create_task(following.engine.run(stopped))
        started.append((following, stopped, task))
        return following

    yield begin
    for following, stopped, task in started:
        stopped.set()
        await task
        following.database.close()


async def test_files_are_copied_and_verified(sites: tuple[Site, Site], follow: Any) -> None:
    a, b = sites
    for number in range(20):
        a.put(f"/data/raw/f{number}", b"%d" % number * 1000)
    following = follow(RULE)
    await following.until(COPY_DONE=20)
    assert all(b.get(f"/data/raw/f{number}") == b"%d" % number * 1000 for number in range(20))
    uploads = [r for r in b.billed() if r["kind"] == "UPLOAD"]
    assert {(r["protocol"], r["status_code"]) for r in uploads} == {("http-tpc", 0)}


async def test_missing_directories_are_made(sites: tuple[Site, Site], follow: Any) -> None:
    a, b = sites
    a.storage.mkdir(SYSTEM, "/data/raw/x", mode=0o777)
    a.storage.mkdir(SYSTEM, "/data/raw/x/y é", mode=0o777)
    a.storage.write(SYSTEM, "/data/raw/x/y é/f #1%?.fits", b"abc", mode=0o644)
    await follow(RULE).until(COPY_DONE=1)
    assert b.storage.read(SYSTEM, "/data/raw/x/y é/f #1%?.fits") == b"abc"


async def test_an_empty_file_is_a_file(sites: tuple[Site, Site], follow: Any) -> None:
    a, b = sites
    a.put("/data/raw/empty", b"")
    await follow(RULE).until(COPY_DONE=1)
    assert b.get("/data/raw/empty") == b""


async def test_the_original_goes_when_it_is_safe(sites: tuple[Site, Site], follow: Any) -> None:
    a, b = sites
    a.put("/data/raw/f", b"content")
    rule = Rule("r", "a", ("b",), directories=("/data/raw",), free_source=True)
    await follow(rule).until(COPY_DONE=1, FREE_DONE=1)
    assert (a.get("/data/raw/f"), b.get("/data/raw/f")) == (None, b"content")


async def test_an_original_written_again_is_not_freed_but_copied_again(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, b = sites
    rule = Rule("r", "a", ("b",), directories=("/data/raw",), free_source=True, free_after_s=900)
    a.put("/data/raw/f", b"one")
    following = follow(rule)
    await following.until(COPY_DONE=1, FREE_QUEUED=1)
    a.put("/data/raw/f", b"two")
    await asyncio.to_thread(following.catch_up)
    await following.until(COPY_DONE=1, FREE_QUEUED=1)
    assert (a.get("/data/raw/f"), b.get("/data/raw/f")) == (b"two", b"two")
    following.later_s = 1000
    await following.until(COPY_DONE=1, FREE_DONE=1)
    assert (a.get("/data/raw/f"), b.get("/data/raw/f")) == (None, b"two")


async def test_a_replica_deleted_behind_our_back_is_repaired(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, b = sites
    a.put("/data/raw/f", b"content")
    following = follow(RULE)
    await following.until(COPY_DONE=1)
    assert b.ask("DELETE", "/data/raw/f").status_code == 204
    await asyncio.to_thread(following.catch_up)
    await following.until(COPY_DONE=1)
    assert b.get("/data/raw/f") == b"content"


async def test_another_file_in_the_way_is_left_alone_and_told(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, b = sites
    b.storage.mkdir(SYSTEM, "/data/raw", mode=0o777)
    b.put("/data/raw/f", b"somebody else's")
    a.put("/data/raw/f", b"content")
    following = follow(RULE)
    await following.until(COPY_DEAD=1)
    assert following.dead() == ["another file is at the target"]
    assert b.get("/data/raw/f") == b"somebody else's"


async def test_a_renamed_original_takes_its_copy_along(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, b = sites
    a.put("/data/raw/f.part", b"content")
    following = follow(RULE)
    await following.until(COPY_DONE=1)
    a.ask("MOVE", "/data/raw/f.part", headers={"Destination": f"{a.url}/data/raw/f"})
    await asyncio.to_thread(following.catch_up)
    await following.until(COPY_DONE=1)
    assert (b.get("/data/raw/f"), b.get("/data/raw/f.part")) == (b"content", None)


async def test_a_file_nobody_may_read_is_given_up_and_the_rest_goes_on(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, b = sites
    a.storage.write(SYSTEM, "/data/raw/closed", b"x", mode=0o600)
    a.put("/data/raw/open", b"y")
    following = follow(RULE, most=3)
    await following.until(COPY_DONE=1, COPY_DEAD=1)
    assert following.dead() == [
        "a: Remote side failed with status code 403; error message: Forbidden"
    ]
    assert b.get("/data/raw/open") == b"y"


class Broken(BaseHTTPRequestHandler):
    """A destination that has a bad day: it answers with a status, or (0) not at all."""

    status = 500
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.status == 0:
            self.connection.recv(1)  # ends when the client gives up
            return
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        # Else its threads would go on answering those who are connected, after its end.
        self.send_header("Connection", "close")
        self.end_headers()

    do_COPY = do_MKCOL = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, "500"), (507, "507"), (0, "does not answer")],
    ids=["failing", "full", "slow"],
)
async def test_a_destination_that_fails_does_not_hold_up_the_others(
    sites: tuple[Site, Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    reason: str,
) -> None:
    """Clear reasons, so many tries and no more, and the other rule is done meanwhile."""
    a, b = sites
    monkeypatch.setattr(Broken, "status", status)
    broken = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=broken.serve_forever, daemon=True).start()
    bad = Rule("bad", "a", ("c",), directories=("/data/raw",))
    following = Following(tmp_path, sites, RULE, bad, most=2)
    following.storages["c"] = Storage(f"http://127.0.0.1:{broken.server_address[1]}/", "x", "y")
    copier = ThirdPartyCopies(following.storages, idle_s=0.5 if status == 0 else 10)
    following.engine = Engine(following.ledger, copier, at_once=4)
    for number in range(4):
        a.put(f"/data/raw/f{number}", b"x")
    stopped = asyncio.Event()
    task = asyncio.create_task(following.engine.run(stopped))
    await following.until(COPY_DONE=4, COPY_DEAD=4)
    stopped.set()
    await task
    assert all(reason in said for said in following.dead())
    assert b.get("/data/raw/f3") == b"x"
    following.database.close()
    broken.shutdown()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, "500"), (507, "507"), (0, "does not answer")],
    ids=["failing", "full", "slow"],
)
async def test_a_destination_that_fails_for_a_while_gets_its_copies_afterwards(
    sites: tuple[Site, Site],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    reason: str,
) -> None:
    """Ten minutes, or how long ever: as many tries as the settings give."""
    a, _ = sites
    monkeypatch.setattr(Broken, "status", status)
    broken = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    port = broken.server_address[1]
    threading.Thread(target=broken.serve_forever, daemon=True).start()
    rule = Rule("r", "a", ("late",), directories=("/data/raw",))
    following = Following(tmp_path, (a,), rule, most=1000)
    following.storages["late"] = Storage(f"http://127.0.0.1:{port}/", "alice", "alice-demo")
    copier = ThirdPartyCopies(following.storages, idle_s=10 if status else 0.3)
    following.engine = Engine(following.ledger, copier, at_once=2)
    a.put("/data/raw/f", b"x")
    stopped = asyncio.Event()
    task = asyncio.create_task(following.engine.run(stopped))
    async with asyncio.timeout(30):
        while not any(reason in said for said in _reasons(following)):
            await asyncio.to_thread(following.catch_up)
            await asyncio.sleep(0.1)
    broken.shutdown()
    broken.server_close()
    late = Site(tmp_path, "late", port=port)
    await following.until(COPY_DONE=1)
    assert late.get("/data/raw/f") == b"x"
    stopped.set()
    await task
    following.database.close()
    late.close()


async def test_a_storage_that_is_away_is_waited_for(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    """However often it was not reached: when it is back, everything is copied."""
    a, _ = sites
    late = Site(tmp_path, "late")
    port = late.port
    late.close()
    rule = Rule("r", "a", ("late",), directories=("/data/raw",))
    following = Following(tmp_path, (a,), rule, most=2)
    following.storages["late"] = Storage(f"http://127.0.0.1:{port}/", "alice", "alice-demo")
    following.engine = Engine(following.ledger, ThirdPartyCopies(following.storages), at_once=2)
    a.put("/data/raw/f", b"x")
    stopped = asyncio.Event()
    task = asyncio.create_task(following.engine.run(stopped))
    async with asyncio.timeout(30):
        while not _reasons(following):
            await asyncio.to_thread(following.catch_up)
            await asyncio.sleep(0.1)
    late = Site(tmp_path, "late", port=port)
    await following.until(COPY_DONE=1)
    assert late.get("/data/raw/f") == b"x"
    stopped.set()
    await task
    following.database.close()
    late.close()


def _reasons(following: Following) -> list[str]:
    with following.database.reading() as db:
        return [job.reason for job in queries.missing(db) if job.reason]


async def test_reconciling_finds_what_no_event_told_of(
    sites: tuple[Site, Site], follow: Any
) -> None:
    a, _ = sites
    for name in ("known", "gone", "grown"):
        a.put(f"/data/raw/{name}", b"x")
    following = follow()
    await asyncio.to_thread(following.catch_up)
    a.put("/data/raw/dark", b"dark")
    a.put("/data/raw/grown", b"more than one")
    a.ask("DELETE", "/data/raw/gone")
    async with httpx.AsyncClient() as client:
        lister = Lister(following.storages["a"], client)
        found = await reconcile(following.database, "a", lister, "/data")
        assert {(f.kind, f.path) for f in found} == {
            ("dark", "/data/raw/dark"),
            ("dangling", "/data/raw/gone"),
            ("size", "/data/raw/grown"),
        }
        await asyncio.to_thread(following.catch_up)
        assert await reconcile(following.database, "a", lister, "/data") == []


async def test_a_restart_in_the_middle_goes_on(sites: tuple[Site, Site], tmp_path: Path) -> None:
    """What a killed engine left RUNNING is copied by the next one, and counts once."""
    a, b = sites
    for number in range(10):
        a.put(f"/data/raw/f{number}", b"x" * 1000)
    first = Following(tmp_path, sites, RULE)
    first.catch_up()
    for _ in range(5):
        taken = first.ledger.take()
        assert taken is not None
        if taken[0].target.path < "/data/raw/f3":
            copier = ThirdPartyCopies(first.storages)
            await copier.copy(taken[1], taken[0].target, taken[0].content, replaces=False)
            await copier.close()
    first.database.close()
    second = Following(tmp_path, sites, RULE)
    stopped = asyncio.Event()
    task = asyncio.create_task(second.engine.run(stopped))
    await second.until(COPY_DONE=10)
    stopped.set()
    await task
    uploads = [r["path"] for r in b.billed() if r["kind"] == "UPLOAD"]
    assert sorted(uploads) == [f"/data/raw/f{number}" for number in range(10)]
    second.database.close()


def test_only_one_process_writes_the_ledger(tmp_path: Path) -> None:
    from schemas.errors import SettingsError

    database = Database(tmp_path / "c.sqlite")
    with pytest.raises(SettingsError, match="in use by another process"):
        Database(tmp_path / "c.sqlite")
    assert jobs.COPY == "COPY"
    database.close()
