from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pipeline.event_types.base import BadSelector, Watch
from pipeline.event_types.inotify import EVENT_TYPE, IGNORED_PAYLOAD, payload
from schemas import vocabulary
from schemas.vocabulary import Kind
from tests.builders import billing_record, inode, inodes, rename_record

ROOT, DATA, FILE, OLD, GONE = (inode(number) for number in (1, 2, 3, 4, 9))
ALL = Watch(path="/x", mask=vocabulary.IN_ALL_EVENTS)
OVERWRITTEN = {"inode": GONE, "type": "REGULAR", "permission": "1000:1000:600"}


def events(record: Any) -> list[tuple[bytes, str | None, str]]:
    """Return who is told what, in order: (inode, name, mask)."""
    [message] = EVENT_TYPE.derive(record)
    return [
        (
            message["watched"][to * 18 : to * 18 + 18],
            message["names"][to],
            "|".join(vocabulary.mask_names(mask)),
        )
        for mask, to in zip(message["masks"], message["to"], strict=True)
    ]


def told(record: Any, watched: bytes, watch: Watch = ALL) -> list[Any]:
    """Return the payloads that a watch gets from a record, read."""
    return [
        json.loads(telling.payload)
        for message in EVENT_TYPE.derive(record)
        for telling in EVENT_TYPE.tell(message, watch, watched)
        if telling.payload
    ]


def both(*masks: str, name: str = "f") -> list[tuple[bytes, str | None, str]]:
    return [pair for mask in masks for pair in ((DATA, name, mask), (FILE, None, mask))]


DIRECTORY = {"type": "DIR", "size_bytes": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "CREATE"}, [(DATA, "f", "IN_CREATE")]),
        ({"kind": "SYMLINK", "type": "LINK"}, [(DATA, "f", "IN_CREATE")]),
        ({"kind": "MKDIR", **DIRECTORY}, [(DATA, "f", "IN_CREATE|IN_ISDIR")]),
        ({}, both("IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE")),
        ({"transferred_bytes": 0, "attribute": "new"}, both("IN_OPEN", "IN_CLOSE_WRITE")),
        (
            {"transferred_bytes": 0, "attribute": "overwrite"},
            both("IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE"),
        ),
        ({"transferred_bytes": 0, "attribute": "append"}, both("IN_OPEN", "IN_CLOSE_WRITE")),
        ({"kind": "READ"}, both("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE")),
        ({"kind": "READ", "transferred_bytes": 0}, both("IN_OPEN", "IN_CLOSE_NOWRITE")),
        (
            {"kind": "READ", "status_code": 103},
            both("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE"),
        ),
        (
            {"kind": "LIST", **DIRECTORY},
            both("IN_OPEN|IN_ISDIR", "IN_ACCESS|IN_ISDIR", "IN_CLOSE_NOWRITE|IN_ISDIR"),
        ),
        (
            {"kind": "DELETE"},
            [
                (FILE, None, "IN_ATTRIB"),
                (FILE, None, "IN_DELETE_SELF"),
                (DATA, "f", "IN_DELETE"),
            ],
        ),
        (
            {"kind": "RMDIR", **DIRECTORY},
            [(FILE, None, "IN_DELETE_SELF"), (DATA, "f", "IN_DELETE|IN_ISDIR")],
        ),
        ({"kind": "SETATTR", "attribute": "mode"}, both("IN_ATTRIB")),
        ({"kind": "SETATTR", "attribute": "mode", **DIRECTORY}, both("IN_ATTRIB|IN_ISDIR")),
        ({"kind": "SETATTR", "attribute": "size"}, both("IN_MODIFY")),
        *(
            ({"kind": kind}, both("IN_ATTRIB"))
            for kind in ("FLUSH", "STAGE", "EVICT", "QOS", "LOST")
        ),
    ],
)
def test_what_an_operation_tells(changes: Any, expected: Any) -> None:
    """The architecture's table, in the kernel's order."""
    assert events(billing_record(**changes)) == expected


@pytest.mark.parametrize(
    "changes",
    [{"kind": "JOB"}, {"status_code": 28}, {"kind": "FLUSH", "status_code": 5}],
)
def test_what_changed_nothing_tells_nothing(changes: Any) -> None:
    """A failed upload is no IN_CLOSE_WRITE, a failed flush no IN_ATTRIB, a job no file."""
    assert not EVENT_TYPE.derive(billing_record(**changes))


