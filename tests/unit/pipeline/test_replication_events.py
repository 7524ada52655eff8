"""What the event type `replication` says about where contents are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.event_types.base import BadSelector, Watch
from pipeline.event_types.replication import EVENT_TYPE
from schemas import codec


def inode(number: int) -> bytes:
    return number.to_bytes(18, "big")


ROOT, DATA, OLD, FILE, OTHER = (inode(n) for n in range(5))
OPEN = "0:0:755"


def record(**changes: Any) -> Any:
    base = {
        "shard": "sim",
        "number": 7,
        "operation": "0" * 32,
        "time_us": 1,
        "storage": "sim",
        "kind": "UPLOAD",
        "inode": FILE,
        "ancestors": ROOT + DATA,
        "permissions": f"{OPEN} 1:1:750 1:1:640",
        "path": "/data/f",
        "name": "f",
        "type": "REGULAR",
        "source": None,
        "overwritten": None,
        "half": "WHOLE",
        "user": "alice",
        "size_bytes": 3,
        "checksums": ["adler32:024d0127"],
        "status_code": 0,
        "attribute": None,
    }
    return {**base, **changes}


MOVE = {
    "kind": "RENAME",
    "source": {
        "ancestors": ROOT + OLD,
        "permissions": f"{OPEN} 2:2:700 1:1:640",
        "path": "/old/f",
        "name": "f",
    },
}


def told(message: Any, watched: bytes, *, recursive: bool = False, root: str = "/") -> list[Any]:
    watch = Watch(path="/x", recursive=recursive, root=root)
    return [
        (telling.scope, json.loads(telling.payload))
        for telling in EVENT_TYPE.tell(message, watch, watched)
    ]


def derived(**changes: Any) -> Any:
    """Derive, and read again what would stand on Kafka."""
    (message,) = EVENT_TYPE.derive(record(**changes))
    return codec.decode("replication", codec.encode("replication", message))


def test_a_finished_upload_is_told_to_watchers_of_the_parent_and_of_the_file() -> None:
    message = derived()
    event = {
        "change": "ADDED",
        "storage": "sim",
        "path": "/data/f",
        "size": 3,
        "checksums": ["adler32:024d0127"],
    }
    assert told(message, DATA) == [("rx=1:1:750", event)]
    assert told(message, FILE) == [("x=1:1:750 r=1:1:640", event)]
    assert told(message, ROOT) == []
    assert told(message, ROOT, recursive=True) == [("rx=1:1:750", event)]


def test_paths_are_told_below_the_users_root() -> None:
    assert told(derived(), DATA, root="/data")[0][1]["path"] == "/f"


def test_cutting_a_file_gives_it_another_content() -> None:
    assert derived(kind="SETATTR", attribute="size")["change"] == "ADDED"


def test_a_move_shows_each_side_only_its_own_path() -> None:
    message = derived(**MOVE)
    ((new_scope, new),) = told(message, DATA)
    ((old_scope, old),) = told(message, OLD)
    assert (new["change"], new["path"], new_scope) == ("MOVED_TO", "/data/f", "rx=1:1:750")
    assert (old["change"], old["path"], old_scope) == ("MOVED_FROM", "/old/f", "rx=2:2:700")
    assert [e["change"] for _, e in told(message, ROOT, recursive=True)] == [
        "MOVED_TO",
        "MOVED_FROM",
    ]


def test_the_halves_of_a_move_across_shards_tell_one_side_each() -> None:
    from_, to = derived(**MOVE, half="FROM"), derived(**MOVE, half="TO")
    assert (from_["watched"], to["watched"]) == (OLD, DATA + FILE)
    assert told(from_, DATA) == told(to, OLD) == []
    assert told(from_, OLD)[0][1]["path"] == "/old/f"
    assert told(to, DATA)[0][1]["path"] == "/data/f"


def test_a_moved_directory_is_told_with_its_files_in_mind() -> None:
    message = derived(
        **MOVE, type="DIR", overwritten={"inode": OTHER, "type": "DIR", "permission": OPEN}
    )
    assert message["is_directory"]
    assert message["overwritten"] == OTHER
    assert told(message, DATA)[0][1]["directory"]


@pytest.mark.parametrize(
    "changes",
    [
        {"status_code": 5},
        {"kind": "READ"},
        {"kind": "CREATE"},
        {"kind": "SETATTR", "attribute": "mode"},
        {"kind": "MKDIR", "type": "DIR"},
        {"kind": "DELETE", "type": "LINK"},
    ],
)
def test_what_does_not_change_where_content_is_says_nothing(changes: Any) -> None:
    assert EVENT_TYPE.derive(record(**changes)) == ()


@pytest.mark.parametrize(
    "selector",
    [[], {}, {"path": 1}, {"path": "/a", "recursive": "yes"}, {"path": "/a", "flags": []}],
)
def test_a_selector_that_cannot_be_used_is_refused(selector: Any) -> None:
    with pytest.raises(BadSelector, match="Bad selector"):
        EVENT_TYPE.parse(selector)
