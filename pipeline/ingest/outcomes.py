"""What follows from one try of a job: done, again at a later time, or given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.ingest.runners.base import FunctionFailed
from schemas.errors import Refused, Unavailable

if TYPE_CHECKING:
    from pipeline.ingest.ledger_rows import Row


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures are borne.

    Attributes:
        first_s: the wait before the second try, in seconds; it doubles each time.
        longest_s: the longest wait.
        waits_s: how long a storage that is away is waited for.
    """

    first_s: float
    longest_s: float
    waits_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job after a try that failed.

    Attributes:
        again_in_s: seconds until the next try; None: it is given up.
        failures: how often the function itself has failed by now.
        waiting_since_s: since when a storage is waited for.
        reason: what happened, in full: for the ledger and the dead letter.
        told: what happened, as users may know it.
    """

    again_in_s: float | None
    failures: int
    waiting_since_s: float | None
    reason: str
    told: str


def verdict(
    error: FunctionFailed | Unavailable | Refused,
    row: Row,
    *,
    attempts: int,
    patience: Patience,
    now_s: float,
    chance: float,
) -> Verdict:
    """Decide what a failed try means.

    Args:
        error: what ended it.
        row: the job.
        attempts: how often its function may be tried.
        patience: waits.
        now_s: epoch seconds.
        chance: from 0 to 1; spreads the waits of jobs that failed together.
    """
    wait = min(patience.longest_s, patience.first_s * 2.0 ** min(row.attempt - 1, 30))
    again_in_s: float | None = wait * (0.5 + chance / 2)
    failures, waiting_since_s = row.failures, row.waiting_since_s
    reason = str(error)
    if isinstance(error, FunctionFailed):
        failures, waiting_since_s = failures + 1, None
        told = reason
        if error.printed:
            reason = f"{reason}: {error.printed}"
        if failures >= attempts:
            again_in_s = None
            reason = f"the function failed {failures} times; the last time {reason}"
    elif isinstance(error, Unavailable):
        waiting_since_s = now_s if waiting_since_s is None else waiting_since_s
        told = "a storage was away, full or too slow for too long"
        if now_s - waiting_since_s >= patience.waits_s:
            again_in_s = None
            reason = f"given up after {now_s - waiting_since_s:.0f} s: {reason}"
    else:
        again_in_s = None
        told = "the storage refused a file"
    return Verdict(again_in_s, failures, waiting_since_s, reason, told)
