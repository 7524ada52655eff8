"""What the log says while a service is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.agents.outage import Outage

if TYPE_CHECKING:
    import pytest


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_line_at_the_start_one_a_minute_one_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many wait, and however often each tries."""
    clock = Clock()
    outage = Outage("It waits", logging.getLogger("outage"), clock)
    for second in range(121):
        clock.now = float(second)
        outage.note(OSError("gone"), "one")
        outage.note(OSError("gone"), "two")
    outage.over("one")
    outage.over("two")
    outage.over("two")
    assert [record.getMessage() for record in caplog.records] == [
        "It waits, for 0 s now: gone",
        "It waits, for 60 s now: gone",
        "It waits, for 120 s now: gone",
        "It waits no more, after 120 s",
    ]


def test_who_never_waited_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("It waits", logging.getLogger("outage"))
    outage.over()
    assert not caplog.records
