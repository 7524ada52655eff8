"""What follows from a failed try."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.ledger_rows import Arrived, Row
from pipeline.ingest.outcomes import Patience, Verdict, verdict
from pipeline.ingest.runners.base import FunctionFailed
from schemas.errors import Refused, Unavailable

PATIENCE = Patience(first_s=1, longest_s=60, waits_s=900)
ARRIVED = Arrived("id", [], b"{}", "ingest", 0, 0)


def judge(error: Exception, *, now_s: float = 1000.0, **row: object) -> Verdict:
    known = {"attempt": 1, "failures": 0, "waiting_since_s": None} | row
    return verdict(
        error,  # type: ignore[arg-type]
        Row(ARRIVED, **known),  # type: ignore[arg-type]
        attempts=3,
        patience=PATIENCE,
        now_s=now_s,
        chance=1.0,
    )


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_doubles_up_to_the_longest_and_is_never_nothing(
    attempt: int, chance: float
) -> None:
    found = verdict(
        Unavailable("away"),
        Row(ARRIVED, attempt, 0, None),
        attempts=3,
        patience=PATIENCE,
        now_s=0,
        chance=chance,
    )
    assert found.again_in_s is not None
    assert min(60, 2 ** (attempt - 1)) / 2 <= found.again_in_s <= min(60, 2 ** (attempt - 1))


def test_a_function_is_given_up_after_its_attempts() -> None:
    error = FunctionFailed("its exit status is 1", "ValueError: bad")
    assert judge(error, failures=1).again_in_s is not None
    found = judge(error, failures=2)
    assert found.again_in_s is None
    assert found.reason == (
        "the function failed 3 times; the last time its exit status is 1: ValueError: bad"
    )
    assert found.told == "its exit status is 1"


def test_a_storage_is_waited_for_and_then_given_up() -> None:
    first = judge(Unavailable("uploading /x: HTTP 507"))
    assert first.again_in_s is not None
    assert first.waiting_since_s == 1000.0
    assert first.failures == 0
    later = judge(Unavailable("uploading /x: HTTP 507"), waiting_since_s=1000.0, now_s=1900.0)
    assert later.again_in_s is None
    assert later.reason == "given up after 900 s: uploading /x: HTTP 507"
    assert "/x" not in later.told


def test_what_is_refused_is_given_up_at_once() -> None:
    found = judge(Refused("downloading /x: HTTP 403"))
    assert (found.again_in_s, found.reason) == (None, "downloading /x: HTTP 403")
    assert "/x" not in found.told


def test_a_failing_function_ends_the_waiting_for_a_storage() -> None:
    assert judge(FunctionFailed("x"), waiting_since_s=1.0).waiting_since_s is None


@pytest.mark.parametrize("failures", [0, 1])
def test_waiting_does_not_count_as_a_failure(failures: int) -> None:
    assert judge(Unavailable("x"), failures=failures).failures == failures
