"""What one writes without `schemas.codec`: fastavro for each record, in the Confluent frame."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import fastavro

from schemas import codec, registry

if TYPE_CHECKING:
    from collections.abc import Callable


def decoder(name: str) -> Callable[[bytes], Any]:
    """Return what reads records of schema `name`."""
    schema = registry.newest(name).parsed

    def decode(value: bytes) -> Any:
        body = io.BytesIO(value)
        body.seek(codec.FRAME.size)
        return fastavro.schemaless_reader(body, schema)

    return decode


def encoder(name: str) -> Callable[[Any], bytes]:
    """Return what writes records of schema `name`."""
    newest = registry.newest(name)
    prefix, schema = codec.FRAME.pack(0, newest.id), newest.parsed

    def encode(message: Any) -> bytes:
        body = io.BytesIO()
        body.write(prefix)
        fastavro.schemaless_writer(body, schema, message)
        return body.getvalue()

    return encode
