"""Billing records in, derived messages out: the whole decision of the deriving agent, pure.

One decode serves all event types. A record at or below its shard's mark is a repeat and drops
out; a number that is skipped is a loss upstream, and is reported as one.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.dead_letter import Rejected
from pipeline.transport.producer import Message
from schemas import codec
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.event_types.base import EventType

BILLING = "billing"
_new = tuple.__new__  # of a NamedTuple: by its class it costs twice as much


class Hole(NamedTuple):
    """Numbers of a shard that never came."""

    shard: str
    first: int
    last: int


@dataclass(slots=True)
class Derived:
    """What follows from a chunk.

    Attributes:
        messages: for each event type's name, its messages in order.
        rejected: records to set aside.
        holes: losses upstream.
        repeats: how many records dropped out as repeats.
    """

    messages: dict[str, list[Message]]
    rejected: list[Rejected] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    repeats: int = 0


class Derivation:
    """Derives all event types of this worker from records of one partition, in order.

    It remembers each shard's highest number, so it must be fed contiguously: make a new one
    whenever reading begins anew.

    Args:
        event_types: what to derive.
    """

    def __init__(self, event_types: Sequence[EventType]) -> None:
        self._decode = codec.decoder(BILLING)
        self._kinds = [(kind.name, kind.derive, codec.encoder(kind.name)) for kind in event_types]
        self._marks: dict[str, int] = {}

    def derive(self, records: Sequence[Any]) -> Derived:
        """Derive from records with `key`, `value` and `offset`, as aiokafka has them."""
        derived = Derived({name: [] for name, _, _ in self._kinds})
        decode, marks = self._decode, self._marks
        for record in records:
            try:
                billing = decode(record.value)
            except BadRecord as error:
                derived.rejected.append(Rejected(record, str(error)))
                continue
            shard, number = billing["shard"], billing["number"]
            mark = marks.get(shard)
            if mark is not None and number != mark + 1:
                if number <= mark:
                    derived.repeats += 1
                    continue
                _note_hole(derived, record, Hole(shard, mark + 1, number - 1))
            marks[shard] = number
            self._tell(record, billing, derived)
        return derived

    def _tell(self, record: Any, billing: Any, derived: Derived) -> None:
        key = billing["shard"].encode()
        timestamp_ms = billing["time_us"] // 1000
        messages = derived.messages
        for name, derive, encode in self._kinds:
            try:
                if found := derive(billing):
                    messages[name] += [
                        _new(Message, (key, encode(one), timestamp_ms)) for one in found
                    ]
            except Exception as error:  # noqa: BLE001 - a plug-in's fault must not stop all others
                reason = _reason(name, derive, error)
                derived.rejected.append(Rejected(record, reason))


def _note_hole(derived: Derived, record: Any, hole: Hole) -> None:
    derived.holes.append(hole)
    reason = f"hole: shard {hole.shard} lacks numbers {hole.first} to {hole.last} before this"
    derived.rejected.append(Rejected(record, reason))


def _reason(name: str, derive: Callable[..., Any], error: Exception) -> str:
    if isinstance(error, BadRecord):
        return f"{name}: {error}"
    return f"{name}: {derive.__module__} failed: {type(error).__name__}: {error}"


def source_of(value: bytes, records: Sequence[Any]) -> Any:
    """Return the record that a derived message follows from: the first with its position.

    Args:
        value: the message, as it is on Kafka.
        records: those it was derived with, in order.

    Raises:
        LookupError: it does not follow from any of them.
    """
    shard, number, *_ = codec.head_values(value)
    decode = codec.decoder(BILLING)
    for record in records:
        with contextlib.suppress(BadRecord):
            billing = decode(record.value)
            if (billing["shard"], billing["number"]) == (shard, number):
                return record
    raise LookupError(f"no record is number {number} of shard {shard}")
