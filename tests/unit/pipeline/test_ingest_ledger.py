"""The ledger: each trigger once, each outcome once, whatever is repeated or killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.ingest.ledger import Arrived, Ledger, Message
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def arrived(name: str) -> Arrived:
    return Arrived(name, [("ce_id", name.encode())], b'{"read":"u"}', "ingest", 1, 2)


def numbered(topic: str = "t") -> Message:
    return Message(topic, b"k", lambda number: str(number).encode())


def test_a_trigger_is_taken_once(ledger: Ledger) -> None:
    assert ledger.accept([arrived("a"), arrived("b"), arrived("a")], [], 0) == 2
    assert ledger.accept([arrived("a")], [], 0) == 0
    assert ledger.unfinished() == 2


def test_jobs_begin_in_the_order_they_are_due(ledger: Ledger) -> None:
    ledger.accept([arrived("a")], [], 5)
    ledger.accept([arrived("b")], [], 3)
    assert ledger.begin(2) is None
    assert ledger.next_due_s() == 3
    first = ledger.begin(10)
    second = ledger.begin(10)
    assert first is not None
    assert second is not None
    assert (first.arrived, second.arrived) == (arrived("b"), arrived("a"))
    assert (first.attempt, first.failures, first.waiting_since_s) == (1, 0, None)
    assert ledger.begin(10) is None


def test_a_job_has_one_outcome(ledger: Ledger) -> None:
    ledger.accept([arrived("a")], [], 0)
    ledger.begin(0)
    first = ledger.finish("a", state="DONE", reason="", now_s=1, messages=[numbered()])
    second = ledger.finish("a", state="FAILED", reason="x", now_s=1, messages=[numbered()])
    assert (first, second) == (True, False)
    assert ledger.outcomes() == {"DONE": 1}
    assert ledger.is_finished("a")
    assert len(ledger.outbox(10)) == 1
    assert ledger.accept([arrived("a")], [], 0) == 0


def test_the_urls_are_forgotten_with_the_outcome(ledger: Ledger, tmp_path: Path) -> None:
    ledger.accept([arrived("a")], [], 0)
    ledger.begin(0)
    ledger.finish("a", state="DONE", reason="", now_s=1, messages=[])
    found = ledger._db.execute("SELECT data FROM jobs").fetchall()
    assert found == [(None,)]


def test_what_ran_when_the_process_was_killed_runs_again(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    first.accept([arrived("a")], [numbered()], 0)
    first.begin(0)
    first.close()
    second = Ledger(tmp_path)
    row = second.begin(0)
    assert row is not None
    assert row.attempt == 2
    assert second.outbox(10) == [(1, "t", b"k", b"1")]
    second.close()


def test_a_job_put_back_waits_until_it_is_due(ledger: Ledger) -> None:
    ledger.accept([arrived("a")], [], 0)
    ledger.begin(0)
    ledger.again("a", due_s=9, failures=1, waiting_since_s=4, reason="away")
    assert ledger.begin(8) is None
    row = ledger.begin(9)
    assert row is not None
    assert (row.attempt, row.failures, row.waiting_since_s) == (2, 1, 4)


def test_messages_are_numbered_for_ever(ledger: Ledger) -> None:
    ledger.tell([numbered(), numbered()])
    ledger.sent(2)
    ledger.tell([numbered("u")])
    assert ledger.outbox(10) == [(3, "u", b"k", b"3")]


def test_nothing_is_taken_when_a_message_cannot_be_made(ledger: Ledger) -> None:
    def broken(_: int) -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ledger.accept([arrived("a")], [Message("t", None, broken)], 0)
    assert ledger.unfinished() == 0


def test_old_outcomes_are_forgotten(ledger: Ledger) -> None:
    ledger.accept([arrived("a"), arrived("b")], [], 0)
    ledger.begin(0)
    ledger.finish("a", state="DONE", reason="", now_s=1, messages=[])
    ledger.prune(2)
    assert ledger.outcomes() == {"QUEUED": 1}


def test_another_ledger_has_another_identity_and_keeps_it(tmp_path: Path) -> None:
    seen = []
    for directory in ("a", "a", "b"):
        ledger = Ledger(tmp_path / directory)
        seen.append(ledger.identity)
        ledger.close()
    assert seen[0] == seen[1] != seen[2]


def test_a_second_runner_is_kept_out(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="another runner"):
        Ledger(tmp_path)
