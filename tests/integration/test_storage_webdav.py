"""The WebDAV door, by its real clients and by none too polite ones."""

from __future__ import annotations

import base64
import errno
import itertools
import os
import re
import socket
import subprocess
import tracemalloc
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.storage_doors import Doors, basic, open_doors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemas.records import BillingRecord


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    """Give a storage with open doors."""
    with open_doors(tmp_path / "storage") as doors:
        yield doors


@pytest.fixture
def alice(doors: Doors) -> Iterator[httpx.Client]:
    """Give alice's client."""
    with httpx.Client(base_url=doors.url, headers=basic("alice")) as client:
        yield client


@pytest.fixture
def bob(doors: Doors) -> Iterator[httpx.Client]:
    """Give bob's client."""
    with httpx.Client(base_url=doors.url, headers=basic("bob")) as client:
        yield client


def run(*command: str, folder: Path, stdin: str = "") -> str:
    """Run an outside client; return what it said."""
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def send_raw(doors: Doors, request: bytes, *, close: bool = True) -> bytes:
    """Send bytes, stop sending, and return the answer."""
    host, _, port = doors.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def kinds(records: list[BillingRecord], path: str) -> list[str]:
    """Return what was told of a path."""
    return [record["kind"] for record in records if record["path"] == path]


def test_litmus(doors: Doors, tmp_path: Path) -> None:
    """WebDAV's test suite passes whole: basic, copymove, props, locks, http."""
    said = run("litmus", f"{doors.url}/home/alice/", "alice", "alice-demo", folder=tmp_path)
    summaries = [line for line in said.splitlines() if "tests run" in line]
    assert len(summaries) == 5
    assert all("0 failed" in line for line in summaries), said


def test_rclone(doors: Doors, tmp_path: Path) -> None:
    """A tree goes up, is listed, compared and comes down again; a move is one rename."""
    up, down = tmp_path / "up", tmp_path / "down"
    (up / "d é").mkdir(parents=True)
    (up / "d é" / "f.bin").write_bytes(os.urandom(300_000))
    (up / "empty").write_bytes(b"")
    obscured = run("rclone", "obscure", "alice-demo", folder=tmp_path).strip()
    config = tmp_path / "rclone.conf"
    config.write_text(
        f"[dav]\ntype = webdav\nurl = {doors.url}\nvendor = other\nuser = alice\n"
        f"pass = {obscured}\n"
    )

    def rclone(*command: str) -> str:
        return run("rclone", "--config", str(config), *command, folder=tmp_path)

    rclone("copy", str(up), "dav:/data/exp/up")
    assert "d é/f.bin" in rclone("lsf", "-R", "dav:/data/exp/up")
    rclone("check", "--download", str(up), "dav:/data/exp/up")
    rclone("moveto", "dav:/data/exp/up/empty", "dav:/data/exp/up/moved")
    rclone("copy", "dav:/data/exp/up", str(down))
    assert (down / "d é" / "f.bin").read_bytes() == (up / "d é" / "f.bin").read_bytes()
    rclone("purge", "dav:/data/exp/up")
    records = doors.records()
    assert kinds(records, "/data/exp/up/moved")[0] == "RENAME"
    assert kinds(records, "/data/exp/up/d é/f.bin")[-1] == "DELETE"
    assert kinds(records, "/data/exp/up") == ["MKDIR", "RMDIR"]


def test_cadaver(doors: Doors, tmp_path: Path) -> None:
    """The old command line client works."""
    (tmp_path / "f.txt").write_text("by cadaver\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password alice-demo\n")
    (tmp_path / ".netrc").chmod(0o600)
    script = (
        "mkcol d\nput f.txt\nmove f.txt d/g.txt\nget d/g.txt got.txt\nls d\ndelete d/g.txt\n"
        "rmcol d\nquit\n"
    )
    done = subprocess.run(
        ["cadaver", f"{doors.url}/home/alice/"],
        cwd=tmp_path,
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "got.txt").read_text() == "by cadaver\n"
    told = [r["kind"] for r in doors.records() if r["path"].startswith("/home/alice/")]
    assert told == ["MKDIR", "CREATE", "UPLOAD", "RENAME", "READ", "DELETE", "RMDIR"]


