"""At the door: 200 random chains of caveats are decided as a straightforward model decides."""

from __future__ import annotations

import posixpath
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from pipeline.authz import macaroons
from pipeline.rules.storages import Storage
from pipeline.signed_urls import SignedUrls
from tests.sites import Site
from tests.unit.pipeline.test_caveats import Ask, model_decides

if TYPE_CHECKING:
    from collections.abc import Iterator

VERBS = {"GET": "DOWNLOAD", "PUT": "UPLOAD", "DELETE": "DELETE", "PROPFIND": "READ_METADATA"}
DIRECTORIES = ("/data/a", "/data/a/b", "/data/ab")
FILES = tuple(f"{directory}/f" for directory in DIRECTORIES)
CHAINS = 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("site"), "door")
    for directory in DIRECTORIES:
        running.ask("MKCOL", directory)
    yield running
    running.close()


def chain(chance: random.Random) -> list[str]:
    """Return up to five caveats, most of which make sense."""
    paths = ["/", "/data", "/data/a", "/a", "/b", "b", "/data/a/b", "/data/ab", "..", "/data/../a"]
    activities = sorted({*VERBS.values(), "LIST", "MANAGE"})
    make = [
        lambda: f"root:{chance.choice(paths)}",
        lambda: f"path:{chance.choice(paths)}",
        lambda: f"path:{chance.choice(paths)}",
        lambda: "activity:" + ",".join(chance.sample(activities, chance.randint(2, 6))),
        lambda: "activity:" + ",".join(chance.sample(activities, chance.randint(2, 6))),
        lambda: f"ip:{chance.choice(['127.0.0.0/8', '::1', '10.0.0.0/8,127.0.0.1'])}",
        lambda: f"max-upload:{chance.randint(0, 9)}",
        lambda: f"before:20{chance.choice(['99', '99', '20'])}-01-01T00:00:09Z",
        lambda: chance.choice(["home:/data", "colour:red", "id:0;0;root"]),
    ]
    return [chance.choice(make)() for _ in range(chance.randint(0, 5))]


def rooted(caveats: list[str]) -> str:
    """Return the root that a chain leaves, if it is a valid one."""
    root = "/"
    for caveat in caveats:
        if caveat.startswith("root:"):
            below = posixpath.normpath("/" + caveat[5:].strip("/")).strip("/")
            root = posixpath.join(root, below).rstrip("/") or "/"
    return root


def expected(caveats: list[str], verb: str, path: str, size: int) -> bool:
    """Ask the model, which counts seconds from one to nine."""
    if any(caveat.startswith("before:2020") for caveat in caveats):
        return False
    ask = Ask(VERBS[verb], path, size=size)
    return model_decides(caveats, ask)


def door_agrees(site: Site, token: str, caveats: list[str], chance: random.Random) -> bool:
    """Make a random request with a token; whether it was allowed, as the model says it should be.

    Args:
        site: whose door.
        token: what is shown.
        caveats: all that restrict it.
        chance: chooses verb, file and size.
    """
    verb, path, size = chance.choice(list(VERBS)), chance.choice(FILES), chance.randint(0, 9)
    site.put(path, b"content")
    root = rooted(caveats).rstrip("/")
    is_below = path.startswith(root + "/")
    answer = site.ask(
        verb,
        path.removeprefix(root) if is_below else "/not/below/the/root",
        auth=None,
        headers={"Authorization": f"Bearer {token}", "Depth": "0"},
        content=b"x" * size if verb == "PUT" else b"",
    )
    may = is_below and expected(caveats, verb, path, size)
    assert answer.is_success == may, (caveats, verb, path, size, answer.status_code)
    # 409 is WebDAV's answer to a PUT into a directory that is not there, for them
    assert may or answer.status_code in (401, 403, 404, 409, 413), answer.status_code
    return may


