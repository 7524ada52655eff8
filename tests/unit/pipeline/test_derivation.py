"""What the deriving agent decides about a chunk of billing records."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.billing import record, tree
from pipeline.agents.derivation import Derivation, Hole, source_of
from pipeline.event_types import registry
from schemas import codec
from schemas.errors import BadRecord


def billing(number: int, shard: str = "sim", kind: str = "READ", offset: int = -1) -> Any:
    value = codec.encode("billing", record(shard, number, kind, random.Random(1), tree(2)))
    return SimpleNamespace(key=shard.encode(), value=value, offset=max(offset, number))


def raw(value: bytes | None, offset: int) -> Any:
    return SimpleNamespace(key=b"sim", value=value, offset=offset)


INOTIFY = [registry.get("inotify")]


def numbers(derived: Any) -> list[int]:
    return [codec.decode_head(m.value)["number"] for m in derived.messages["inotify"]]


def test_each_record_yields_its_messages_under_its_shard_and_time() -> None:
    derived = Derivation(INOTIFY).derive([billing(1), billing(2)])
    assert numbers(derived) == [1, 2]
    message = derived.messages["inotify"][0]
    assert message.key == b"sim"
    head = codec.decode("inotify", message.value)
    assert message.timestamp_ms == head["time_us"] // 1000


def test_repeats_drop_out_by_number_in_each_shard() -> None:
    derivation = Derivation(INOTIFY)
    derivation.derive([billing(1), billing(2)])
    derived = derivation.derive([billing(1), billing(2), billing(3), billing(1, "other")])
    assert numbers(derived) == [3, 1]
    assert derived.repeats == 2
    assert derived.holes == []
    assert derived.rejected == []


def test_a_hole_is_reported_and_what_follows_is_derived() -> None:
    derived = Derivation(INOTIFY).derive([billing(1), billing(5), billing(6)])
    assert derived.holes == [Hole("sim", 2, 4)]
    assert numbers(derived) == [1, 5, 6]
    assert derived.rejected[0].reason == ("hole: shard sim lacks numbers 2 to 4 before this")


def test_a_derivation_may_begin_anywhere() -> None:
    assert Derivation(INOTIFY).derive([billing(700)]).holes == []


def test_what_cannot_be_decoded_is_set_aside_and_the_rest_goes_on() -> None:
    good = billing(1)
    unknown = b"\x00\x00\x00\x03\xe7" + good.value[5:]
    derived = Derivation(INOTIFY).derive(
        [
            raw(b"garbage", 10),
            raw(unknown, 11),
            raw(None, 12),
            raw(good.value[:-3], 13),
            raw(codec.encode("inotify", codec.decode("inotify", _message())), 14),
            good,
        ]
    )
    assert numbers(derived) == [1]
    assert [one.record.offset for one in derived.rejected] == [10, 11, 12, 13, 14]
    reasons = [one.reason for one in derived.rejected]
    assert "unknown schema id 999" in reasons[1]
    assert "empty value" in reasons[2]
    assert "is inotify, expected billing" in reasons[4]


def _message() -> bytes:
    return Derivation(INOTIFY).derive([billing(1)]).messages["inotify"][0].value


class Broken:
    """An event type that fails on some records."""

    name = "transfer"

    def derive(self, record: Any) -> list[Any]:
        if record["number"] == 1:
            raise BadRecord("impossible path")
        if record["number"] == 2:
            raise ZeroDivisionError
        return []


def test_an_event_type_that_fails_does_not_stop_the_others() -> None:
    derived = Derivation([Broken(), *INOTIFY]).derive([billing(n) for n in (1, 2, 3)])  # type: ignore[list-item]
    assert numbers(derived) == [1, 2, 3]
    assert derived.rejected[0].reason == "transfer: impossible path"
    assert "test_derivation failed: ZeroDivisionError" in derived.rejected[1].reason


def test_a_message_is_known_to_follow_from_its_record() -> None:
    """Also among those of the same time, of other shards, of repeats and of what is no record."""
    records = [
        raw(b"junk", 0),
        billing(1, offset=1),
        billing(1, "other", offset=2),
        billing(2, offset=3),
        billing(2, offset=4),
    ]
    messages = Derivation(registry.all().values()).derive(records).messages["inotify"]
    assert [source_of(message.value, records).offset for message in messages] == [1, 2, 3]
    with pytest.raises(LookupError, match="number 2 of shard sim"):
        source_of(messages[-1].value, records[:3])
