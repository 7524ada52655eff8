"""Locks at the WebDAV door: who may have one, whom it holds up, what it tells."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pipeline.authz import macaroons
from pipeline.authz.principal import Principal
from storage_sim import macaroon_login
from storage_sim.core import SYSTEM
from storage_sim.doors import locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.integration.storage_doors import Doors

BOB = Principal("bob", 1002, (1002,))
BODY = (
    '<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><{}/></lockscope>'
    "<locktype><write/></locktype></lockinfo>"
)


@pytest.fixture
def doors(doors: Doors) -> Doors:
    """Give a storage with open doors; in `/data/a`, which is alice's, bob has a closed one."""
    storage = doors.storage
    storage.mkdir(SYSTEM, "/data/a")
    storage.chown(SYSTEM, "/data/a", uid=1001, gid=1001)
    storage.mkdir(SYSTEM, "/data/a/hid")
    storage.chown(SYSTEM, "/data/a/hid", uid=1002, gid=1002)
    storage.chmod(SYSTEM, "/data/a/hid", 0o700)
    storage.write(BOB, "/data/a/hid/secret", b"")
    return doors


def lock(
    client: httpx.Client, path: str, depth: str = "0", scope: str = "exclusive"
) -> httpx.Response:
    """Ask for a lock."""
    return client.request("LOCK", path, content=BODY.format(scope), headers={"Depth": depth})


@pytest.mark.parametrize("is_locked", [False, True])
def test_locks_in_closed_directories_are_told_to_nobody(
    alice: httpx.Client, bob: httpx.Client, doors: Doors, *, is_locked: bool
) -> None:
    """The same answers whether something is locked there or not, and no name."""
    if is_locked:
        assert lock(bob, "/data/a/hid/secret").status_code == 200
    asked = [
        lock(alice, "/data/a", "infinity"),
        lock(alice, "/data", "infinity"),
        alice.delete("/data/a"),
        alice.request("MOVE", "/data/a", headers={"Destination": f"{doors.url}/data/b"}),
        alice.delete("/data/b"),
    ]
    assert [answer.status_code for answer in asked] == [403, 403, 403, 201, 403]
    assert not any("secret" in answer.text for answer in asked)


def test_an_upload_into_a_closed_directory_is_told_to_nobody(
    alice: httpx.Client, bob: httpx.Client
) -> None:
    """Not even while it runs."""
    answers = []

    def body() -> Iterator[bytes]:
        yield b"x"
        answers.append(lock(alice, "/data/a", "infinity"))
        yield b"y"

    headers = {"Content-Length": "2"}
    assert bob.put("/data/a/hid/upload", content=body(), headers=headers).status_code == 201
    assert answers[0].status_code == 403
    assert "upload" not in answers[0].text


def test_who_may_not_write_may_not_lock(
    alice: httpx.Client, bob: httpx.Client, doors: Doors
) -> None:
    """Neither a file of others, nor a directory where everybody writes."""
    bob.put("/data/his", content=b"1")
    for path, depth in (("/data/his", "0"), ("/data", "0"), ("/data", "infinity"), ("/", "0")):
        assert lock(alice, path, depth).status_code == 403, path
    assert bob.put("/data/his", content=b"2").status_code == 204
    alice.put("/data/hers", content=b"1")
    assert lock(alice, "/data/hers").status_code == 200
    assert alice.put("/data/hers", content=b"2").status_code == 423
    assert doors.storage.read(SYSTEM, "/data/hers") == b"1"


def test_a_token_to_read_with_locks_nothing(doors: Doors, tmp_path: Path) -> None:
    """Whatever its user may."""
    keys = {"k": b"k" * 32}
    token = macaroons.mint(
        keys["k"], "k", "/", ["id:1001;1001;alice", "activity:LIST,DOWNLOAD,READ_METADATA"]
    )
    who = macaroon_login.principal(token, keys.get, now_s=time.time())
    doors.storage.write(SYSTEM, "/data/a/f", b"")
    doors.storage.chown(SYSTEM, "/data/a/f", uid=1001, gid=1001)
    assert not locks.may_lock(doors.storage, who, "/data/a/f", is_deep=False)
    assert not locks.may_lock(doors.storage, who, "/data/a", is_deep=False)
    unrestricted = Principal("alice", 1001, (1001,))
    assert locks.may_lock(doors.storage, unrestricted, "/data/a/f", is_deep=False)
    assert locks.may_lock(doors.storage, unrestricted, "/data/a", is_deep=False)


def test_a_lock_is_kept_alive_by_its_owner_alone(
    alice: httpx.Client, bob: httpx.Client, doors: Doors
) -> None:
    """Who reads its token may not refresh it, however they ask."""
    doors.storage.mkdir(SYSTEM, "/data/both", mode=0o777)
    alice.put("/data/both/f", content=b"")
    doors.storage.chmod(SYSTEM, "/data/both/f", 0o666)
    token = lock(alice, "/data/both/f").headers["Lock-Token"]
    refresh = {"If": f"({token})"}
    assert bob.request("LOCK", "/data/both/f", headers=refresh).status_code == 412
    etag = bob.head("/data/both/f").headers["ETag"]
    around = {"If": f"({token}) ([{etag}])"}
    assert bob.request("LOCK", "/data/both/f", headers=around).status_code == 403
    assert alice.request("LOCK", "/data/both/f", headers=refresh).status_code == 200


def test_a_lock_ends_with_its_object(alice: httpx.Client, bob: httpx.Client, doors: Doors) -> None:
    """Also if another door removed it: its name is free, and tells nothing of what had it."""
    doors.storage.mkdir(SYSTEM, "/data/both", mode=0o777)
    bob.put("/data/both/f", content=b"")
    bob.request("MKCOL", "/data/both/d")
    for path in ("/data/both/f", "/data/both/d"):
        assert lock(bob, path, "infinity").status_code == 200
    doors.storage.delete(SYSTEM, "/data/both/f")
    doors.storage.rename(SYSTEM, "/data/both/d", "/data/both/e")
    doors.storage.mkdir(SYSTEM, "/data/both/d", mode=0o777)
    assert alice.put("/data/both/f", content=b"hers").status_code == 201
    assert alice.put("/data/both/d/f", content=b"hers").status_code == 201
    assert lock(alice, "/data/both", "infinity").status_code == 200


def test_a_user_has_so_many_locks(
    alice: httpx.Client, bob: httpx.Client, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept in memory."""
    monkeypatch.setattr(locks, "PER_USER", 3)
    doors.storage.mkdir(SYSTEM, "/data/both", mode=0o777)
    doors.storage.write(SYSTEM, "/data/both/f", b"")
    doors.storage.chmod(SYSTEM, "/data/both/f", 0o666)
    answers = [lock(alice, "/data/both/f", scope="shared") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "locks-per-user" in answers[3].text
    assert lock(bob, "/data/both/f", scope="shared").status_code == 200
