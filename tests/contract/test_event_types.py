"""What every event type promises, checked for each one that the registry finds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.authz import scope
from pipeline.event_types import registry
from pipeline.event_types.base import BadSelector, EventType, Subscribable, Watch
from schemas import codec
from schemas import registry as schemas
from schemas.errors import SettingsError
from schemas.vocabulary import FILE_ID_BYTES, Kind
from tests.builders import billing_record, inode, inodes, principal, rename_record

HEAD = ("shard", "number", "watched", "ancestors", "source_ancestors")
CLOSED = "0:0:755 7:7:700 7:7:600"

OFFERED = sorted(registry.offered().items())
DERIVED = sorted(registry.all().items())

offered = pytest.mark.parametrize("kind", [kind for _, kind in OFFERED], ids=lambda k: k.name)


def samples() -> list[Any]:
    """Return a record of each kind and sort."""
    plain = [
        billing_record(kind=kind.value, **changes)
        for kind in Kind
        if kind != Kind.RENAME
        for changes in (
            {},
            {"status_code": 5, "status_message": "it failed"},
            {"attribute": "mode", "type": "DIR", "size_bytes": None, "checksums": []},
            {"name": 'n"\n\u2028é😀', "path": '/data/n"\n\u2028é😀'},
            {"permissions": CLOSED},
        )
    ]
    overwritten = {"inode": inode(9), "type": "REGULAR", "permission": "1:1:600"}
    renames = [
        rename_record(**changes)
        for changes in (
            {},
            {"type": "DIR", "size_bytes": None, "checksums": []},
            {"overwritten": overwritten},
            {"half": "FROM", "twin": {"shard": "sim/data", "number": 3}},
            {"half": "TO", "twin": {"shard": "sim/old", "number": 3}},
        )
    ]
    return plain + renames


def watched_inodes(message: Any) -> list[bytes]:
    together = message["watched"] + message["ancestors"] + message["source_ancestors"]
    return sorted(
        {together[at : at + FILE_ID_BYTES] for at in range(0, len(together), FILE_ID_BYTES)}
    )


def messages(kind: EventType) -> list[Any]:
    return [message for record in samples() for message in kind.derive(record)]


# a type may be fed by another agent and derive nothing: then its own tests look at its messages
derived = pytest.mark.parametrize(
    "kind", [kind for _, kind in DERIVED if messages(kind)], ids=lambda k: k.name
)


@offered
def test_it_says_what_it_is(kind: Subscribable) -> None:
    """It has a name that fits into a URL and a topic, and a sentence about itself."""
    assert kind.name.replace("-", "").isalnum()
    assert kind.name.islower()
    assert kind.description[0].isupper()
    assert kind.description.endswith(".")


@offered
def test_its_schemas_are_schemas(kind: Subscribable) -> None:
    """Both JSON Schemas are draft 06 and valid."""
    for schema in (kind.selector_schema, kind.event_schema):
        assert schema["$schema"] == "http://json-schema.org/draft-06/schema#"
        jsonschema.Draft6Validator.check_schema(schema)


@offered
@pytest.mark.parametrize(
    "selector",
    [None, [], "x", 1, {}, {"path": 1}, {"path": "/x", "unheard": 1}, {"path": "/\0"}],
    ids=repr,
)
def test_junk_is_refused(kind: Subscribable, selector: Any) -> None:
    """What is no selector is refused with a sentence, as dCache words it."""
    with pytest.raises(BadSelector, match=r"^Bad selector: ."):
        kind.parse(selector)


@derived
@pytest.mark.parametrize(
    "selector", [{"path": "/x"}, {"path": "/x", "recursive": True}], ids=json.dumps
)
def test_a_selector_of_the_schema_is_accepted(kind: EventType, selector: Any) -> None:
    """A path, and recursion, can be asked for with every derived type that has a path."""
    if kind.watches_namespace:
        jsonschema.validate(selector, kind.selector_schema)
        watch = kind.parse(selector)
        assert (watch.path, watch.recursive) == ("/x", "recursive" in selector)


@derived
def test_its_messages_survive_the_codec(kind: EventType) -> None:
    """What is derived can be written as Avro, and reads back the same."""
    for message in messages(kind):
        value = codec.encode(kind.topic.schema, message)
        # Arrays are sequences: shared tuples where they are derived, lists where they are read.
        derived = {k: list(v) if isinstance(v, tuple) else v for k, v in message.items()}
        assert codec.decode(kind.topic.schema, value) == derived


@derived
def test_its_messages_begin_with_the_head(kind: EventType) -> None:
    """A node can tell whom a message concerns without decoding all of it."""
    fields = schemas.newest(kind.topic.schema).parsed["fields"]
    assert tuple(field["name"] for field in fields[: len(HEAD)]) == HEAD
    for message in messages(kind):
        head = codec.decode_head(codec.encode(kind.topic.schema, message))
        assert head == {name: message[name] for name in HEAD}


@derived
def test_its_positions_are_those_of_billing(kind: EventType) -> None:
    """Shard and number are copied: that is what makes repeats recognisable."""
    for record in samples():
        for message in kind.derive(record):
            assert (message["shard"], message["number"]) == (record["shard"], record["number"])


@derived
def test_deriving_is_a_function(kind: EventType) -> None:
    """The same record gives the same messages, and is not changed."""
    for record, again in zip(samples(), samples(), strict=True):
        assert kind.derive(record) == kind.derive(again)
        assert record == again


@derived
@pytest.mark.parametrize("recursive", [False, True])
def test_what_it_tells_fits_its_schema(kind: EventType, recursive: bool) -> None:
    """Every payload is one line of ASCII JSON that the published schema accepts."""
    watch = kind.parse({"path": "/x", **({"recursive": True} if recursive else {})})
    told = 0
    for message in messages(kind):
        for watched in watched_inodes(message):
            for telling in kind.tell(message, watch, watched):
                told += 1
                assert telling.payload.isascii()
                assert "\n" not in telling.payload
                jsonschema.validate(json.loads(telling.payload), kind.event_schema)
    assert told


@derived
@pytest.mark.parametrize("recursive", [False, True])
def test_its_tellings_are_in_order(kind: EventType, recursive: bool) -> None:
    """A message's tellings come with ascending indices, each once."""
    watch = kind.parse({"path": "/x", **({"recursive": True} if recursive else {})})
    for message in messages(kind):
        for watched in watched_inodes(message):
            indices = [telling.index for telling in kind.tell(message, watch, watched)]
            assert indices == sorted(set(indices))


