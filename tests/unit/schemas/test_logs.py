"""Lines that repeat are logged once a minute."""

from __future__ import annotations

import logging

from schemas.logs import OnceAMinute


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def line(name: str, text: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, values, None)


def test_a_kind_of_line_passes_once_a_minute_and_says_how_often_it_was_said() -> None:
    """Whatever the values in it are."""
    clock = Clock()
    once = OnceAMinute("aiokafka", clock=clock)
    assert once.filter(line("aiokafka", "node %s is away", 1))
    assert not once.filter(line("aiokafka", "node %s is away", 2))
    clock.now = 59.0
    assert not once.filter(line("aiokafka", "node %s is away", 1))
    clock.now = 61.0
    passed = line("aiokafka", "node %s is away", 3)
    assert once.filter(passed)
    assert passed.getMessage() == "node 3 is away (and 2 more like this)"


def test_others_and_other_kinds_pass() -> None:
    once = OnceAMinute("aiokafka")
    assert once.filter(line("aiokafka", "node %s is away", 1))
    assert once.filter(line("aiokafka", "the group is gone"))
    assert once.filter(line("aiokafka.consumer", "node %s is away", 1))
    assert all(once.filter(line("pipeline.agents", "read")) for _ in range(3))