def test_the_root_has_no_parent() -> None:
    """A change of the root is told to its own watchers alone."""
    root = billing_record(
        kind="SETATTR", attribute="mode", ancestors=b"", inode=ROOT, path="/", name="",
        permissions="0:0:755", **DIRECTORY,
    )  # fmt: skip
    assert events(root) == [(ROOT, None, "IN_ATTRIB|IN_ISDIR")]


def test_a_rename_is_one_message() -> None:
    """FROM, TO and MOVE_SELF stand side by side; what was overwritten is told of its end."""
    assert events(rename_record(overwritten=OVERWRITTEN)) == [
        (OLD, "g", "IN_MOVED_FROM"),
        (DATA, "f", "IN_MOVED_TO"),
        (GONE, None, "IN_ATTRIB"),
        (FILE, None, "IN_MOVE_SELF"),
        (GONE, None, "IN_DELETE_SELF"),
    ]


def test_a_move_across_shards_is_told_half_and_half() -> None:
    """Each shard is told once; the object itself in the old one, with where it goes on."""
    twin = {"shard": "sim/data", "number": 42}
    source = rename_record(half="FROM", twin=twin)
    assert events(source) == [(OLD, "g", "IN_MOVED_FROM"), (FILE, None, "IN_MOVE_SELF")]
    [message] = EVENT_TYPE.derive(source)
    assert (message["twin_shard"], message["twin_number"]) == ("sim/data", 42)
    assert events(rename_record(half="TO", twin=twin, overwritten=OVERWRITTEN)) == [
        (DATA, "f", "IN_MOVED_TO"),
        (GONE, None, "IN_ATTRIB"),
        (GONE, None, "IN_DELETE_SELF"),
    ]


def test_a_rename_within_a_directory_tells_it_twice() -> None:
    """One watch gets both halves, with one cookie and both names."""
    source = {
        "ancestors": inodes(1, 2),
        "permissions": "0:0:755 0:0:755 1:1:644",
        "path": "/data/g",
        "name": "g",
    }
    halves = told(rename_record(source=source), DATA)
    assert [(half["name"], half["mask"]) for half in halves] == [
        ("g", ["IN_MOVED_FROM"]),
        ("f", ["IN_MOVED_TO"]),
    ]
    assert len({half["cookie"] for half in halves}) == 1


def test_the_bytes_are_dcaches() -> None:
    """Members in dCache's order, compact, ASCII, and absent where they do not apply."""
    [message] = EVENT_TYPE.derive(rename_record(name="é", path="/data/é", type="DIR"))
    [moved] = EVENT_TYPE.tell(message, ALL, DATA)
    assert moved.payload == (
        '{"name":"\\u00e9","cookie":"Y29va2llY29va2llY29va2","mask":["IN_MOVED_TO","IN_ISDIR"]}'
    )
    [itself] = EVENT_TYPE.tell(message, ALL, FILE)
    assert itself.payload == '{"mask":["IN_MOVE_SELF"]}'
    assert IGNORED_PAYLOAD == '{"mask":["IN_IGNORED"]}'
    assert payload(vocabulary.IN_CREATE, "a") == '{"name":"a","mask":["IN_CREATE"]}'


def test_only_selected_events_are_told() -> None:
    """The mask selects; indices stay those of the message."""
    watch = ALL.replace(mask=vocabulary.IN_CLOSE_WRITE)
    [message] = EVENT_TYPE.derive(billing_record())
    [telling] = EVENT_TYPE.tell(message, watch, DATA)
    assert (telling.index, telling.mask) == (4, vocabulary.IN_CLOSE_WRITE)
    assert not EVENT_TYPE.tell(message, ALL.replace(mask=0), DATA)


@pytest.mark.parametrize("mask", [0, vocabulary.IN_DELETE_SELF])
def test_deletion_ends_a_watch_selected_or_not(mask: int) -> None:
    """The end is always there; it is told only to who asked for it."""
    [message] = EVENT_TYPE.derive(billing_record(kind="DELETE"))
    [end] = EVENT_TYPE.tell(message, ALL.replace(mask=mask), FILE)
    assert end.ends_watch
    assert bool(end.payload) == bool(mask)
    assert not any(telling.ends_watch for telling in EVENT_TYPE.tell(message, ALL, DATA))


def test_an_overwritten_object_ends_its_watch() -> None:
    """So does being replaced by a rename."""
    [message] = EVENT_TYPE.derive(rename_record(overwritten=OVERWRITTEN))
    tellings = EVENT_TYPE.tell(message, ALL, GONE)
    assert [telling.ends_watch for telling in tellings] == [False, True]