@derived
@pytest.mark.parametrize("recursive", [False, True])
def test_what_is_closed_is_told_to_nobody_else(kind: EventType, recursive: bool) -> None:
    """Whoever may not list the directory, or read the object, is outside of every scope."""
    watch = kind.parse({"path": "/x", **({"recursive": True} if recursive else {})})
    stranger = principal(8)
    for record in samples():
        if record["permissions"] == CLOSED:
            for message in kind.derive(record):
                for watched in watched_inodes(message):
                    for telling in kind.tell(message, watch, watched):
                        assert not scope.may_see(stranger, telling.scope)


@derived
def test_recursion_tells_no_name_that_could_not_be_listed(kind: EventType) -> None:
    """Between a recursive watch and an event only directories stand that its reader may list."""
    watch = kind.parse({"path": "/x", "recursive": True})
    unlisted = {
        "ancestors": inodes(1, 2, 5),
        "permissions": "0:0:755 7:7:711 0:0:755 0:0:644",
        "path": "/data/secret/f",
    }
    source = {**unlisted, "name": "f"}
    told = 0
    for record in (
        *(billing_record(kind=name.value, **unlisted) for name in Kind if name != Kind.RENAME),
        rename_record(source=source, **unlisted),
    ):
        for message in kind.derive(record):
            for above in (inode(1), inode(2)):
                for telling in kind.tell(message, watch, above):
                    told += 1
                    assert not scope.may_see(principal(8), telling.scope)
                    assert scope.may_see(principal(7), telling.scope)
    assert told


@derived
def test_a_stranger_to_the_message_is_told_nothing(kind: EventType) -> None:
    """A watch on something else gets nothing, also where ids overlap bytewise."""
    for recursive in (False, True):
        watch = Watch(path="/x", mask=0xFFF, recursive=recursive)
        for message in messages(kind):
            assert not kind.tell(message, watch, inode(77))
            shifted = (message["ancestors"] + message["watched"])[1 : 1 + FILE_ID_BYTES]
            assert not kind.tell(message, watch, shifted)


@derived
def test_a_plain_watch_is_not_told_of_what_is_deeper(kind: EventType) -> None:
    """Without recursion a watch on the grandparent hears nothing of a file below."""
    watch = kind.parse({"path": "/x"})
    for message in messages(kind):
        assert not kind.tell(message, watch, inodes(1))


def test_two_of_one_name_are_refused() -> None:
    """Two event types cannot share a name; the error says where both are."""
    kind = registry.get("inotify")
    with pytest.raises(SettingsError, match="two event types are called inotify: here and there"):
        registry.unique([("here", kind), ("there", kind)])


def test_they_are_sorted() -> None:
    """The API lists them in this order."""
    assert list(registry.offered()) == sorted(registry.offered())
    assert {"inotify", "metronome", "transfer"} <= set(registry.offered())
    assert "metronome" not in registry.all()


def test_these_follow_from_billing() -> None:
    """No event type has fallen silent."""
    assert {name for name, kind in DERIVED if messages(kind)} >= {
        "inotify",
        "replication",
        "transfer",
    }


EXAMPLE = Path(__file__).parents[2] / "examples" / "event_type"


def install(package: Path, site: Path) -> None:
    """Put a package with entry points where pip would, without asking an index for anything."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    shutil.copytree(package, site, ignore=shutil.ignore_patterns("__pycache__"))
    known = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    known.mkdir()
    (known / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (known / "entry_points.txt").write_text("\n".join(lines))


def test_an_event_type_of_another_package_is_found(tmp_path: Path) -> None:
    """An installed package adds a type by its entry point; the same promises hold for it."""
    install(EXAMPLE, tmp_path / "site")
    root = EXAMPLE.parents[1]
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "deletion",
            __file__,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(root)])},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\b2\d passed", ran.stdout), ran.stdout
