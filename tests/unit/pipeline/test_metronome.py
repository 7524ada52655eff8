from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.event_types.base import BadSelector
from pipeline.event_types.metronome import EVENT_TYPE, Beat


@pytest.mark.parametrize(
    ("selector", "beat"),
    [
        ({"delay": 1}, Beat(1.0)),
        ({"frequency": 4, "count": 3.0}, Beat(0.25, count=3)),
        ({"delay": 300, "message": "x", "count": 0}, Beat(300.0, "x")),
        ({"delay": 1e-6, "frequency": None}, Beat(1e-6)),
    ],
)
def test_selectors(selector: Any, beat: Beat) -> None:
    """Frequency or delay, a message, a count."""
    assert EVENT_TYPE.parse(selector) == beat


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, 'Either "frequency" or "delay" must be specified'),
        ({"delay": 1, "frequency": 1}, 'Only one of "frequency" and "delay" may be specified'),
        ({"delay": 0}, '"delay" must be between 0.000001 and 300 seconds'),
        ({"delay": 301}, '"delay" must be between'),
        ({"delay": "1"}, '"delay" must be a number'),
        ({"delay": True}, '"delay" must be a number'),
        ({"delay": float("nan")}, '"delay" must be a number'),
        ({"frequency": 10**400}, '"frequency" must be a number'),
        ({"frequency": 0.003}, '"frequency" must be between 1/300 and 1000000 Hz'),
        ({"delay": 1, "message": ""}, '"message" must have 1 to 4096 characters'),
        ({"delay": 1, "message": 5}, '"message" must be a string'),
        ({"delay": 1, "count": -1}, '"count" must be a whole number that is not negative'),
        ({"delay": 1, "count": 1.5}, '"count" must be a whole number that is not negative'),
        ({"delay": 1, "counts": 1}, 'Unrecognized field "counts"; did you mean count?'),
        ("tick", "a JSON object is expected"),
    ],
)
def test_bad_selectors(selector: Any, text: str) -> None:
    """What is wrong is said."""
    with pytest.raises(BadSelector) as refused:
        EVENT_TYPE.parse(selector)
    assert str(refused.value).startswith(f"Bad selector: {text}")


def test_the_message_is_filled_in_once() -> None:
    """A user's name that looks like a placeholder stays what it is."""
    beat = Beat(1.0, "${username} ${user} ${count} ${other} é")
    assert json.loads(beat.payload(7, "${count}")) == "${count} ${count} 7 ${other} é"
    assert beat.payload(7, "x").isascii()


def test_the_last_tick() -> None:
    """With a count the subscription ends by itself, without one never."""
    assert [Beat(1.0, count=2).is_last(number) for number in (1, 2, 3)] == [False, True, True]
    assert not Beat(1.0).is_last(10**9)
