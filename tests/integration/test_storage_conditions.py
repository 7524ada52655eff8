"""Conditional requests at the WebDAV door, also of several clients at once."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import pytest

from pipeline.authz.principal import Principal
from tests.integration.storage_doors import Doors, basic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

ALICE = Principal("alice", 1001, (1001, 2000))


def test_conditions_hold_at_the_door(alice: httpx.Client, doors: Doors) -> None:
    """Also for what is not there; and a 304 has its tag."""
    assert alice.put("/data/f", content=b"x", headers={"If-Match": '"x"'}).status_code == 412
    assert alice.put("/data/f", content=b"x", headers={"If-None-Match": "*"}).status_code == 201
    assert alice.put("/data/f", content=b"y", headers={"If-None-Match": "*"}).status_code == 412
    with doors.storage.upload(ALICE, "/data/g"):
        made = alice.put("/data/g", content=b"y", headers={"If-None-Match": "*"})
    assert made.status_code == 412
    got = alice.get("/data/f")
    same = alice.get("/data/f", headers={"If-Modified-Since": got.headers["Last-Modified"]})
    assert (same.status_code, same.headers["ETag"]) == (304, got.headers["ETag"])
    both = alice.get("/data/f", headers={"Range": "bytes=0-0,2-2"})
    assert (both.status_code, both.content) == (200, b"x")


@pytest.mark.parametrize("condition", ["If-Match: {etag}", "If-Unmodified-Since: {modified}"])
def test_of_two_conditional_uploads_at_once_one_wins(
    alice: httpx.Client, doors: Doors, condition: str
) -> None:
    """The condition held for both when they began; it holds for the first that ends."""
    alice.put("/data/f", content=b"old", headers={"X-OC-Mtime": "1000000000"})
    there = alice.head("/data/f").headers
    line = condition.format(etag=there["ETag"], modified=there["Last-Modified"])
    with _began(doors, line) as first, _began(doors, line) as second:
        assert _ended(first, b"first").startswith(b"HTTP/1.1 204")
        changed = alice.head("/data/f").headers["ETag"]
        before = len(doors.records())
        assert _ended(second, b"other").startswith(b"HTTP/1.1 412")
        told = doors.records()[before:]
    assert alice.get("/data/f").content == b"first"
    assert alice.head("/data/f").headers["ETag"] == changed
    assert [(record["kind"], record["status_code"]) for record in told] == [
        ("UPLOAD", errno.ESTALE)
    ]


def test_what_was_made_meanwhile_is_not_replaced(alice: httpx.Client, doors: Doors) -> None:
    """`If-None-Match: *` made the file, and somebody else filled it."""
    with _began(doors, "If-None-Match: *") as upload:
        assert alice.put("/data/f", content=b"theirs").status_code == 204
        assert _ended(upload, b"first").startswith(b"HTTP/1.1 412")
    assert alice.get("/data/f").content == b"theirs"


@contextlib.contextmanager
def _began(doors: Doors, condition: str) -> Iterator[socket.socket]:
    """Begin an upload of five bytes to /data/f; the storage knows of it."""
    head = f"PUT /data/f HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n{condition}\r\n"
    login = f"Authorization: {basic('alice')['Authorization']}\r\nExpect: 100-continue\r\n\r\n"
    host, _, port = doors.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall((head + login).encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield connection


def _ended(connection: socket.socket, body: bytes) -> bytes:
    connection.sendall(body)
    return connection.recv(65536)
