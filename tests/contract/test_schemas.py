"""What every Avro schema promises, for each one that is in the repository."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many

import schemas
from schemas import codec, evolution, registry

FOLDER = Path(schemas.__file__).parent / "avro"
NAMES = sorted(registry.ids())
VERSIONS = [(name, number) for name, numbers in registry.ids().items() for number in numbers]


def fields_of(schema: Any) -> list[Any]:
    """Return all fields, nested ones too."""
    if isinstance(schema, list):
        return [field for branch in schema for field in fields_of(branch)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("fields", [])
    return [*own, *(inner for field in own for inner in fields_of(field["type"]))]


def test_each_file_has_a_number() -> None:
    """A schema without a number could not be written."""
    assert sorted(file.stem for file in FOLDER.glob("*.avsc")) == NAMES


def test_numbers_are_never_used_twice() -> None:
    """A number names one version of one schema, and a schema's newest has its highest."""
    numbers = [number for _, number in VERSIONS]
    assert len(numbers) == len(set(numbers))
    assert all(versions == sorted(versions) for versions in registry.ids().values())


@pytest.mark.parametrize("name", NAMES)
def test_each_field_is_described(name: str) -> None:
    """Who finds a record on Kafka finds out from its schema what it says."""
    raw = json.loads(registry.newest(name).text)
    assert raw["doc"]
    assert raw["namespace"] == "storage_events"
    assert not [field["name"] for field in fields_of(raw) if not field.get("doc")]


@pytest.mark.parametrize("name", NAMES)
def test_any_record_of_it_survives(name: str) -> None:
    """What a schema allows can be written and reads back the same, through the codec."""
    for record in generate_many(registry.newest(name).parsed, 50):
        value = codec.encode(name, record)
        assert codec.encode(name, codec.decode(name, value)) == value


@pytest.mark.parametrize("name", NAMES)
def test_versions_read_each_other(name: str) -> None:
    """Old readers read new records and new readers old ones: no step of an upgrade loses any."""
    versions = [registry.by_id(number) for number in registry.ids()[name]]
    for writer, reader in itertools.product(versions, versions):
        assert not evolution.problems(writer.text, reader.text)
        for record in generate_many(writer.parsed, 20):
            body = io.BytesIO()
            fastavro.schemaless_writer(body, writer.parsed, record)
            body.seek(0)
            fastavro.schemaless_reader(body, writer.parsed, reader.parsed)


def test_released_versions_do_not_change() -> None:
    """What others have stored is read for ever; how to change a schema: schemas/evolution.py."""
    evolution.release()


def test_history_is_complete() -> None:
    """Every number but the newest has its file, and has been released."""
    old = {(name, number) for name, number in VERSIONS if number != registry.ids()[name][-1]}
    files = {
        (file.name.split(".")[0], int(file.name.split(".")[1]))
        for file in (FOLDER / "history").glob("*.avsc")
    }
    assert files == old
    assert {str(number) for _, number in old} <= set(evolution.released())
