"""One writer whose waiting transactions share a commit; power losses that are told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from schemas.errors import Unavailable
from storage_sim import power
from storage_sim.core import SYSTEM
from storage_sim.database import Database
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Give a database with one table."""
    database = Database(
        tmp_path / "test.sqlite", "CREATE TABLE t (n INTEGER PRIMARY KEY);", sync=False
    )
    yield database
    database.close()


def count(database: Database) -> int:
    """Return how many rows there are."""
    with database.read() as db:
        found: int = db.execute("SELECT count(*) FROM t").fetchone()[0]
    return found


def insert(number: int) -> object:
    """Return work that adds a row."""
    return lambda db: db.execute("INSERT INTO t VALUES (?)", (number,))


def test_waiting_transactions_share_a_commit(database: Database) -> None:
    """While one is being committed the others gather; one that fails takes none along."""
    commits: list[int] = []
    holding, go = threading.Event(), threading.Event()
    database.on_commit = lambda: commits.append(1)

    def hold(db: sqlite3.Connection) -> None:
        holding.set()
        go.wait()
        db.execute("INSERT INTO t VALUES (0)")

    def fail(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO t VALUES (100)")
        raise ZeroDivisionError

    def failing() -> None:
        with pytest.raises(ZeroDivisionError):
            database.write(fail)

    threads = [threading.Thread(target=database.write, args=(hold,))]
    threads[0].start()
    holding.wait()
    threads += [
        threading.Thread(target=database.write, args=(insert(number),)) for number in range(1, 9)
    ]
    threads.append(threading.Thread(target=failing))
    for thread in threads[1:]:
        thread.start()
    while database._waiting < 9:
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert count(database) == 9
    assert len(commits) == 1


def test_a_reader_sees_one_state(database: Database) -> None:
    """What is committed meanwhile does not show within the block."""
    with database.read() as db:
        assert db.execute("SELECT count(*) FROM t").fetchone()[0] == 0
        database.write(insert(1))
        assert db.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    assert count(database) == 1


def test_a_broken_database_is_unavailable_and_goes_on(database: Database) -> None:
    """An error of SQLite's is told as such; the next transaction works."""
    database.write(insert(1))
    with pytest.raises(Unavailable, match="UNIQUE"):
        database.write(insert(1))
    database.write(insert(2))
    assert count(database) == 2


def test_numbers_jump_after_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that Kafka may have seen are not given out twice; a stop in order leaves no hole."""
    boot = "one"
    monkeypatch.setattr(power, "boot_id", lambda: boot)
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/a")
    storage.close()
    boot = "two"
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/b")
    storage.database.close()
    storage._held.close()
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/c")
    storage.database.close()
    storage._held.close()
    boot = "three"
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/d")
    storage.close()
    storage = history.open_storage(tmp_path)
    numbers = [record["number"] for record in history.records(storage)]
    storage.close()
    assert numbers == [1, 2, 3, 1_000_004]
