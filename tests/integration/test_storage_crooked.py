"""The WebDAV door, by clients that are none too polite."""

from __future__ import annotations

import base64
import contextlib
import errno
import itertools
import tracemalloc
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.processes import wait_until
from tests.integration.storage_doors import Doors, basic, kinds, open_doors, send_raw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemas.records import BillingRecord


def test_an_upload_that_breaks_off_fails(doors: Doors) -> None:
    """No close-write for half a file: UPLOAD with a status, DELETE, and nothing is there."""
    head = (
        "PUT /data/half HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        f"Authorization: {basic('alice')['Authorization']}\r\n\r\n"
    )
    send_raw(doors, head.encode() + b"x" * 400)
    found = [r for r in doors.records() if r["path"] == "/data/half"]
    assert [r["kind"] for r in found] == ["CREATE", "UPLOAD", "DELETE"]
    assert found[1]["status_code"] == errno.ECONNABORTED
    assert found[1]["transferred_bytes"] == 400


@pytest.mark.parametrize(
    "body", [b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\n", b"-1\r\n", b"5\r\nhelloXX", b""]
)
def test_a_chunked_upload_that_breaks_off_fails(doors: Doors, body: bytes) -> None:
    """The same for a body that never says its end, or says nonsense."""
    head = (
        "PUT /data/half HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: {basic('alice')['Authorization']}\r\n\r\n"
    )
    send_raw(doors, head.encode() + body)
    found = [r for r in doors.records() if r["path"] == "/data/half"]
    assert [r["kind"] for r in found] == ["CREATE", "UPLOAD", "DELETE"]
    assert found[1]["status_code"] != 0


def test_a_reader_that_goes_away_is_told(doors: Doors, alice: httpx.Client) -> None:
    """A READ has a status when the client did not take all of it."""
    alice.put("/data/big", content=bytes(30_000_000))
    with alice.stream("GET", "/data/big") as answer:
        next(answer.iter_raw())
    alice.get("/data/big", headers={"Range": "bytes=0-9"})

    def reads() -> list[BillingRecord]:
        return [r for r in doors.records() if r["kind"] == "READ"]

    assert wait_until(lambda: len(reads()) == 2, timeout_s=60)
    cut = next(r for r in reads() if r["transferred_bytes"] != 10)
    assert cut["status_code"] == errno.ECONNABORTED
    assert next(r for r in reads() if r["transferred_bytes"] == 10)["status_code"] == 0


def test_large_files_do_not_fill_the_memory(doors: Doors, alice: httpx.Client) -> None:
    """Both ways the bytes are passed on in pieces, also of one huge chunk."""

    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 20)

    tracemalloc.start()
    try:
        alice.put("/data/big", content=pieces(), headers={"Content-Length": str(64 << 20)})
        with alice.stream("GET", "/data/big") as answer:
            assert sum(len(piece) for piece in answer.iter_raw(1 << 16)) == 64 << 20
        head = (
            "PUT /data/chunk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            f"Authorization: {basic('alice')['Authorization']}\r\n\r\n"
        )
        send_raw(doors, head.encode() + b"%x\r\n" % (1 << 40) + bytes(20 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /data/../home/bob/secret HTTP/1.1", b"404"),
        ("GET /../../etc/passwd HTTP/1.1", b"400"),
        ("GET /data/%2e%2e/%2e%2e/home/bob/secret HTTP/1.1", b"400"),
        ("GET /data/%ff HTTP/1.1", b"400"),
        ("GET /data/%00 HTTP/1.1", b"404"),
        ("GET //home//bob//secret HTTP/1.1", b"404"),
        ("PUT /data/a%0d%0aSet-Cookie:x HTTP/1.1", b"400"),
        ("PUT /data/x%00y HTTP/1.1", b"400"),
        ("MKCOL /data/" + "x" * 300 + " HTTP/1.1", b"400"),
        ("GET /" + "x/" * 5000 + " HTTP/1.1", b"404"),
        ("GET /data/f?authz=a&authz=b HTTP/1.1", b"401"),
        ("BREW /data/f HTTP/1.1", b"405"),
        ("PROPFIND /data/f HTTP/1.1\r\nContent-Length: 99999999", b"413"),
        ("PUT /data/f HTTP/1.1\r\nContent-Length: -5", b"400"),
        ("PUT /data/f HTTP/1.1\r\nContent-Length: 1_0", b"400"),
        ("GET /data HTTP/1.1\r\nHost: y", b"400"),
        ("GET /data HTTP/1.0\r\nHost: y", b"400"),
        ("GET /data HTTP/0.9", b"505"),
        ("GET /data HTTP/1.1\r\nX: a\r\n folded: b", b"400"),
        ("GET /data HTTP/1.1\r\nX : a", b"400"),
        ("GET /data HTTP/1.1\r\nX\x0b: a", b"400"),
        ("GET /data HTTP/1.1\r\nX: a\x00b", b"400"),
        ("GET /data HTTP/1.1\r\nX: a\rHost: y", b"400"),
        ("GET /data HTTP/1.1\r\n: a", b"400"),
        ("GET /data HTTP/1.0\r\nTransfer-Encoding: chunked", b"400"),
        ("GET /data HTTP/1.1\r\nTransfer-Encoding: chunked, chunked", b"400"),
        ("GET /data HTTP/1.1\r\nAuthorization\x0c: Basic eDp5", b"400"),
    ],
)
def test_crooked_requests_are_refused(
    doors: Doors, bob: httpx.Client, line: str, status: bytes
) -> None:
    """Tricks with paths, names, lengths and tokens end in a plain refusal and no record."""
    bob.put("/home/bob/secret", content=b"bob's")
    before = len(doors.records())
    length = "" if "Content-Length" in line else "Content-Length: 0\r\n"
    request = (
        f"{line}\r\nHost: x\r\n{length}Connection: close\r\n"
        f"Authorization: {basic('alice')['Authorization']}\r\n\r\n"
    )
    answer = send_raw(doors, request.encode())
    assert answer.split(b" ", 2)[1] == status, answer
    assert b"Set-Cookie" not in answer
    assert b"Traceback" not in answer
    assert b"bob's" not in answer
    assert len(doors.records()) == before