@pytest.mark.parametrize("seed", range(4))
def test_the_door_decides_as_the_model_does(site: Site, seed: int) -> None:
    chance = random.Random(seed)
    allowed = 0
    for _ in range(CHAINS // 4):
        caveats = chain(chance)
        token = macaroons.attenuate(site.macaroon(), caveats)
        allowed += door_agrees(site, token, caveats, chance)
    assert allowed > 5


@pytest.mark.parametrize("seed", range(4))
async def test_a_triggers_url_lengthened_at_random_is_decided_as_the_model_does(
    site: Site, seed: int
) -> None:
    """Whoever holds a trigger may narrow its macaroons, and never widens them."""
    chance = random.Random(seed)
    allowed = 0
    async with httpx.AsyncClient() as client:
        signed = SignedUrls(Storage(site.url, "alice", "alice-demo"), client)
        for _ in range(CHAINS // 4):
            activity, path = chance.choice(["DOWNLOAD", "UPLOAD"]), chance.choice(FILES)
            url = await signed.url((activity,), path, lifetime_s=60)
            more = chain(chance) if chance.random() < 0.7 else []
            token = macaroons.attenuate(url.partition("?authz=")[2], more)
            caveats = [f"activity:{activity}", f"path:{path}", *more]
            allowed += door_agrees(site, token, caveats, chance)
    assert allowed >= 1


SPOILT = pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda token: token[:-8], 401),
        (lambda token: token[:-8] + "AAAAAAAA", 401),
        (lambda token: "A" + token[1:], 401),
        (lambda token: token.replace("c", "C", 1), 401),
        (lambda token: macaroons.mint(b"another key" * 3, "AAAAAAAA", "/", ["id:0;0;root"]), 401),
        (lambda token: macaroons.attenuate(token, ["before:2020-01-01T00:00:00Z"]), 401),
        (lambda token: macaroons.attenuate(token, ["activity:UPLOAD"]), 401),
        (lambda token: macaroons.attenuate(token, ["path:/elsewhere"]), 404),
        (lambda token: macaroons.attenuate(token, ["ip:192.0.2.1"]), 401),
    ],
    ids=["cut", "forged", "broken", "changed", "foreign", "expired", "widened", "elsewhere", "ip"],
)


@SPOILT
def test_what_is_not_good_is_refused_without_a_hint(
    site: Site, spoil: object, status: int
) -> None:
    """The answer is the same for a file that exists and for one that does not."""
    site.put(FILES[0], b"content")
    token = spoil(site.macaroon("/data", "activity:DOWNLOAD,LIST"))  # type: ignore[operator]
    assert refused(site, token, "GET") == status


@SPOILT
async def test_a_triggers_url_that_is_not_good_is_refused_without_a_hint(
    site: Site, spoil: object, status: int
) -> None:
    """Also the file that it is for: an `elsewhere` below it leaves it as a name on the way."""
    for path in FILES:
        site.put(path, b"content")
    token = spoil(await for_trigger(site, FILES[0]))  # type: ignore[operator]
    assert refused(site, token, "GET", FILES[1], "/data/a/none", "/none") == status
    assert refused(site, token, "GET", FILES[0]) in (401, 403)


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
async def test_a_triggers_url_for_another_path_or_verb_is_refused_without_a_hint(
    site: Site, verb: str
) -> None:
    for path in FILES:
        site.put(path, b"content")
    activity = "UPLOAD" if verb == "GET" else "DOWNLOAD"
    other_verb = await for_trigger(site, FILES[0], activity)
    refused(site, other_verb, verb, FILES[0])
    other_path = await for_trigger(site, FILES[1], VERBS[verb])
    refused(site, other_path, verb, FILES[0], "/data/a/none")
    assert all(site.get(path) == b"content" for path in FILES)


async def for_trigger(site: Site, path: str, activity: str = "DOWNLOAD") -> str:
    """Return a macaroon as a trigger's URL has it."""
    async with httpx.AsyncClient() as client:
        signed = SignedUrls(Storage(site.url, "alice", "alice-demo"), client)
        return await signed.token((activity,), path, lifetime_s=60)


def refused(site: Site, token: str, verb: str, *paths: str) -> int:
    """Check that all paths are refused with the same words; return with which status."""
    said = set()
    for path in paths or (FILES[0], "/data/a/none", "/none"):
        answer = site.ask(verb, path, auth=None, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code in (401, 403, 404), (verb, path, answer.status_code)
        said.add((answer.status_code, answer.text.replace(path, "").split("<hr/>")[0]))
    ((status, text),) = said
    assert token not in text
    return status
