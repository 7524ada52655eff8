"""The WebDAV door: statuses, headers, who may what."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx
import pytest

from pipeline.authz.principal import Principal
from schemas.errors import Unavailable
from tests.integration.storage_doors import Doors, basic, kinds, send_raw

ALICE = Principal("alice", 1001, (1001, 2000))


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


def test_what_was_made_is_said_in_a_word(alice: httpx.Client, doors: Doors) -> None:
    """No page with the door's version and its clock."""
    made = [
        alice.put("/data/f", content=b"x"),
        alice.request("MKCOL", "/data/d"),
        alice.request("COPY", "/data/f", headers={"Destination": f"{doors.url}/data/g"}),
    ]
    assert [(answer.status_code, answer.content) for answer in made] == [(201, b"")] * 3
    assert made[0].headers["ETag"] == alice.head("/data/f").headers["ETag"]
    refused = alice.request("MOVE", "/data/exp", headers={"Destination": f"{doors.url}/data/x"})
    assert (refused.status_code, refused.text) == (403, "403 Forbidden\n")


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


def test_a_directory_is_a_page(doors: Doors, alice: httpx.Client) -> None:
    """Names are text in it, not markup and not schemes; who may not list it gets none."""
    for name in ("<img src=x onerror=alert(1)>", "javascript:alert(1)", "ü"):
        alice.put(f"/data/exp/{quote(name)}", content=b"x")
    answer = alice.get("/data/exp/")
    assert answer.status_code == 200
    assert "<img" not in answer.text
    assert '"./javascript%3Aalert%281%29"' in answer.text
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert alice.head("/data/exp/").headers["Content-Length"] == str(len(answer.content))
    refused = httpx.get(f"{doors.url}/data/exp/", headers=basic("bob"))
    assert refused.status_code == 403
    assert "img" not in refused.text


def test_a_storage_that_cannot_be_written_says_so(
    doors: Doors, alice: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, not a bug's 500."""

    def full(_work: object) -> None:
        raise Unavailable("the namespace cannot be written: disk full")

    monkeypatch.setattr(doors.storage.database, "write", full)
    answers = [
        alice.put("/data/f", content=b"x"),
        alice.request("MKCOL", "/data/d"),
        alice.delete("/home/alice"),
    ]
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all(answer.headers["Retry-After"] for answer in answers[:2])


@pytest.mark.parametrize("name", ["a;b", "a?b", "a#b", "a%3Fb", "a b"])
@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_a_destination_with_such_a_name_is_that_name(
    alice: httpx.Client, doors: Doors, method: str, name: str
) -> None:
    """An encoded `;` or `?` does not end the name: `a` would be overwritten."""
    alice.put("/data/a", content=b"precious")
    alice.put("/data/f", content=b"new")
    target = f"/data/{quote(name)}"

    done = alice.request(method, "/data/f", headers={"Destination": doors.url + target})

    assert done.status_code == 201
    assert alice.get(target).content == b"new"
    assert alice.get("/data/a").content == b"precious"


@pytest.mark.parametrize("method", ["MOVE", "COPY"])
@pytest.mark.parametrize("source", ["/data/d/e", "/data/d/f", "/data/d/link", "/data/alias/f"])
def test_nothing_replaces_what_it_is_in(
    alice: httpx.Client, doors: Doors, method: str, source: str
) -> None:
    """Whatever path leads there; nothing is lost."""
    for directory in ("/data/d", "/data/d/e", "/data/other"):
        assert alice.request("MKCOL", directory).status_code == 201
    alice.put("/data/d/e/deep", content=b"precious")
    alice.put("/data/d/f", content=b"precious")
    who = ALICE
    doors.storage.symlink(who, "/data/other", "/data/d/link")
    doors.storage.symlink(who, "/data/d", "/data/alias")

    done = alice.request(method, source, headers={"Destination": f"{doors.url}/data/d"})

    assert done.status_code == 403
    assert alice.get("/data/d/e/deep").content == b"precious"
    assert alice.get("/data/d/f").content == b"precious"


def test_a_move_that_is_refused_removes_nothing(
    alice: httpx.Client, bob: httpx.Client, doors: Doors
) -> None:
    """What may not be moved does not cost the directory that it was to replace."""
    assert alice.request("MKCOL", "/data/hers").status_code == 201
    assert bob.request("MKCOL", "/data/his").status_code == 201
    bob.put("/data/his/f", content=b"precious")

    done = bob.request("MOVE", "/data/hers", headers={"Destination": f"{doors.url}/data/his"})

    assert done.status_code == 403
    assert bob.get("/data/his/f").content == b"precious"


@pytest.mark.parametrize("source", ["/data/hers", "/data/file"])
def test_a_copy_of_what_may_not_be_read_removes_nothing(
    alice: httpx.Client, bob: httpx.Client, doors: Doors, source: str
) -> None:
    """The directory that was to be replaced stays."""
    assert alice.request("MKCOL", "/data/hers").status_code == 201
    alice.put("/data/file", content=b"secret")
    doors.storage.chmod(ALICE, "/data/hers", 0o711)
    doors.storage.chmod(ALICE, "/data/file", 0o600)
    assert bob.request("MKCOL", "/data/his").status_code == 201
    bob.put("/data/his/f", content=b"precious")

    done = bob.request("COPY", source, headers={"Destination": f"{doors.url}/data/his"})

    assert done.status_code == 403
    assert bob.get("/data/his/f").content == b"precious"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE", "COPY"])
def test_the_root_stays(alice: httpx.Client, doors: Doors, method: str) -> None:
    """Not an internal error."""
    done = alice.request(method, "/", headers={"Destination": f"{doors.url}/data/x"})
    assert done.status_code == 403
