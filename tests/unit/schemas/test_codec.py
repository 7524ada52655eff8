from __future__ import annotations

import dataclasses
import json

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event_types import inotify_derivation
from schemas import codec, registry
from schemas.errors import BadRecord
from tests.builders import billing_record, rename_record

VALUE = codec.encode("billing", billing_record())


def test_the_frame_is_confluents() -> None:
    """A zero byte and the schema's number, big-endian, stand before the Avro body."""
    assert VALUE[:5] == bytes([0, 0, 0, 0, registry.newest("billing").id])
    assert codec.decode("billing", VALUE) == billing_record()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "empty value"),
        (b"", "Confluent frame"),
        (b"\0\0\0", "Confluent frame"),
        (b'{"json": true}', "Confluent frame"),
        (b"\0\0\0\x27\x0f", "unknown schema id 9999"),
        (b"\0\0\0\0\x02", "schema id 2 is inotify, expected billing"),
        (VALUE + b"x", "does not end where it should"),
        (VALUE[:40], "not a billing record"),
    ],
)
def test_anything_else_is_a_bad_record(value: bytes | None, why: str) -> None:
    """What cannot be read is told with the reason, for the dead-letter topic."""
    with pytest.raises(BadRecord, match=why):
        codec.decode("billing", value)


@given(st.binary(max_size=200))
def test_garbage_is_never_anything_but_a_bad_record(body: bytes) -> None:
    """No bytes at all raise anything else."""
    for value in (body, VALUE[:5] + body):
        try:
            codec.decode("billing", value)
        except BadRecord:
            continue


@given(st.data())
def test_a_cut_record_is_never_read(data: st.DataObject) -> None:
    """A record that lost its end is bad, wherever it was cut."""
    value = VALUE[: data.draw(st.integers(0, len(VALUE) - 1))]
    with pytest.raises(BadRecord):
        codec.decode("billing", value)


def test_the_head_is_read_without_the_rest() -> None:
    """The head alone is enough bytes."""
    [message] = inotify_derivation.derive(rename_record())
    value = codec.encode("inotify", message)
    head = codec.decode_head(value)
    assert head == {key: message[key] for key in head}
    assert list(head) == ["shard", "number", "watched", "ancestors", "source_ancestors"]
    assert codec.decode_head(value[: len(value) // 2]) == head
    with pytest.raises(BadRecord):
        codec.decode_head(value[:20])
    with pytest.raises(BadRecord):
        codec.decode_head(None)


def test_an_older_version_is_read_as_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record written before a field was added gets the field's default."""
    old = registry.newest("dead_letter")
    raw = json.loads(old.text)
    raw["fields"].append({"name": "added", "type": "string", "default": "x"})
    new = dataclasses.replace(old, id=99, text=json.dumps(raw), parsed=fastavro.parse_schema(raw))
    letter = {
        "topic": "t", "partition": 0, "offset": 1, "key": None, "value": b"v",
        "reason": "r", "agent": "a", "time_us": 1,
    }  # fmt: skip
    value = codec.encode("dead_letter", letter)
    monkeypatch.setattr(registry, "newest", lambda _: new)
    monkeypatch.setattr(codec, "decoder", codec.decoder.__wrapped__)
    assert codec.decode("dead_letter", value) == {**letter, "added": "x"}
