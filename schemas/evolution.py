"""What a schema may become: readers of the old and of the new read each other's records.

A released version is for ever: `released.json` holds its fingerprint, and a test compares. To
change a schema after a release, copy it to `avro/history/<name>.<id>.avsc`, append a new number to
its list in `ids.json`, and change `avro/<name>.avsc`. `python -m schemas release` writes down what
is released now.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from schemas import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROMOTIONS: Final = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"),
    ("float", "double"), ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip
"""(written, read): what Avro lets a reader take for what was written."""


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_docs(value) for key, value in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [_without_docs(item) for item in schema]
    return schema


def fingerprint(text: str) -> str:
    """Return SHA-256 of a schema's JSON text without its `doc` members, in hex."""
    plain = json.dumps(_without_docs(json.loads(text)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def released() -> dict[str, str]:
    """Return the fingerprints of all released versions by their number (as text)."""
    content: dict[str, str] = json.loads(
        (resources.files("schemas") / "released.json").read_text()
    )
    return content


class _Names:
    """Resolves the names of types within one schema."""

    def __init__(self, schema: Any) -> None:
        self._types: dict[str, Any] = {}
        self._collect(schema)

    def _collect(self, schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._collect(branch)
        elif isinstance(schema, dict):
            if "name" in schema and schema.get("type") in {"record", "fixed", "enum"}:
                self._types[schema["name"]] = schema
            for field in schema.get("fields", []):
                self._collect(field["type"])
            self._collect(schema.get("items"))
            self._collect(schema.get("values"))

    def resolve(self, schema: Any) -> Any:
        if isinstance(schema, str):
            return self._types.get(schema.rpartition(".")[2], schema)
        if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
            return schema["type"]
        return schema


class _Comparison:
    """Whether a reader with one schema understands what another wrote."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer_names, self._reader_names = _Names(writer), _Names(reader)

    def problems(self, writer: Any, reader: Any, where: str) -> Iterator[str]:
        writer = self._writer_names.resolve(writer)
        reader = self._reader_names.resolve(reader)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.problems(branch, reader, where)
        elif isinstance(reader, list):
            if all(list(self.problems(writer, branch, where)) for branch in reader):
                yield f"{where}: {_kind(writer)} is not in the reader's union"
        elif (_kind(writer), _kind(reader)) not in _PROMOTIONS:
            yield from self._same_kind(writer, reader, where)

    def _same_kind(self, writer: Any, reader: Any, where: str) -> Iterator[str]:
        kind = _kind(writer)
        if kind != _kind(reader):
            yield f"{where}: {kind} cannot be read as {_kind(reader)}"
        elif kind == "record":
            yield from self._records(writer, reader, where)
        elif kind == "array":
            yield from self.problems(writer["items"], reader["items"], f"{where}[]")
        elif kind == "fixed" and writer["size"] != reader["size"]:
            yield f"{where}: fixed of another size"

    def _records(self, writer: Any, reader: Any, where: str) -> Iterator[str]:
        written = {field["name"]: field["type"] for field in writer["fields"]}
        for field in reader["fields"]:
            name = f"{where}.{field['name']}"
            if field["name"] in written:
                yield from self.problems(written[field["name"]], field["type"], name)
            elif "default" not in field:
                yield f"{name}: it has no default, and the writer does not have it"


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])


def problems(writer: str, reader: str) -> list[str]:
    """Return why a reader with one schema (JSON text) cannot read what another wrote; or none."""
    old, new = json.loads(writer), json.loads(reader)
    return list(_Comparison(old, new).problems(old, new, new["name"]))


def release() -> dict[str, str]:
    """Return what `released.json` says once all that is there now is released.

    Raises:
        ValueError: a released version has changed.
    """
    now = {
        str(number): fingerprint(registry.by_id(number).text)
        for numbers in registry.ids().values()
        for number in numbers
    }
    for number, old in released().items():
        if now.get(number) != old:
            raise ValueError(f"schema {number} was released, and has been changed since")
    return now
