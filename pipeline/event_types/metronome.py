"""Ticks at an interval, as dCache has them: made by the API's timers, to try clients with.

Nothing is derived and nothing replayed, so this event type has no topic.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.event_types import selectors
from pipeline.event_types.base import BadSelector

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_DELAY_S: Final = 1e-6
MAX_DELAY_S: Final = 300.0
MAX_MESSAGE_LENGTH: Final = 4096
MAX_COUNT: Final = 2**31 - 1

_PLACEHOLDER: Final = re.compile(r"\$\{(username|user|count)\}")


@dataclass(frozen=True, slots=True)
class Beat:
    """What one subscription to the metronome asks for.

    Attributes:
        delay_s: seconds between ticks, and before the first one.
        message: the text of a tick, before `${username}` and `${count}` are filled in.
        count: how many ticks; 0: no end.
    """

    delay_s: float
    message: str = "tick"
    count: int = 0

    def payload(self, number: int, user: str) -> str:
        """Return the value of the `event` member, as ASCII JSON.

        Args:
            number: which tick it is, from 1.
            user: the name of the user who subscribed.
        """
        values = {"username": user, "user": user, "count": str(number)}
        return json.dumps(_PLACEHOLDER.sub(lambda found: values[found[1]], self.message))

    def is_last(self, number: int) -> bool:
        """Whether the subscription ends with this tick."""
        return self.count > 0 and number >= self.count


def _number(selector: Mapping[str, Any], name: str) -> float | None:
    value = selector.get(name)
    if value is None:
        return None
    # to Python, true is an int; and JSON may hold what no float can
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_COUNT:
        raise BadSelector(f'Bad selector: "{name}" must be a number')
    return value


def _delay_s(selector: Mapping[str, Any]) -> float:
    frequency_hz, delay_s = _number(selector, "frequency"), _number(selector, "delay")
    if frequency_hz is None and delay_s is None:
        raise BadSelector('Bad selector: Either "frequency" or "delay" must be specified')
    if frequency_hz is not None and delay_s is not None:
        raise BadSelector('Bad selector: Only one of "frequency" and "delay" may be specified')
    if frequency_hz is not None:
        if not 1 / MAX_DELAY_S <= frequency_hz <= 1 / MIN_DELAY_S:
            raise BadSelector('Bad selector: "frequency" must be between 1/300 and 1000000 Hz')
        return 1 / frequency_hz
    assert delay_s is not None
    if not MIN_DELAY_S <= delay_s <= MAX_DELAY_S:
        raise BadSelector('Bad selector: "delay" must be between 0.000001 and 300 seconds')
    return float(delay_s)


def _message(selector: Mapping[str, Any]) -> str:
    message = selector.get("message")
    if message is None:
        return "tick"
    if not isinstance(message, str):
        raise BadSelector('Bad selector: "message" must be a string')
    if not 0 < len(message) <= MAX_MESSAGE_LENGTH:
        raise BadSelector(
            f'Bad selector: "message" must have 1 to {MAX_MESSAGE_LENGTH} characters'
        )
    return message


def _count(selector: Mapping[str, Any]) -> int:
    count = _number(selector, "count") or 0
    if count != int(count) or count < 0:
        raise BadSelector('Bad selector: "count" must be a whole number that is not negative')
    return int(count)


class Metronome:
    """The event type; see the module."""

    name: ClassVar[str] = "metronome"
    description: ClassVar[str] = "A configurable stream of messages, to try clients with."
    selector_schema: ClassVar[Mapping[str, Any]] = {
        "$id": "http://dcache.org/frontend/events/metronomeSelectors#",
        "$schema": selectors.DRAFT,
        "title": "How often to tick, and what to say",
        "type": "object",
        "properties": {
            "frequency": {
                "title": "Ticks a second",
                "type": "number",
                "minimum": 1 / MAX_DELAY_S,
                "maximum": 1 / MIN_DELAY_S,
            },
            "delay": {
                "title": "Seconds between ticks",
                "type": "number",
                "minimum": MIN_DELAY_S,
                "maximum": MAX_DELAY_S,
            },
            "message": {
                "title": "What to say",
                "description": "${username} and ${count} are filled in.",
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_MESSAGE_LENGTH,
                "default": "tick",
            },
            "count": {
                "title": "How many ticks",
                "description": "0 or absent: no end.",
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": MAX_COUNT,
            },
        },
        "oneOf": [{"required": ["frequency"]}, {"required": ["delay"]}],
        "additionalProperties": False,
    }
    event_schema: ClassVar[Mapping[str, Any]] = {
        "$id": "http://dcache.org/frontend/events/metronomeEvents#",
        "$schema": selectors.DRAFT,
        "title": "The message",
        "type": "string",
        "minLength": 1,
    }
    watches_namespace: ClassVar[bool] = False

    def parse(self, selector: Any) -> Beat:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: with dCache's text.
        """
        selectors.Members(selector, self.selector_schema["properties"])
        return Beat(_delay_s(selector), _message(selector), _count(selector))


EVENT_TYPE: Final = Metronome()
