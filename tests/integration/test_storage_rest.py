"""The storage's REST interface: dCache's answers, and the watch for the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from storage_sim.core import SYSTEM
from tests.integration.storage_doors import SERVICE_KEY, Doors, basic

NAMESPACE = "/api/v1/namespace"


async def get(
    rest: httpx.AsyncClient, path: str, user: str = "alice", **parameters: Any
) -> httpx.Response:
    """Look at an object."""
    return await rest.get(NAMESPACE + path, params=parameters, headers=basic(user))


async def test_user(rest: httpx.AsyncClient) -> None:
    """Who this is, as dCache says it; without credentials, nobody."""
    answer = await rest.get("/api/v1/user", headers=basic("alice"))
    assert answer.json() == {
        "status": "AUTHENTICATED",
        "uid": 1001,
        "gids": [1001, 2000],
        "username": "alice",
        "homeDirectory": "/home/alice",
        "rootDirectory": "/",
    }
    assert (await rest.get("/api/v1/user")).json() == {"status": "ANONYMOUS"}
    wrong = await rest.get("/api/v1/user", headers={"Authorization": "Bearer x"})
    assert wrong.status_code == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Basic")
    assert wrong.json()["errors"][0]["message"]


async def test_a_file(doors: Doors, rest: httpx.AsyncClient) -> None:
    """All that can be asked about one."""
    inode = doors.storage.write(SYSTEM, "/data/f.txt", b"Wikipedia")
    doors.storage.set_xattr(SYSTEM, "/data/f.txt", "colour", "blue")
    doors.storage.set_label(SYSTEM, "/data/f.txt", "raw")
    plain = (await get(rest, "/data/f.txt")).json()
    assert plain == {
        "fileType": "REGULAR",
        "pnfsId": inode.id.hex().upper(),
        "fileMimeType": "text/plain",
        "nlink": 1,
        "mtime": inode.modified_us // 1000,
        "creationTime": inode.created_us // 1000,
        "size": 9,
    }
    everything = await get(
        rest, "/data/f.txt", locality=True, checksum=True, xattr="true", labels="", optional="true"
    )
    more = everything.json()
    assert more["fileLocality"] == "ONLINE"
    assert {"type": "ADLER32", "value": "11e60398"} in more["checksums"]
    assert more["extendedAttributes"] == {"colour": "blue"}
    assert more["labels"] == ["raw"]
    assert (more["owner"], more["group"], more["mode"]) == (0, 0, 0o644)
    assert "watch" not in more


@pytest.mark.parametrize(
    "path", ["/data", "/%2Fdata", "//data", "/data/", "/%2Fdata%2F", "/data?children=True"]
)
async def test_ways_to_write_a_path(rest: httpx.AsyncClient, path: str) -> None:
    """Rule R20: percent-encoded and double slashes are slashes, True is true."""
    answer = await rest.get(f"http://storage{NAMESPACE}{path}", headers=basic("alice"))
    assert answer.status_code == 200
    assert answer.json()["fileType"] == "DIR"


async def test_children_in_pages(doors: Doors, rest: httpx.AsyncClient) -> None:
    """In the order of names, with limit and offset."""
    for number in range(5):
        doors.storage.write(SYSTEM, f"/home/alice/f{number}", b"")
    answer = await get(rest, "/home/alice", children="true", limit=2, offset=1)
    assert [child["fileName"] for child in answer.json()["children"]] == ["f1", "f2"]
    assert (await get(rest, "/home/alice", children="true", limit="x")).status_code == 400


async def test_absent_and_forbidden_are_the_same_bytes(
    doors: Doors, rest: httpx.AsyncClient
) -> None:
    """Also for a directory that can be seen and not listed."""
    doors.storage.write(SYSTEM, "/data/exp/f", b"")
    doors.storage.mkdir(SYSTEM, "/data/pass", mode=0o711)
    answers = [
        await get(rest, "/data/exp/f", "bob"),
        await get(rest, "/data/exp/none", "bob"),
        await get(rest, "/data/none", "bob"),
        await get(rest, "/data/none/none", "bob"),
        await get(rest, "/data/exp/f/none", "bob"),
        await get(rest, "/data/pass", "bob", children="true"),
        await get(rest, "/data/exp", "bob", children="true"),
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1


async def test_the_watch_is_for_the_api_alone(doors: Doors, rest: httpx.AsyncClient) -> None:
    """With the service key: shard, positions, place and permissions, of one instant."""
    doors.storage.symlink(SYSTEM, "/data/exp", "/data/link")
    headers = {**basic("alice"), "Storage-Events-Key": SERVICE_KEY}
    answer = await rest.get(f"{NAMESPACE}/data/link?children=true", headers=headers)
    exp = doors.storage.stat(SYSTEM, "/data/exp")
    assert answer.json()["watch"] == {
        "shard": "sim",
        "positions": {"sim": doors.records()[-1]["number"]},
        "path": "/data/exp",
        "ancestors": [above.id.hex().upper() for above in exp.above],
        "permissions": "0:0:755 0:0:1777 0:2000:770",
        "mayWatch": True,
        "shardDepth": 0,
    }
    link = await rest.get(f"{NAMESPACE}/data/link?follow=false", headers=headers)
    assert link.json()["fileType"] == "LINK"
    assert link.json()["watch"]["path"] == "/data/link"
    bob = {**basic("bob"), "Storage-Events-Key": SERVICE_KEY}
    unseen = await rest.get(f"{NAMESPACE}/data/exp", headers=bob)
    assert unseen.json()["watch"]["mayWatch"] is False
    for key in ("", "wrong", SERVICE_KEY + "x"):
        headers["Storage-Events-Key"] = key
        assert "watch" not in (await rest.get(f"{NAMESPACE}/data", headers=headers)).json()


async def test_who_holds_the_key_is_believed_about_addresses(
    doors: Doors, rest: httpx.AsyncClient
) -> None:
    """Others who say they speak for somebody are taken for themselves."""
    forwarded = {**basic("alice"), "X-Forwarded-For": "198.51.100.7"}
    body = {"action": "mkdir", "name": "a"}
    await rest.post(NAMESPACE + "/data", json=body, headers=forwarded)
    assert doors.records()[-1]["client"] == "192.0.2.5"
    body["name"] = "b"
    forwarded["Storage-Events-Key"] = SERVICE_KEY
    await rest.post(NAMESPACE + "/data", json=body, headers=forwarded)
    record = doors.records()[-1]
    assert (record["client"], record["door"], record["protocol"]) == (
        "198.51.100.7",
        "rest",
        "rest",
    )


@pytest.mark.parametrize("path", ["/api/v1/user", "/health/live", "/nothing"])
async def test_a_request_has_one_host(rest: httpx.AsyncClient, path: str) -> None:
    """Whatever it asks for."""
    twice = [("Host", "a"), ("Host", "b"), *basic("alice").items()]
    answer = await rest.get(path, headers=twice)
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (
        400,
        "More than one Host header",
    )


async def test_health_and_metrics(doors: Doors, rest: httpx.AsyncClient) -> None:
    """Live, ready with the backlog, and counts for the operator; users learn no counts."""
    assert (await rest.get("/health/live")).status_code == 200
    ready = (await rest.get("/health/ready")).json()
    assert ready == {"status": "ready", "kafka": "away", "backlog": 0}
    assert "storage_outbox_backlog 0" in (await rest.get("/metrics")).text
    proxied = {"X-Forwarded-For": "192.0.2.5"}
    assert "backlog" not in (await rest.get("/health/ready", headers=proxied)).json()
    assert (await rest.get("/metrics", headers=proxied)).status_code == 404
    elsewhere = httpx.ASGITransport(doors.rest, client=("198.51.100.1", 1234))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://storage") as client:
        assert (await client.get("/health/ready")).json() == {"status": "ready", "kafka": "away"}
        assert (await client.get("/metrics")).status_code == 404


async def test_where_an_object_is_is_told_to_who_shows_the_key_only(
    doors: Doors, rest: httpx.AsyncClient
) -> None:
    """The API follows what it watches; users learn nothing from an id."""
    inode = doors.storage.mkdir(SYSTEM, "/data/hidden", mode=0o700)
    url = f"/api/v1/id/{inode.id.hex().upper()}"
    key = {"Storage-Events-Key": SERVICE_KEY}
    assert (await rest.get(url, headers=key)).json() == {"path": "/data/hidden"}
    doors.storage.rename(SYSTEM, "/data/hidden", "/data/moved")
    assert (await rest.get(url, headers=key)).json() == {"path": "/data/moved"}
    doors.storage.rmdir(SYSTEM, "/data/moved")
    assert (await rest.get(url, headers=key)).json() == {"path": None}
    assert (await rest.get("/api/v1/id/xyz", headers=key)).status_code == 404
    root = f"/api/v1/id/{doors.storage.stat(SYSTEM, '/').found.id.hex().upper()}"
    for headers in ({}, basic("alice"), basic("admin"), {"Storage-Events-Key": "wrong"}):
        answers = [await rest.get(one, headers=headers) for one in (url, root)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].content == answers[1].content
