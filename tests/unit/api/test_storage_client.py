"""What the storage is asked and how its answers are kept, at the wire of its REST."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest

from api import credentials, storage_client
from api.problems import Problem
from schemas.errors import Unavailable

ALICE = credentials.Credential("Basic " + base64.b64encode(b"alice:x").decode(), user="alice")
USER = {
    "status": "AUTHENTICATED",
    "uid": 1000,
    "gids": [1000, 2000],
    "username": "alice",
    "homeDirectory": "/home/alice",
    "rootDirectory": "/",
}
ROOT_ID, DATA_ID, FILE_ID = (f"{number:036X}" for number in (1, 2, 3))


class Storage:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/api/v1/user": USER}
        self.status = 200
        self.asked: list[httpx.Request] = []
        self.now_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        await self.gate.wait()
        path = request.url.path
        if path not in self.answers:
            return httpx.Response(404)
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(self.status, json=answer, headers={"Retry-After": "7"})

    def client(self, *, key: str = "k", cache_s: float = 30) -> storage_client.StorageClient:
        http = httpx.AsyncClient(
            base_url="http://storage", transport=httpx.MockTransport(self.__call__)
        )
        return storage_client.StorageClient(
            http, service_key=key, cache_s=cache_s, clock=lambda: self.now_s
        )


@pytest.fixture
def storage() -> Storage:
    """Give a storage."""
    return Storage()


async def test_a_user_is_asked_for_once_in_a_while(storage: Storage) -> None:
    """The answer is kept for the cache's time, for one credential at one address."""
    client = storage.client()
    for _ in range(3):
        found = await client.user(ALICE, "192.0.2.1")
    assert (found.user, found.uid, found.gids) == ("alice", 1000, (1000, 2000))
    assert len(storage.asked) == 1
    await client.user(ALICE, "192.0.2.2")
    assert len(storage.asked) == 2
    storage.now_s = 31
    await client.user(ALICE, "192.0.2.1")
    assert len(storage.asked) == 3
    request = storage.asked[0]
    assert request.headers["authorization"] == ALICE.header
    assert request.headers["x-forwarded-for"] == "192.0.2.1"
    assert request.headers["storage-events-key"] == "k"


async def test_many_at_once_ask_once(storage: Storage) -> None:
    """And one of them that gives up does not take the others' answer away."""
    client = storage.client()
    storage.gate.clear()
    waiting = [asyncio.create_task(client.user(ALICE, "a")) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()
    storage.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [getattr(one, "user", None) for one in answers[1:]] == ["alice"] * 4
    assert len(storage.asked) == 1


async def test_a_refusal_is_not_kept_and_removes_what_was(storage: Storage) -> None:
    """A new password works at once; an old one stops with the cache's time."""
    client = storage.client()
    await client.user(ALICE, "a")
    storage.now_s = 31
    storage.status = 401
    for _ in range(2):
        with pytest.raises(Problem) as refused:
            await client.user(ALICE, "a")
        assert refused.value.status == 401
    storage.status = 200
    assert (await client.user(ALICE, "a")).user == "alice"


async def test_the_anonymous_answer_is_nobody(storage: Storage) -> None:
    """dCache says 200 and ANONYMOUS."""
    storage.answers["/api/v1/user"] = {"status": "ANONYMOUS"}
    with pytest.raises(Problem) as refused:
        await storage.client().user(ALICE, "a")
    assert refused.value.status == 401


@pytest.mark.parametrize("failure", [httpx.ConnectError("x"), httpx.ReadTimeout("x")])
async def test_a_storage_that_is_away_is_unavailable(storage: Storage, failure: Exception) -> None:
    """Never a 401: the user did nothing wrong."""
    storage.answers["/api/v1/user"] = failure
    with pytest.raises(Unavailable):
        await storage.client().user(ALICE, "a")


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_storage_that_fails_is_unavailable(storage: Storage, status: int) -> None:
    """The same."""
    storage.status = status
    with pytest.raises(Unavailable):
        await storage.client().user(ALICE, "a")


async def test_a_storage_that_slows_a_guesser_down_is_passed_on(storage: Storage) -> None:
    """429 with its Retry-After."""
    storage.status = 429
    with pytest.raises(Problem) as refused:
        await storage.client().user(ALICE, "a")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "7")


async def test_no_password_is_in_the_cache(storage: Storage) -> None:
    """Its keys are keyed hashes."""
    client = storage.client()
    await client.user(ALICE, "a")
    kept = repr(vars(client)["_known"]._items)
    assert ALICE.header not in kept
    assert "alice:x" not in kept


