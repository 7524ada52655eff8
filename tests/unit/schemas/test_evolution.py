from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import evolution, registry


def schema(*fields: Any, **more: Any) -> str:
    return json.dumps({"type": "record", "name": "R", "fields": list(fields), **more})


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


A = field("a", "string")
INNER = {"type": "record", "name": "Inner", "fields": [field("x", "int")]}
WIDER = {"type": "record", "name": "Inner", "fields": [field("x", "int"), field("y", "int")]}


@pytest.mark.parametrize(
    ("writer", "reader", "said"),
    [
        (schema(A), schema(A, field("b", "int", default=0)), ""),
        (schema(A), schema(A, field("b", "int")), "R.b: it has no default"),
        (schema(A, field("b", "int")), schema(A), ""),
        (schema(A), schema(field("a", "int")), "R.a: string cannot be read as int"),
        (schema(A), schema(field("a", ["null", "string"])), ""),
        (schema(field("a", ["null", "string"])), schema(A), "R.a: null cannot be read as string"),
        (schema(field("a", "int")), schema(field("a", "long")), ""),
        (schema(field("a", "long")), schema(field("a", "int")), "R.a: long cannot be read as int"),
        (
            schema(field("a", "int")),
            schema(field("a", ["null", "string"])),
            "R.a: int is not in the reader's union",
        ),
        (
            schema(field("a", {"type": "array", "items": "string"})),
            schema(field("a", {"type": "array", "items": "int"})),
            "R.a[]: string cannot be read as int",
        ),
        (
            schema(field("a", {"type": "fixed", "name": "F", "size": 2})),
            schema(field("a", {"type": "fixed", "name": "F", "size": 3})),
            "R.a: fixed of another size",
        ),
        (schema(field("a", ["null", INNER])), schema(field("a", ["null", INNER])), ""),
        (
            schema(field("a", INNER), field("b", "Inner")),
            schema(field("a", WIDER), field("b", "Inner")),
            "R.a.y: it has no default",
        ),
    ],
)
def test_who_can_read_whom(writer: str, reader: str, said: str) -> None:
    """Each incompatible change is found, and its place named."""
    found = evolution.problems(writer, reader)
    assert bool(found) == bool(said)
    assert not said or found[0].startswith(said)


def test_a_fingerprint_is_of_the_meaning() -> None:
    """Docs and the order of members may change, fields may not."""
    one = schema(A)
    assert evolution.fingerprint(one) == evolution.fingerprint(schema({**A, "doc": "x"}, doc="y"))
    assert evolution.fingerprint(one) != evolution.fingerprint(schema({**A, "default": ""}))


def test_a_change_after_a_release_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that guards releases does find a changed schema."""
    assert set(evolution.release()) == {str(n) for ns in registry.ids().values() for n in ns}
    monkeypatch.setattr(evolution, "released", lambda: {"1": "another"})
    with pytest.raises(ValueError, match="schema 1 was released, and has been changed"):
        evolution.release()
