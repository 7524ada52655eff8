"""A trigger's URLs at a real door: good for their one path and activity, and for nothing else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx
import pytest

from pipeline.rules import patterns
from pipeline.rules.storages import Storage
from pipeline.signed_urls import SignedUrls, address
from tests.sites import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

READ, WRITE = ("DOWNLOAD",), ("UPLOAD",)
LIFETIME_S = 900.0
PATHS = ("/data/a.txt", "/data/b.txt", "/data/a.txt2", "/data/deep/er/c d.txt", "/data/å.txt")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    opened = Site(tmp_path_factory.mktemp("site"), "sim")
    yield opened
    opened.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as opened:
        yield opened


@pytest.fixture
def signed(site: Site, client: httpx.AsyncClient) -> SignedUrls:
    site.begin()
    for directory in ("/data/deep", "/data/deep/er"):
        site.ask("MKCOL", directory)
    for path in PATHS:
        site.put(path, b"old")
    return SignedUrls(Storage(site.url, "alice", "alice-demo"), client)


async def test_each_url_does_what_it_is_for(
    site: Site, signed: SignedUrls, client: httpx.AsyncClient
) -> None:
    for path in PATHS:
        assert (
            await client.get(await signed.url(READ, path, lifetime_s=LIFETIME_S))
        ).content == b"old"
        stored = await client.put(
            await signed.url(WRITE, path, lifetime_s=LIFETIME_S), content=b"new"
        )
        assert stored.is_success
        assert site.get(path) == b"new"


async def test_no_url_does_anything_else(
    site: Site, signed: SignedUrls, client: httpx.AsyncClient
) -> None:
    """Every other verb and path is refused, whatever random ones are tried."""
    chance = random.Random(4)
    for _ in range(200):
        path, other = chance.choice(PATHS), chance.choice(PATHS)
        activities, allowed = chance.choice([(READ, "GET"), (WRITE, "PUT")])
        verb = chance.choice(["GET", "PUT", "DELETE", "MKCOL", "MOVE", "COPY"])
        token = (await signed.url(activities, path, lifetime_s=LIFETIME_S)).partition("?")[2]
        url = f"{address(site.url, other)}?{token}"
        destination = {"Destination": address(site.url, "/data/stolen")}
        headers = destination if verb in {"MOVE", "COPY"} else {}
        content = b"new" if verb == "PUT" else None
        answer = await client.request(verb, url, headers=headers, content=content)
        if (verb, other) == (allowed, path):
            assert answer.is_success
        else:
            assert answer.status_code in {401, 403, 404, 405, 409}, (verb, path, other, activities)
            assert b"old" not in answer.content
    assert site.get("/data/stolen") is None
    assert all(site.get(path) in {b"old", b"new"} for path in PATHS)


async def test_a_url_ends_with_its_lifetime(
    site: Site, client: httpx.AsyncClient, signed: SignedUrls
) -> None:
    past = SignedUrls(
        Storage(site.url, "alice", "alice-demo"), client, clock=lambda: 1_700_000_000.0
    )
    answer = await client.get(await past.url(READ, "/data/a.txt", lifetime_s=LIFETIME_S))
    assert answer.status_code == 401


async def test_missing_directories_are_made_once(
    site: Site, signed: SignedUrls, client: httpx.AsyncClient
) -> None:
    derived = patterns.substitution(r"^/data/(.*)$", r"/data/new/very/deep/\1")
    path = derived.apply("/data/a.txt")
    assert path is not None
    for _ in range(2):
        await signed.make_parents(path)
    stored = await client.put(await signed.url(WRITE, path, lifetime_s=LIFETIME_S), content=b"x")
    assert stored.is_success
    made = [record["path"] for record in site.billed() if record["kind"] == "MKDIR"]
    assert made.count("/data/new/very/deep") == 1