WATCH = {
    "shard": "sim",
    "positions": {"sim": 12, "sim/b": 3},
    "path": "/data",
    "ancestors": [ROOT_ID],
    "permissions": "0:0:755 0:0:777",
    "mayWatch": True,
    "shardDepth": 1,
}


async def test_our_own_storage_tells_all_at_once(storage: Storage) -> None:
    """Place, positions and children of one instant."""
    storage.answers["/api/v1/namespace/data"] = {
        "fileType": "DIR",
        "pnfsId": DATA_ID,
        "watch": WATCH,
        "children": [{"fileName": "a", "fileType": "REGULAR", "size": 3}],
    }
    found = await storage.client().look_up(ALICE, "a", "/data", children=True, recursive=True)
    assert (found.place.shard, found.place.positions) == ("sim", {"sim": 12, "sim/b": 3})
    assert found.place.inode == bytes.fromhex(DATA_ID)
    assert found.place.ancestors == bytes.fromhex(ROOT_ID)
    assert (found.may_watch, found.place.is_directory, found.place.shard_depth) == (True, True, 1)
    assert [child.name for child in found.children] == ["a"]
    assert len(storage.asked) == 1
    assert dict(storage.asked[0].url.params) == {
        "optional": "true", "follow": "true", "children": "true", "recursive": "true"
    }  # fmt: skip


async def test_a_real_dcache_is_walked(storage: Storage) -> None:
    """Without `watch`: ancestors and permissions one by one; listing proves that one may."""
    for path, (identity, kind, mode) in {
        "": (ROOT_ID, "DIR", 0o755),
        "data": (DATA_ID, "DIR", 0o750),
        "data/f": (FILE_ID, "REGULAR", 0o640),
    }.items():
        storage.answers[f"/api/v1/namespace/{path}"] = {
            "fileType": kind, "pnfsId": identity, "owner": 1, "group": 2, "mode": mode
        }  # fmt: skip
    client = storage.client(key="")
    found = await client.look_up(ALICE, "a", "/data/f")
    assert found.place.ancestors.hex().upper() == ROOT_ID + DATA_ID
    assert found.place.permissions == "1:2:755 1:2:750 1:2:640"
    assert (found.place.shard, found.place.positions) == ("", {})
    assert "storage-events-key" not in storage.asked[0].headers
    storage.asked.clear()
    assert (await client.look_up(ALICE, "a", "/data")).may_watch
    assert storage.asked[-1].url.params["children"] == "true"


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_absent_and_forbidden_are_one(storage: Storage, status: int) -> None:
    """Whatever the storage says."""
    storage.answers["/api/v1/namespace/x"] = {}
    storage.status = status
    with pytest.raises(storage_client.NotVisible):
        await storage.client().look_up(ALICE, "a", "/x")


async def test_a_path_that_is_no_unicode_is_not_there(storage: Storage) -> None:
    """JSON can hold half a surrogate pair; no name can."""
    with pytest.raises(storage_client.NotVisible):
        await storage.client().look_up(ALICE, "a", "/\ud800")


async def test_names_are_quoted_once(storage: Storage) -> None:
    """Percent signs, question marks and hashes are parts of names."""
    with pytest.raises(storage_client.NotVisible):
        await storage.client().look_up(ALICE, "a", "/a%2F?b#c/ü")
    assert storage.asked[0].url.raw_path.startswith(b"/api/v1/namespace/a%252F%3Fb%23c/%C3%BC?")


async def test_where_an_object_is_is_asked_in_our_own_name(storage: Storage) -> None:
    """With the key and nobody's credentials; a storage that does not tell is no deletion."""
    inode = bytes.fromhex(FILE_ID)
    assert await storage.client().path_of(inode) == (False, None)
    storage.answers[f"/api/v1/id/{FILE_ID}"] = {"path": "/data/x"}
    assert await storage.client().path_of(inode) == (True, "/data/x")
    storage.answers[f"/api/v1/id/{FILE_ID}"] = {"path": None}
    assert await storage.client().path_of(inode) == (True, None)
    assert storage.asked[-1].headers[storage_client.SERVICE_KEY] == "k"
    assert "Authorization" not in storage.asked[-1].headers
    asked = len(storage.asked)
    assert await storage.client(key="").path_of(inode) == (False, None)
    assert len(storage.asked) == asked
    storage.status = 503
    with pytest.raises(Unavailable):
        await storage.client().path_of(inode)
