"""Avro schemas and their numbers.

The numbers in `ids.json` are for ever: `{"billing": [1, 4]}` says that schema id 4 is the newest
version of `billing` and 1 an earlier one. Id `n` of a schema with several versions is kept as
`avro/history/<name>.<id>.avsc`; the newest stands in `avro/<name>.avsc`.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import fastavro

from schemas.errors import BadRecord


@dataclass(frozen=True)
class Schema:
    """One version of one schema.

    Attributes:
        name: its subject without the `-value`: the file's name.
        id: the number in the Confluent frame.
        text: the canonical JSON text.
        parsed: what fastavro takes.
    """

    name: str
    id: int
    text: str
    parsed: Any


def _load(name: str, schema_id: int, *, newest: bool) -> Schema:
    base = resources.files("schemas") / "avro"
    file = base / f"{name}.avsc" if newest else base / "history" / f"{name}.{schema_id}.avsc"
    raw = json.loads(file.read_text())
    return Schema(
        name, schema_id, json.dumps(raw, separators=(",", ":")), fastavro.parse_schema(raw)
    )


@functools.cache
def ids() -> dict[str, list[int]]:
    """Return every schema's numbers, oldest first."""
    content: dict[str, list[int]] = json.loads(
        (resources.files("schemas") / "ids.json").read_text()
    )
    return content


@functools.cache
def newest(name: str) -> Schema:
    """Return the version of schema `name` that is written today."""
    return _load(name, ids()[name][-1], newest=True)


@functools.cache
def by_id(schema_id: int) -> Schema:
    """Return the schema with that number.

    Raises:
        BadRecord: no schema has it.
    """
    for name, numbers in ids().items():
        if schema_id in numbers:
            return _load(name, schema_id, newest=schema_id == numbers[-1])
    raise BadRecord(f"unknown schema id {schema_id}")
