"""Compiled schemas write what fastavro writes and read what it reads."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, compiled, registry
from schemas.errors import BadRecord

NAMES = sorted(registry.ids())
EDGES = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 16383, 16384, 2**31 - 1, -(2**31)]
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.sampled_from(EDGES) | st.integers(-(2**31), 2**31 - 1),
    "long": st.sampled_from([*EDGES, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1),
    "string": st.text(max_size=300),
    "bytes": st.binary(max_size=300),
}


def values(schema: Any, named: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values of a parsed schema."""
    named = {} if named is None else named
    if isinstance(schema, str):
        return LEAVES[schema] if schema in LEAVES else values(named[schema], named)
    if isinstance(schema, list):
        return st.none() | values(schema[1], named)
    named.setdefault(schema.get("name"), schema)
    if schema["type"] == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    if schema["type"] == "array":
        return st.lists(values(schema["items"], named), max_size=4)
    return st.fixed_dictionaries({f["name"]: values(f["type"], named) for f in schema["fields"]})


RECORDS = {name: values(registry.newest(name).parsed) for name in NAMES}


def fastavro_bytes(name: str, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, registry.newest(name).parsed, record)
    return out.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_of_ours_can_be_compiled(name: str) -> None:
    """Else the codec would fall back to fastavro, which is slower."""
    assert compiled.supports(registry.newest(name).parsed)


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_fastavro_writes(name: str, data: st.DataObject) -> None:
    record = data.draw(RECORDS[name])
    body = fastavro_bytes(name, record)
    assert codec.encode(name, record)[codec.FRAME.size :] == body
    assert codec.decode(name, codec.encode(name, record)) == record
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    assert codec.encode(name, tuples)[codec.FRAME.size :] == body
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadRecord):
        codec.decode(name, codec.encode(name, record)[: codec.FRAME.size + cut])


@settings(max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_takes_its_default(name: str, data: st.DataObject) -> None:
    record = data.draw(RECORDS[name])
    for field in registry.newest(name).parsed["fields"]:
        if "default" in field:
            del record[field["name"]]
    assert codec.encode(name, record)[codec.FRAME.size :] == fastavro_bytes(name, record)


@settings(max_examples=60)
@given(data=st.data(), junk=st.binary(max_size=60), at=st.integers(0, 200))
@pytest.mark.parametrize("name", NAMES)
def test_broken_bytes_are_a_bad_record_or_a_record(
    name: str, data: st.DataObject, junk: bytes, at: int
) -> None:
    """Whatever the bytes, reading ends, and with nothing but `BadRecord`."""
    good = codec.encode(name, data.draw(RECORDS[name]))
    at = max(codec.FRAME.size, min(at, len(good)))
    for value in (good[:at] + junk + good[at + len(junk) :], good[: codec.FRAME.size] + junk):
        try:
            codec.decode(name, value)
        except BadRecord:
            continue


def test_arrays_in_several_blocks_are_read() -> None:
    """Avro allows more than one block, and a negative count with the block's size behind it."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "items", "type": {"type": "array", "items": "long"}}],
    }
    read = compiled.decoder(schema)
    assert read(b"\x04\x02\x04\x01\x02\x06\x00", 0) == {"items": [1, 2, 3]}
    with pytest.raises(ValueError, match="more items"):
        read(b"\xfe\xff\xff\xff\x0f\x02", 0)


@pytest.mark.parametrize("kind", ["float", "double", {"type": "map", "values": "int"}])
def test_what_cannot_be_compiled_says_so(kind: Any) -> None:
    fields = [{"name": "x", "type": kind}]
    assert not compiled.supports({"type": "record", "name": "R", "fields": fields})


def test_numbers_that_do_not_fit_are_refused() -> None:
    """As fastavro does, instead of writing what nobody can read."""
    write = compiled.encoder(
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "long"}]}, b""
    )
    with pytest.raises(OverflowError):
        write({"x": 2**63})