def test_curl_streams_a_body_of_unknown_length(doors: Doors, tmp_path: Path) -> None:
    """A chunked upload is an upload like any other."""
    said = run(
        "curl", "-s", "-u", "alice:alice-demo", "-T", "-", "-w", "%{http_code}",
        "-H", "Transfer-Encoding: chunked", f"{doors.url}/data/exp/chunked",
        folder=tmp_path, stdin="x" * 200_000,
    )  # fmt: skip
    assert said.endswith("201")
    record = doors.records()[-1]
    assert (record["kind"], record["size_bytes"]) == ("UPLOAD", 200_000)


def test_put_get_and_their_headers(alice: httpx.Client) -> None:
    """201 for a new file, 204 over an old one, ranges, ETags that change with the content."""
    first = alice.put("/data/f", content=b"0123456789")
    assert first.status_code == 201
    got = alice.get("/data/f")
    assert (got.status_code, got.content) == (200, b"0123456789")
    assert got.headers["Content-Length"] == "10"
    assert got.headers["ETag"] == first.headers["ETag"]
    part = alice.get("/data/f", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert alice.get("/data/f", headers={"Range": "bytes=50-"}).status_code == 416
    assert alice.get("/data/f", headers={"If-None-Match": got.headers["ETag"]}).status_code == 304
    again = alice.put("/data/f", content=b"other")
    assert again.status_code == 204
    assert again.headers["ETag"] != got.headers["ETag"]
    old = alice.put("/data/f", content=b"x", headers={"If-Match": got.headers["ETag"]})
    assert old.status_code == 412
    assert alice.head("/data/f").headers["Content-Length"] == "5"


def test_what_a_user_may_not(doors: Doors, alice: httpx.Client, bob: httpx.Client) -> None:
    """401 without a password, 404 for what is hidden, 403 for what is seen but not theirs."""
    alice.put("/data/exp/f", content=b"x")
    alice.put("/data/g", content=b"x")
    anonymous = httpx.get(f"{doors.url}/data/g")
    assert anonymous.status_code == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Basic")
    quiet = httpx.get(f"{doors.url}/data/g", headers={"Suppress-WWW-Authenticate": "x"})
    assert "WWW-Authenticate" not in quiet.headers
    hidden, absent = bob.get("/data/exp/f"), bob.get("/data/exp/none")
    assert hidden.status_code == absent.status_code == 404
    assert bob.put("/data/exp/h", content=b"").status_code == 404
    assert bob.put("/data/none/h", content=b"").status_code == 409
    assert bob.put("/data/g", content=b"").status_code == 403
    assert bob.delete("/data/g").status_code == 403
    assert bob.request("MKCOL", "/home/d").status_code == 403
    wrong = httpx.get(f"{doors.url}/data/g", auth=("alice", "wrong"))
    assert wrong.status_code == 401
    told = [r["user"] for r in doors.records() if r["user"] not in ("system", "alice")]
    assert told == []


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
    reads: list[BillingRecord] = []
    for _ in range(1000):
        reads = [r for r in doors.records() if r["kind"] == "READ"]
        if len(reads) == 2:
            break
    cut = next(r for r in reads if r["transferred_bytes"] != 10)
    assert cut["status_code"] == errno.ECONNABORTED
    assert next(r for r in reads if r["transferred_bytes"] == 10)["status_code"] == 0


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


def test_a_symlink_is_moved_and_deleted_itself(doors: Doors, alice: httpx.Client) -> None:
    """What it leads to stays."""
    from storage_sim.core import SYSTEM

    alice.request("MKCOL", "/data/exp/d")
    alice.put("/data/exp/d/f", content=b"kept")
    doors.storage.symlink(SYSTEM, "/data/exp/d", "/data/exp/l")
    doors.storage.chown(SYSTEM, "/data/exp", uid=1001)
    assert alice.get("/data/exp/l/f").content == b"kept"
    moved = alice.request(
        "MOVE", "/data/exp/l", headers={"Destination": f"{doors.url}/data/exp/m"}
    )
    assert moved.status_code == 201
    assert alice.delete("/data/exp/m").status_code == 204
    assert alice.get("/data/exp/d/f").content == b"kept"
    assert kinds(doors.records(), "/data/exp/m") == ["RENAME", "DELETE"]


def test_moves(doors: Doors, alice: httpx.Client) -> None:
    """A move over a file is one rename; Overwrite: F refuses; a directory keeps its inode."""
    alice.put("/data/exp/a", content=b"a")
    alice.put("/data/exp/b", content=b"b")
    to_b = {"Destination": f"{doors.url}/data/exp/b"}
    refused = alice.request("MOVE", "/data/exp/a", headers={**to_b, "Overwrite": "F"})
    assert refused.status_code == 412
    assert alice.request("MOVE", "/data/exp/a", headers=to_b).status_code == 204
    assert alice.get("/data/exp/b").content == b"a"
    renamed = [r for r in doors.records() if r["kind"] == "RENAME"]
    assert len(renamed) == 1
    assert renamed[0]["overwritten"] is not None


def test_properties_are_kept_with_the_file(doors: Doors, alice: httpx.Client) -> None:
    """A dead property follows its file through a rename, and is told as a change of xattr."""
    alice.put("/data/f", content=b"x")
    body = (
        '<?xml version="1.0"?><propertyupdate xmlns="DAV:" xmlns:z="urn:z"><set><prop>'
        "<z:colour>blue</z:colour></prop></set></propertyupdate>"
    )
    assert alice.request("PROPPATCH", "/data/f", content=body).status_code == 207
    alice.request("MOVE", "/data/f", headers={"Destination": f"{doors.url}/data/g"})
    found = alice.request("PROPFIND", "/data/g", headers={"Depth": "0"})
    assert "blue" in found.text
    assert "SETATTR" in kinds(doors.records(), "/data/f")


def test_listing_deeply_shows_what_may_be_seen(doors: Doors, alice: httpx.Client) -> None:
    """Depth: infinity is one look at all below, each directory by the rights of who looks."""
    alice.put("/data/exp/f", content=b"")
    seen = {}
    for user in ("alice", "bob"):
        answer = httpx.request(
            "PROPFIND", f"{doors.url}/data", headers={**basic(user), "Depth": "infinity"}
        )
        assert answer.status_code == 207
        seen[user] = re.findall("href>([^<]+)<", answer.text)
    assert seen == {
        "alice": ["/data/", "/data/exp/", "/data/exp/f"],
        "bob": ["/data/", "/data/exp/"],
    }


def test_slashes_and_absolute_targets(doors: Doors, alice: httpx.Client) -> None:
    """`//data//f` and `http://host/data/f` are `/data/f`, as grid clients and RFC 9112 have it."""
    alice.put("/data/f", content=b"found")
    for target in ("//data//f", f"{doors.url}/data/f", f"{doors.url}//data/f"):
        request = (
            f"GET {target} HTTP/1.1\r\nHost: {doors.host}\r\nConnection: close\r\n"
            f"Authorization: {basic('alice')['Authorization']}\r\n\r\n"
        )
        assert send_raw(doors, request.encode()).endswith(b"found")


def test_a_token_for_the_wrong_user_name_is_no_help(doors: Doors) -> None:
    """Credentials are what they are: no fallback from one to the other."""
    both = base64.b64encode(b"alice:bob-demo").decode()
    assert (
        httpx.get(f"{doors.url}/data", headers={"Authorization": f"Basic {both}"}).status_code
        == 401
    )