def test_a_recursive_watch_is_told_the_path_below() -> None:
    """Anywhere below; the watched directory's own events as ever, subdirectories' own not."""
    recursive = ALL.replace(recursive=True)
    deep = billing_record(
        kind="CREATE", inode=FILE, ancestors=inodes(1, 2, 5, 6), path="/data/a/b/f",
        permissions="0:0:755 0:0:755 0:0:755 0:0:755 0:0:644",
    )  # fmt: skip
    assert told(deep, ROOT, recursive) == [{"name": "data/a/b/f", "mask": ["IN_CREATE"]}]
    assert told(deep, DATA, recursive) == [{"name": "a/b/f", "mask": ["IN_CREATE"]}]
    assert told(deep, inode(6), recursive) == [{"name": "f", "mask": ["IN_CREATE"]}]
    assert not told(deep, DATA)
    assert not told(deep, OLD, recursive)
    changed = billing_record(kind="SETATTR", attribute="mode", **DIRECTORY)
    assert told(changed, FILE, recursive) == [{"mask": ["IN_ATTRIB", "IN_ISDIR"]}]
    assert told(changed, DATA, recursive) == [{"name": "f", "mask": ["IN_ATTRIB", "IN_ISDIR"]}]


def test_a_recursive_watch_sees_both_ends_of_a_move() -> None:
    """Above both places it is told both, in or out of it one."""
    recursive = ALL.replace(recursive=True)
    names = [event["name"] for event in told(rename_record(), ROOT, recursive)]
    assert names == ["old/g", "data/f"]
    assert [event["mask"] for event in told(rename_record(), OLD, recursive)] == [
        ["IN_MOVED_FROM"]
    ]
    assert [event["mask"] for event in told(rename_record(), DATA, recursive)] == [["IN_MOVED_TO"]]


def test_a_recursive_telling_needs_what_is_between_to_be_listable() -> None:
    """The name of a directory is told only to who may list the one it is in."""
    record = billing_record(
        kind="CREATE", ancestors=inodes(1, 2, 5), path="/data/secret/f",
        permissions="0:0:755 7:7:711 0:0:755 0:0:644",
    )  # fmt: skip
    [message] = EVENT_TYPE.derive(record)
    recursive = ALL.replace(recursive=True)
    scopes = {
        watched: EVENT_TYPE.tell(message, recursive, watched)[0].scope
        for watched in (ROOT, DATA, inode(5))
    }
    assert scopes == {ROOT: "r=7:7:711", DATA: "r=7:7:711", inode(5): ""}


def test_globs_filter_names_and_sizes_filter_closes() -> None:
    """Filters concern events with a name; sizes concern closes of files."""
    watch = ALL.replace(include=("*.h5",), min_size_bytes=3, max_size_bytes=10)
    h5 = {"name": "a.h5", "path": "/data/a.h5"}
    assert not told(billing_record(), DATA, watch)
    assert len(told(billing_record(**h5), DATA, watch)) == 3
    for size in (2, 11):
        masks = [
            event["mask"] for event in told(billing_record(**h5, size_bytes=size), DATA, watch)
        ]
        assert masks == [["IN_OPEN"], ["IN_MODIFY"]]
    assert told(billing_record(kind="DELETE"), FILE, watch)


def test_details_say_what_a_look_would_say() -> None:
    """Path as the client writes it, time, size, checksums, locality, owner."""
    watch = ALL.replace(path="/in/", details=True, mask=vocabulary.IN_CLOSE_WRITE)
    [event] = told(billing_record(), DATA, watch)
    assert list(event) == ["name", "mask", "details"]
    assert event["details"] == {
        "path": "/in/f",
        "time": "2023-11-14T22:13:20.000000Z",
        "operation": "UPLOAD",
        "size": 3,
        "checksums": ["adler32:024d0127"],
        "locality": "ONLINE",
        "owner": 1000,
    }


@pytest.mark.parametrize(
    ("uid", "reader", "knows"),
    [
        (1000, "owner", True),
        (5, "alice", True),
        (0, "admin", True),
        (5, "bob", False),
        (None, "alice", False),
    ],
)
def test_who_did_it_is_told_to_few(uid: int | None, reader: str, knows: bool) -> None:
    """The owner, the doer and administrators."""
    watch = ALL.replace(details=True, reader=reader, reader_uid=uid)
    assert ("user" in told(billing_record(), DATA, watch)[0]["details"]) is knows


