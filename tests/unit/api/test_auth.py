"""From a credential to a caller, and what delivery asks later."""

from __future__ import annotations

import asyncio

import pytest

from api import credentials, gatekeeping
from api.auth import Authenticator, Caller
from api.problems import Problem
from pipeline.authz import macaroons
from schemas.errors import Unavailable
from tests.unit.api.test_edge import _limits
from tests.unit.api.test_storage_client import ALICE, DATA_ID, WATCH, Storage


@pytest.fixture
def storage() -> Storage:
    """Give a storage."""
    return Storage()


def _authenticator(storage: Storage, now_s: float = 0) -> Authenticator:
    return Authenticator(storage.client(), _limits(), now=lambda: now_s)


def _bearer(*caveats: str) -> credentials.Credential:
    token = macaroons.mint(b"k" * 32, "i", "/", ["id:1000;1000;alice", *caveats])
    return credentials.Credential(f"Bearer {token}", token=token)


async def test_a_tokens_end_and_addresses_are_looked_at_every_time(storage: Storage) -> None:
    """A cached answer outlives neither."""
    token = _bearer("before:2001-09-09T01:46:40Z", "ip:192.0.2.0/24")
    assert (await _authenticator(storage, 999_999_999).identify(token, "192.0.2.9")).uid == 1000
    for now_s, address in ((1_000_000_000, "192.0.2.9"), (999_999_999, "198.51.100.1")):
        with pytest.raises(Problem) as refused:
            await _authenticator(storage, now_s).identify(token, address)
        assert refused.value.status == 401


async def test_delivery_learns_that_a_reader_is_no_longer_known(storage: Storage) -> None:
    """None, not an error; an outage is an error."""
    authenticator = _authenticator(storage)
    gatekeeper = gatekeeping.StorageGatekeeper(authenticator, storage.client(cache_s=0))
    caller = Caller(await authenticator.identify(ALICE, "a"), ALICE, "a", "http://h")
    assert await gatekeeper.principal(caller, fresh_s=9) == caller.principal
    storage.now_s = 31
    storage.status = 401
    assert await gatekeeper.principal(caller, fresh_s=9) is None
    storage.status = 503
    with pytest.raises(Unavailable):
        await gatekeeper.principal(caller, fresh_s=9)


async def test_guessing_keeps_no_withdrawn_reader_in(storage: Storage) -> None:
    """Neither our limit nor the storage's answers for the user; nor does it shut out others."""
    authenticator = _authenticator(storage)
    gatekeeper = gatekeeping.StorageGatekeeper(authenticator, storage.client(cache_s=0))
    caller = Caller(await authenticator.identify(ALICE, "a"), ALICE, "a", "http://h")
    for _ in range(20):
        authenticator._limits.wrong_passwords.failed("a", ALICE.user)
    assert await gatekeeper.principal(caller, fresh_s=0) == caller.principal
    storage.status = 429
    assert await gatekeeper.principal(caller, fresh_s=0) is None


async def test_delivery_asks_below_the_readers_root(storage: Storage) -> None:
    """A storage path is what the user calls it, or is not theirs at all."""
    token = _bearer("root:/data")
    storage.answers["/api/v1/namespace/x"] = {
        "fileType": "DIR", "pnfsId": DATA_ID, "watch": {**WATCH, "path": "/data/x"}
    }  # fmt: skip
    authenticator = _authenticator(storage)
    gatekeeper = gatekeeping.StorageGatekeeper(authenticator, storage.client())
    caller = Caller(await authenticator.identify(token, "a"), token, "a", "http://h")
    found = await gatekeeper.place(caller, "/data/x", follow=True)
    assert found is not None
    assert found.path == "/data/x"
    assert await gatekeeper.place(caller, "/home", follow=True) is None
    assert await gatekeeper.place(caller, "/database", follow=True) is None


@pytest.mark.parametrize(
    ("caveats", "path", "is_directory", "allowed"),
    [
        ((), "/data", True, True),
        (("activity:LIST",), "/data", True, True),
        (("activity:DOWNLOAD",), "/data", True, False),
        (("activity:DOWNLOAD",), "/data/f", False, True),
        (("activity:LIST",), "/data/f", False, False),
        (("path:/data",), "/data/x", True, True),
        (("path:/data",), "/home", True, False),
        (("activity:UPLOAD",), "/data", True, False),
    ],
)
async def test_a_token_must_leave_what_watching_needs(
    storage: Storage, caveats: tuple[str, ...], path: str, *, is_directory: bool, allowed: bool
) -> None:
    """LIST for directories, DOWNLOAD for files, and the path."""
    storage.answers["/api/v1/namespace/p"] = {
        "fileType": "DIR" if is_directory else "REGULAR",
        "pnfsId": DATA_ID,
        "watch": {**WATCH, "path": path},
    }
    token = _bearer(*caveats)
    principal = await _authenticator(storage).identify(token, "a")
    found = await storage.client().look_up(token, "a", "/p")
    assert gatekeeping.may_watch(found, principal) is allowed


async def test_guesses_made_at_once_do_not_slip_through(storage: Storage) -> None:
    """So many are asked about as may fail; one password asked for often is one."""
    authenticator = _authenticator(storage)
    free = authenticator._limits.wrong_passwords._free
    storage.status = 401

    async def guess(number: int) -> int:
        header = f"Basic {number}"
        with pytest.raises(Problem) as refused:
            await authenticator.identify(credentials.Credential(header, user="alice"), "a")
        return refused.value.status

    answers = await asyncio.gather(*(guess(number) for number in range(20)))
    assert sorted(answers) == [401] * free + [429] * (20 - free)
    storage.status = 200
    fresh = _authenticator(storage)
    assert len(await asyncio.gather(*(fresh.identify(ALICE, "b") for _ in range(20)))) == 20


async def test_tokens_that_have_ended_slow_nobody_down(storage: Storage) -> None:
    """A client that tries its old one again and again may share its address with others."""
    authenticator = _authenticator(storage)
    storage.status = 401
    for _ in range(100):
        with pytest.raises(Problem) as refused:
            await authenticator.identify(_bearer(), "a")
        assert refused.value.status == 401
    storage.status = 200
    assert (await authenticator.identify(_bearer(), "a")).uid == 1000
    assert (await authenticator.identify(ALICE, "a")).uid == 1000
