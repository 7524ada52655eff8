"""Records to bytes and back: Avro in the Confluent frame (a zero byte, a 4-byte id, the body).

Any Avro deserialiser that knows the Confluent frame reads what `encode` makes. `decode` reads all
versions in the registry, resolved to the newest, and raises `BadRecord` on anything else.
"""

from __future__ import annotations

import functools
import io
import struct
from typing import TYPE_CHECKING, Any, cast

import fastavro

from schemas import compiled, registry
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from schemas.records import Head

FRAME = struct.Struct(">bI")
_FRAME_BYTES = FRAME.size
_MAGIC = 0
_HEAD_FIELDS = 5


@functools.cache
def encoder(name: str) -> Callable[[Mapping[str, Any]], bytes]:
    """Return a function that writes records of schema `name`; look it up outside the loop."""
    schema = registry.newest(name)
    if compiled.supports(schema.parsed):
        return compiled.encoder(schema.parsed, FRAME.pack(_MAGIC, schema.id))
    return plain_encoder(name)


def plain_encoder(name: str) -> Callable[[Mapping[str, Any]], bytes]:
    """Return what `encoder` is where a schema cannot be compiled: fastavro for each record."""
    schema = registry.newest(name)
    prefix, parsed = FRAME.pack(_MAGIC, schema.id), schema.parsed
    writer = fastavro.schemaless_writer

    def encode_record(record: Mapping[str, Any]) -> bytes:
        buffer = io.BytesIO()
        buffer.write(prefix)
        writer(buffer, parsed, record)
        return buffer.getvalue()

    return encode_record


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """Write one record of schema `name` in its frame."""
    return encoder(name)(record)


def _frame_id(value: bytes | None) -> int:
    if value is None:
        raise BadRecord("empty value")
    if len(value) < FRAME.size or value[0] != _MAGIC:
        raise BadRecord(
            "not in the Confluent frame: it must begin with a zero byte and a schema id"
        )
    return cast("int", FRAME.unpack_from(value)[1])


@functools.cache
def decoder(name: str) -> Callable[[bytes | None], dict[str, Any]]:
    """Return `decode` for one schema; look it up outside the loop."""
    schema = registry.newest(name)
    if not compiled.supports(schema.parsed):
        return functools.partial(_decode_any, name)
    prefix = FRAME.pack(_MAGIC, schema.id)
    read = compiled.decoder(schema.parsed)

    def decode_record(value: bytes | None) -> dict[str, Any]:
        if value is None or not value.startswith(prefix):
            return _decode_any(name, value)
        try:
            return read(value, FRAME.size)
        except (ValueError, IndexError) as error:
            raise BadRecord(f"not a {name} record: {type(error).__name__}: {error}") from error

    return decode_record


def decode(name: str, value: bytes | None) -> dict[str, Any]:
    """Read one record of schema `name`.

    Raises:
        BadRecord: no frame, an unknown schema id, another schema's id, or a body that is not Avro.
    """
    return decoder(name)(value)


def _decode_any(name: str, value: bytes | None) -> dict[str, Any]:
    """Read a record of whatever version, or say what is wrong with it."""
    schema = registry.by_id(_frame_id(value))
    if schema.name != name:
        raise BadRecord(f"schema id {schema.id} is {schema.name}, expected {name}")
    newest = registry.newest(name)
    body = io.BytesIO(cast("bytes", value))
    body.seek(FRAME.size)
    reader = None if schema.id == newest.id else newest.parsed
    try:
        record = fastavro.schemaless_reader(body, schema.parsed, reader)
    except Exception as error:  # fastavro raises many types on a broken body
        raise BadRecord(f"not a {name} record: {type(error).__name__}: {error}") from error
    if body.tell() != len(cast("bytes", value)):
        raise BadRecord(f"not a {name} record: bytes left over")
    return cast("dict[str, Any]", record)


_heads: dict[bytes, Callable[[bytes, int], tuple[Any, ...]]] = {}


def _head_reader(value: bytes | None) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Return what reads the first fields of a schema; they are of types that can be compiled."""
    schema_id = _frame_id(value)
    parsed = registry.by_id(schema_id).parsed
    head = {**parsed, "fields": parsed["fields"][:_HEAD_FIELDS]}
    if not compiled.supports(head):
        raise BadRecord(f"schema id {schema_id} is of no derived message")
    read = compiled.beginning_decoder(parsed, _HEAD_FIELDS)
    _heads[FRAME.pack(_MAGIC, schema_id)] = read
    return read


def head_values(value: bytes | None) -> tuple[str, int, bytes, bytes, bytes]:
    """Read only the head of a derived message: the values of `schemas.records.Head`, in order.

    The rest of the bytes is not looked at: an event nobody watches costs no full decoding.

    Raises:
        BadRecord: as `decode`.
    """
    read = (_heads.get(value[:_FRAME_BYTES]) if value else None) or _head_reader(value)
    try:
        return read(value, _FRAME_BYTES)  # type: ignore[arg-type] # a cast is a call
    except (ValueError, IndexError) as error:
        raise BadRecord(f"not a derived message: {type(error).__name__}: {error}") from error


def decode_head(value: bytes | None) -> Head:
    """Read only the head of a derived message, as `head_values` does."""
    shard, number, watched, ancestors, source_ancestors = head_values(value)
    return {
        "shard": shard,
        "number": number,
        "watched": watched,
        "ancestors": ancestors,
        "source_ancestors": source_ancestors,
    }