def test_a_request_without_a_host_is_none(doors: Doors) -> None:
    """But for HTTP/1.0, which knows no such header."""
    login = f"Authorization: {basic('alice')['Authorization']}\r\nConnection: close\r\n\r\n"
    assert send_raw(doors, f"GET /data HTTP/1.1\r\n{login}".encode()).startswith(b"HTTP/1.1 400")
    assert send_raw(doors, f"GET /data HTTP/1.0\r\n{login}".encode()).startswith(b"HTTP/1.1 200")


def test_xml_bombs_are_refused(alice: httpx.Client) -> None:
    """Entities in a body are not expanded."""
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "'
        + "x" * 1000
        + '">'
        + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise("abcdefgh"))
        + ']><propfind xmlns="DAV:"><prop>&h;</prop></propfind>'
    )
    answer = alice.request("PROPFIND", "/data", content=bomb, headers={"Depth": "0"})
    assert answer.status_code == 400


def test_a_token_for_the_wrong_user_name_is_no_help(doors: Doors) -> None:
    """Credentials are what they are: no fallback from one to the other."""
    both = base64.b64encode(b"alice:bob-demo").decode()
    assert (
        httpx.get(f"{doors.url}/data", headers={"Authorization": f"Basic {both}"}).status_code
        == 401
    )


def put(path: str, user: str, *headers: str) -> bytes:
    """Write the head of an upload."""
    lines = [f"PUT {path} HTTP/1.1", "Host: x", *headers]
    return "\r\n".join([*lines, f"Authorization: {basic(user)['Authorization']}", "", ""]).encode()


def test_an_upload_that_is_not_wanted_is_not_asked_for(doors: Doors, bob: httpx.Client) -> None:
    """A client that waits for `100 Continue` gets the refusal instead, whatever the size."""
    bob.put("/data/f", content=b"bob's")
    refused = send_raw(
        doors,
        put("/data/f", "alice", f"Content-Length: {1 << 40}", "Expect: 100-continue"),
        close=False,
    )
    assert refused.startswith(b"HTTP/1.1 403")
    assert b"100 Continue" not in refused
    wanted = send_raw(
        doors, put("/data/g", "alice", "Content-Length: 1", "Expect: 100-continue") + b"x"
    )
    assert wanted.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")


def test_what_is_left_of_a_refused_body_is_no_request(doors: Doors, bob: httpx.Client) -> None:
    """Neither behind a length nor behind chunks is a second request smuggled in."""
    bob.put("/data/f", content=b"bob's")
    smuggled = put("/data/smuggled", "alice", "Content-Length: 0")
    long = bytes(20 << 20)
    for request in (
        put("/data/f", "alice", f"Content-Length: {len(smuggled)}") + smuggled,
        put("/data/f", "alice", f"Content-Length: {len(long)}") + long + smuggled,
        put("/data/f", "alice", "Transfer-Encoding: chunked") + b"%x\r\n" % len(long) + long,
        put("/data/f", "alice", "Transfer-Encoding: chunked") + b"zz\r\n" + smuggled,
        put("/data/h", "alice", "Transfer-Encoding: chunked", "Content-Length: 5")
        + b"0\r\n\r\n"
        + smuggled,
        put("/data/h", "alice", "Content-Length: 5", "Content-Length: 0") + smuggled,
        put("/data/h", "alice", "Content-Length: -1") + smuggled,
        put("/data/f", "alice", f"Content-Length: {len(smuggled)}", "Content-Length\x0b: 0")
        + smuggled,
        put("/data/f", "alice", f"Content-Length: {len(smuggled)}\r\n 0") + smuggled,
        put("/data/f", "alice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n"
        + smuggled,
    ):
        with contextlib.suppress(ConnectionError):
            answer = send_raw(doors, request)
            assert answer.count(b"HTTP/1.1 ") <= 1
    assert not any("smuggled" in record["path"] for record in doors.records())


def test_a_refused_body_does_not_fill_the_memory(doors: Doors, bob: httpx.Client) -> None:
    """What comes after a refusal is read in pieces, up to a bound."""
    bob.put("/data/f", content=b"bob's")
    tracemalloc.start()
    try:
        with contextlib.suppress(ConnectionError):
            send_raw(doors, put("/data/f", "alice", f"Content-Length: {1 << 30}"), close=False)
        with contextlib.suppress(ConnectionError):
            body = bytes(10 << 20)
            answer = send_raw(doors, put("/data/f", "alice", f"Content-Length: {10 << 20}") + body)
            assert answer.startswith(b"HTTP/1.1 403")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20


def test_an_upload_that_is_too_large_does_not_begin(tmp_path: Path) -> None:
    """413 before anything is made; of unknown length it fails when it is too much."""
    with open_doors(tmp_path / "limited", max_upload_bytes=1000) as doors:
        before = len(doors.records())
        with httpx.Client(base_url=doors.url, headers=basic("alice")) as client:
            assert client.put("/data/f", content=bytes(1001)).status_code == 413
            assert len(doors.records()) == before
            pieces = iter([bytes(800), bytes(800)])
            assert client.put("/data/f", content=pieces).status_code == 413
            assert kinds(doors.records(), "/data/f") == ["CREATE", "UPLOAD", "DELETE"]
            assert client.put("/data/f", content=bytes(1000)).status_code == 201
