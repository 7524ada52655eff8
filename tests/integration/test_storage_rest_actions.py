"""The storage's REST interface: what can be asked of it, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from storage_sim.core import SYSTEM
from tests.integration.storage_doors import Doors, basic

if TYPE_CHECKING:
    import httpx

NAMESPACE = "/api/v1/namespace"


async def post(
    rest: httpx.AsyncClient, path: str, body: Any, user: str = "alice"
) -> httpx.Response:
    """Ask for an action."""
    return await rest.post(NAMESPACE + path, content=json.dumps(body), headers=basic(user))


ACTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/data", {"action": "mkdir", "name": "d"}),
    ("/data/d", {"action": "chmod", "mode": 0o750}),
    ("/data/d", {"action": "chgrp", "gid": 2000}),
    ("/data/d", {"action": "acl", "acl": "A:d:u=1002:rx"}),
    ("/data/d", {"action": "set-xattr", "attributes": {"a": "1", "b": "2"}}),
    ("/data/d", {"action": "rm-xattr", "names": ["a", "b"]}),
    ("/data/d", {"action": "set-label", "label": "raw"}),
    ("/data/d", {"action": "rm-label", "label": "raw"}),
    ("/data/l", {"action": "symlink", "target": "d"}),
    ("/data/d", {"action": "mv", "destination": "e"}),
    ("/data/e", {"action": "mv", "destination": "/home/alice/e"}),
]
TOLD_OF_ACTIONS = [
    ("MKDIR", None, "/data/d"),
    ("SETATTR", "mode", "/data/d"),
    ("SETATTR", "group", "/data/d"),
    ("SETATTR", "acl", "/data/d"),
    ("SETATTR", "xattr", "/data/d"),
    ("SETATTR", "xattr", "/data/d"),
    ("SETATTR", "xattr", "/data/d"),
    ("SETATTR", "xattr", "/data/d"),
    ("SETATTR", "label", "/data/d"),
    ("SETATTR", "label", "/data/d"),
    ("SYMLINK", None, "/data/l"),
    ("RENAME", None, "/data/e"),
    ("RENAME", None, "/home/alice/e"),
]


async def test_actions(doors: Doors, rest: httpx.AsyncClient) -> None:
    """Each does what it says, and is told."""
    before = len(doors.records())
    for path, body in ACTIONS:
        answer = await post(rest, path, body)
        assert answer.status_code == 201, answer.text
        assert answer.json() == {"status": "success"}
    told = [
        (record["kind"], record["attribute"], record["path"])
        for record in doors.records()[before:]
    ]
    assert told == TOLD_OF_ACTIONS


async def test_actions_that_are_forbidden(doors: Doors, rest: httpx.AsyncClient) -> None:
    """What the user may see but not do: 403; root may."""
    doors.storage.write(SYSTEM, "/data/f", b"")
    for path, body in [
        ("/data", {"action": "chown", "uid": 1002}),
        ("/data/f", {"action": "set-label", "label": "raw"}),
        ("/data/f", {"action": "mv", "destination": "g"}),
    ]:
        assert (await post(rest, path, body)).status_code == 403
        assert (await post(rest, path, body, "admin")).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {},
        {"action": "sing"},
        {"action": ["mkdir"]},
        {"action": "mkdir"},
        {"action": "mkdir", "name": 1},
        {"action": "mkdir", "name": "a/b"},
        {"action": "mkdir", "name": ".."},
        {"action": "mkdir", "name": "a\nb"},
        {"action": "mkdir", "name": "\ud800"},
        {"action": "mkdir", "name": "a", "more": 1},
        {"action": "chmod", "mode": "755"},
        {"action": "chmod", "mode": True},
        {"action": "chmod", "mode": 1 << 20},
        {"action": "chown", "uid": -1},
        {"action": "acl", "acl": "A:x"},
        {"action": "mv", "destination": ""},
        {"action": "set-xattr", "attributes": {}},
        {"action": "set-xattr", "attributes": {"a": 1}},
        {"action": "rm-xattr", "names": ["absent"]},
        {"action": "rm-xattr", "names": ["\udc80"]},
        {"action": "set-label", "label": "\n"},
    ],
)
async def test_bad_bodies_are_refused(doors: Doors, rest: httpx.AsyncClient, body: Any) -> None:
    """400 and a sentence, nothing done."""
    before = len(doors.records())
    answer = await post(rest, "/home/alice", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]
    assert answer.json()["status"] == "400"
    assert len(doors.records()) == before


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 50_000, 400),
        (b'{"a":"' + b"x" * 100_000, 413),
    ],
)
async def test_bodies_that_are_no_json_or_too_large(
    rest: httpx.AsyncClient, content: bytes, status: int
) -> None:
    """Neither reaches an action."""
    answer = await rest.post(NAMESPACE + "/data", content=content, headers=basic("alice"))
    assert answer.status_code == status


async def test_deleting(doors: Doors, rest: httpx.AsyncClient) -> None:
    """200 and success; a directory that is not empty: 400."""
    doors.storage.write(SYSTEM, "/home/alice/f", b"")
    full = await rest.delete(NAMESPACE + "/home/alice", headers=basic("admin"))
    assert full.status_code == 400
    gone = await rest.delete(NAMESPACE + "/home/alice/f", headers=basic("alice"))
    assert (gone.status_code, gone.json()) == (200, {"status": "success"})
    again = await rest.delete(NAMESPACE + "/home/alice/f", headers=basic("alice"))
    assert again.status_code == 404
