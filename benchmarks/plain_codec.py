"""What one writes without `schemas.codec`: fastavro for each record, in the Confluent frame."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import fastavro

from schemas import codec, registry

if TYPE_CHECKING:
    from collections.abc import Callable

encoder = codec.plain_encoder


def decoder(name: str) -> Callable[[bytes], Any]:
    """Return what reads records of schema `name`."""
    schema = registry.newest(name).parsed

    def decode(value: bytes) -> Any:
        body = io.BytesIO(value)
        body.seek(codec.FRAME.size)
        return fastavro.schemaless_reader(body, schema)

    return decode