def test_a_snapshots_events_fit_the_schema() -> None:
    """They are IN_CREATE with a mark."""
    event = {"name": "a", "mask": ["IN_CREATE", "IN_ISDIR"], "snapshot": True}
    jsonschema.validate(event, EVENT_TYPE.event_schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**event, "snapshot": False}, EVENT_TYPE.event_schema)


def test_readers_are_told_with_what_to_check_their_rights_again() -> None:
    """Changes of access and moves carry the permissions; other changes do not."""
    for changes, carried in [
        ({"kind": "SETATTR", "attribute": "mode"}, True),
        ({"kind": "SETATTR", "attribute": "acl"}, True),
        ({"kind": "SETATTR", "attribute": "times"}, False),
        ({"kind": "READ"}, False),
    ]:
        [message] = EVENT_TYPE.derive(billing_record(**changes))
        assert bool(message["permissions"]) is carried
    [message] = EVENT_TYPE.derive(rename_record())
    assert message["permissions"] == rename_record()["permissions"]


def test_every_kind_is_known() -> None:
    """No kind of the vocabulary is forgotten: each tells something but JOB."""
    silent = [
        kind for kind in Kind
        if kind != Kind.RENAME and not EVENT_TYPE.derive(billing_record(kind=kind.value))
    ]  # fmt: skip
    assert silent == [Kind.JOB]


@pytest.mark.parametrize(
    ("selector", "watch"),
    [
        ({"path": "/a"}, Watch(path="/a", mask=0xFFF)),
        ({"path": "disk", "flags": None}, Watch(path="disk", mask=0xFFF)),
        ({"path": "/a", "flags": []}, Watch(path="/a")),
        ({"path": "/a", "flags": ["IN_CREATE"]}, Watch(path="/a", mask=vocabulary.IN_CREATE)),
        (
            {"path": "/a", "flags": "IN_CLOSE, IN_ONLYDIR"},
            Watch(path="/a", mask=vocabulary.IN_CLOSE, modifiers=vocabulary.IN_ONLYDIR),
        ),
        (
            {"path": "/a", "recursive": True, "include": ["*.h5"], "exclude": ["tmp*"],
             "min_size": 0, "max_size": 5, "snapshot": True, "details": True},
            Watch(path="/a", mask=0xFFF, recursive=True, include=("*.h5",), exclude=("tmp*",),
                  min_size_bytes=0, max_size_bytes=5, snapshot=True, details=True),
        ),
    ],
)  # fmt: skip
def test_selectors(selector: Any, watch: Watch) -> None:
    """What clients send, and what it means."""
    assert EVENT_TYPE.parse(selector) == watch


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({}, 'Missing "path"'),
        ({"path": None}, 'Missing "path"'),
        ({"path": 7}, '"path" must be a string'),
        ({"path": "/" + "x" * 5000}, '"path" is longer than 4096 characters'),
        ({"path": "/a", "flag": ["IN_CREATE"]}, 'Unrecognized field "flag"; did you mean flags?'),
        (
            {"path": "/a", "flags": ["IN_MOVE_FROM"]},
            'Unknown flag "IN_MOVE_FROM"; did you mean IN_MOVED_FROM?',
        ),
        ({"path": "/a", "flags": ["IN_IGNORED"]}, 'Unknown flag "IN_IGNORED"'),
        ({"path": "/a", "flags": [1]}, '"flags" must be an array of strings'),
        ({"path": "/a", "flags": {}}, '"flags" must be an array of strings'),
        ({"path": "/a", "recursive": "yes"}, '"recursive" must be true or false'),
        ({"path": "/a", "include": "*.h5"}, '"include" must be an array of strings'),
        ({"path": "/a", "include": [""]}, 'a pattern in "include" must have 1 to 1024'),
        ({"path": "/a", "exclude": ["x"] * 65}, '"exclude" has more than 64 patterns'),
        ({"path": "/a", "min_size": -1}, '"min_size" must be between 0 and'),
        ({"path": "/a", "max_size": True}, '"max_size" must be a whole number of bytes'),
        ({"path": "/a", "max_size": 1.5}, '"max_size" must be a whole number of bytes'),
    ],
)
def test_bad_selectors(selector: Any, text: str) -> None:
    """What is wrong is said, and what was probably meant."""
    with pytest.raises(BadSelector) as refused:
        EVENT_TYPE.parse(selector)
    assert str(refused.value).startswith(f"Bad selector: {text}")
