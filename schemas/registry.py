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
from typing import Any, Final

import fastavro

from schemas.errors import BadRecord, SettingsError


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
def _own_ids() -> dict[str, list[int]]:
    content: dict[str, list[int]] = json.loads(
        (resources.files("schemas") / "ids.json").read_text()
    )
    return content


_added: dict[str, Schema] = {}

FIRST_FOREIGN_ID: Final = 1_000_000
"""Numbers from here on are for schemas of other packages' event types."""


def add(name: str, schema_id: int, text: str) -> None:
    """Make known a schema that another package brings, for the event type that it brings.

    Args:
        name: its name, as the topic of the event type says it.
        schema_id: its number for ever, at least `FIRST_FOREIGN_ID`.
        text: the schema, JSON.

    Raises:
        SettingsError: the name or number is taken by another schema, or too low.
    """
    parsed = json.loads(text)
    compact = json.dumps(parsed, separators=(",", ":"))
    schema = Schema(name, schema_id, compact, fastavro.parse_schema(parsed))
    if schema_id < FIRST_FOREIGN_ID or _added.get(name, schema) != schema:
        raise SettingsError(f"schema {name}: number {schema_id} is too low, or has changed")
    for other, numbers in ids().items():
        if (other == name or schema_id in numbers) and other not in _added:
            raise SettingsError(f"schema {name}: its name is taken")
        if other != name and schema_id in numbers:
            raise SettingsError(f"schema {name}: its number {schema_id} is that of {other}")
    _added[name] = schema


def ids() -> dict[str, list[int]]:
    """Return every schema's numbers, oldest first."""
    return {**_own_ids(), **{name: [schema.id] for name, schema in _added.items()}}


@functools.cache
def newest(name: str) -> Schema:
    """Return the version of schema `name` that is written today."""
    if name in _added:
        return _added[name]
    return _load(name, _own_ids()[name][-1], newest=True)


@functools.cache
def by_id(schema_id: int) -> Schema:
    """Return the schema with that number.

    Raises:
        BadRecord: no schema has it.
    """
    for name, numbers in ids().items():
        if schema_id in numbers:
            added = _added.get(name)
            return added or _load(name, schema_id, newest=schema_id == numbers[-1])
    raise BadRecord(f"unknown schema id {schema_id}")
