"""The ledger: each trigger once, each outcome once, whatever is repeated or killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.ingest.ledger import Ledger
from pipeline.ingest.ledger_rows import Arrived, Message
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


ME, OTHER = "ingest:me", "ingest:other"


def claim(trigger_id: str) -> Message:
    return Message("claims", trigger_id.encode(), lambda _: ME.encode())


def accept(ledger: Ledger, *names: str, now_s: float = 0) -> int:
    """Take triggers over that nobody else claims."""
    new = ledger.accept([arrived(name) for name in names], [], now_s, claim)
    ledger.sent(10**9)
    read(ledger, *((name, ME) for name in names))
    return new


def read(ledger: Ledger, *claims: tuple[str, str]) -> int:
    return ledger.decide(claims, ME, read=("cluster", 0, 1), now_s=0)


def numbered(topic: str = "t") -> Message:
    return Message(topic, b"k", lambda number: str(number).encode())


def test_a_trigger_is_taken_once(ledger: Ledger) -> None:
    assert accept(ledger, "a", "b", "a") == 2
    assert accept(ledger, "a") == 0
    assert ledger.unfinished() == 2


def test_jobs_begin_in_the_order_they_are_due(ledger: Ledger) -> None:
    accept(ledger, "a", now_s=5)
    accept(ledger, "b", now_s=3)
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
    accept(ledger, "a")
    ledger.begin(0)
    first = ledger.finish("a", state="DONE", reason="", now_s=1, messages=[numbered()])
    second = ledger.finish("a", state="FAILED", reason="x", now_s=1, messages=[numbered()])
    assert (first, second) == (True, False)
    assert ledger.outcomes() == {"DONE": 1}
    assert ledger.is_finished("a")
    assert len(ledger.outbox(10)) == 1
    assert accept(ledger, "a") == 0


def test_the_urls_are_forgotten_with_the_outcome(ledger: Ledger, tmp_path: Path) -> None:
    accept(ledger, "a")
    ledger.begin(0)
    ledger.finish("a", state="DONE", reason="", now_s=1, messages=[])
    found = ledger._db.execute("SELECT data FROM jobs").fetchall()
    assert found == [(None,)]


def test_what_ran_when_the_process_was_killed_runs_again(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    accept(first, "a")
    first.tell([numbered()])
    first.begin(0)
    first.close()
    second = Ledger(tmp_path)
    row = second.begin(0)
    assert row is not None
    assert row.attempt == 2
    assert second.outbox(10) == [(2, "t", b"k", b"2")]
    second.close()


def test_a_job_put_back_waits_until_it_is_due(ledger: Ledger) -> None:
    accept(ledger, "a")
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
        ledger.accept([arrived("a")], [Message("t", None, broken)], 0, claim)
    assert ledger.unfinished() == 0


def test_old_outcomes_are_forgotten(ledger: Ledger) -> None:
    accept(ledger, "a", "b")
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


def test_a_trigger_is_claimed_before_it_is_run(ledger: Ledger) -> None:
    ledger.accept([arrived("a"), arrived("b")], [], 0, claim)
    assert [(topic, key, value) for _, topic, key, value in ledger.outbox(10)] == [
        ("claims", b"a", b"ingest:me"), ("claims", b"b", b"ingest:me"),
    ]  # fmt: skip
    assert ledger.begin(9) is None
    assert ledger.unfinished() == 2
    assert read(ledger, ("a", ME), ("b", OTHER), ("b", ME), ("a", OTHER)) == 1
    row = ledger.begin(9)
    assert row is not None
    assert row.arrived.id == "a"
    assert ledger.begin(9) is None
    assert ledger.unfinished() == 1


def test_what_another_has_claimed_is_not_taken_again(ledger: Ledger) -> None:
    """Late twins of a trigger change nothing, whoever's it is."""
    read(ledger, ("a", OTHER))
    assert ledger.accept([arrived("a")], [], 0, claim) == 0
    assert ledger.outbox(10) == []
    accept(ledger, "b")
    ledger.begin(0)
    ledger.finish("b", state="DONE", reason="", now_s=1, messages=[])
    read(ledger, ("b", OTHER), ("b", ME))
    assert accept(ledger, "b") == 0
    assert ledger.outcomes() == {"DONE": 1}


def test_undecided_triggers_are_claimed_again_after_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    first.accept([arrived("a"), arrived("b")], [], 0, claim)
    first.sent(2)
    first.decide([("b", ME)], ME, read=("cluster", 3, 8), now_s=0)
    first.close()
    second = Ledger(tmp_path)
    assert second.claims_read("cluster") == {3: 8}
    assert second.claims_read("another Kafka") == {}
    second.claim_again(claim)
    assert [key for _, _, key, _ in second.outbox(10)] == [b"a"]
    second.close()


def test_what_was_given_up_can_be_queued_again_while_the_runner_works(
    ledger: Ledger, tmp_path: Path
) -> None:
    accept(ledger, "a", "b")
    ledger.begin(0)
    ledger.finish("a", state="FAILED", reason="broken", now_s=1, messages=[])
    operator = Ledger(tmp_path, own=False)
    assert [(job.id, job.attempt, job.reason) for job in operator.failed()] == [("a", 1, "broken")]
    assert operator.retry("a", [("ce_id", b"a")], b"new", 2)
    assert not operator.retry("a", [], b"", 2)
    assert not operator.retry("b", [], b"", 2)
    assert operator.failed() == []
    operator.close()
    rows = [ledger.begin(2), ledger.begin(2)]
    again = next(row for row in rows if row is not None and row.arrived.id == "a")
    assert (again.attempt, again.failures, again.arrived.data) == (1, 0, b"new")


def test_an_operator_without_a_ledger_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no ledger"):
        Ledger(tmp_path, own=False)
