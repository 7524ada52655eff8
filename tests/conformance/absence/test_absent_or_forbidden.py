from __future__ import annotations

import http.client
import json
import statistics
import time
import uuid
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests import services
from tests.api_site import ApiSite
from tests.wire import basic, call

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

TRIES = 2000
WITHIN = 0.10
MEASUREMENTS = 3
"""The rule under noise: of at most so many measurements one must be within the bounds. Answers
that differ in their work differ each time."""

FORBIDDEN, ABSENT = "/home/bob/secret", "/home/bob/absent"
"""Bob's home is closed to alice; what is in it has names of one length."""


class Asked(NamedTuple):
    """A request about a path.

    Attributes:
        url: of the server.
        method: the request's.
        target: what stands in the request line, with `PATH` for the path.
        body: what is sent; "": nothing.
        headers: further ones.
    """

    url: str
    method: str
    target: str
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Door:
    """Asks about two paths over one connection.

    Args:
        asked: what.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        parts = urlsplit(asked.url)
        assert parts.hostname
        self._http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self._headers = basic("alice") | dict(asked.headers)
        if asked.body:
            self._headers.setdefault("Content-Type", "application/json")

    def ask(self, path: str) -> tuple[float, str]:
        """Return how long the answer took, in seconds, and all of it but its date and the path."""
        target = self._asked.target.replace("PATH", path)
        body = self._asked.body.replace("PATH", path) or None
        began_s = time.perf_counter()
        self._http.request(self._asked.method, target, body, self._headers)
        answer = self._http.getresponse()
        content = answer.read()
        took_s = time.perf_counter() - began_s
        headers = sorted(
            (name, value) for name, value in answer.getheaders() if name.lower() != "date"
        )
        name = path.rpartition("/")[2]
        return took_s, f"{answer.status} {headers} {content!r}".replace(name, "NAME")

    def close(self) -> None:
        """Hang up."""
        self._http.close()


@pytest.fixture(scope="module")
def site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give a site with something of bob's that alice may not see."""
    with services.run_directory("absence") as run:
        made = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            prefix=f"absence-{uuid.uuid4().hex[:8]}-",
            settings={
                "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
                "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
            },
        )
        try:
            made.up()
            with made.webdav("bob") as door:
                door.put(FORBIDDEN, content=b"x" * 1000).raise_for_status()
                door.request("MKCOL", "/home/bob/folder").raise_for_status()
            yield made
        finally:
            made.down()


def _dav_doors(url: str) -> dict[str, Asked]:
    return {
        "WebDAV, GET": Asked(url, "GET", "PATH"),
        "WebDAV, PROPFIND": Asked(url, "PROPFIND", "PATH", "", (("Depth", "0"),)),
        "WebDAV, PUT": Asked(url, "PUT", "PATH", "content"),
        "WebDAV, DELETE": Asked(url, "DELETE", "PATH"),
        "WebDAV, MKCOL": Asked(url, "MKCOL", "PATH"),
        "WebDAV, COPY": Asked(
            url, "COPY", "PATH", "",
            (("Destination", f"{url}/data/mine"),),
        ),
        "WebDAV, LOCK": Asked(
            url, "LOCK", "PATH",
            '<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
            "<locktype><write/></locktype></lockinfo>",
            (("Content-Type", "application/xml"),),
        ),
        "WebDAV, macaroon": Asked(
            url, "POST", "PATH", "{}",
            (("Content-Type", "application/macaroon-request"),),
        ),
    }  # fmt: skip


def _doors(site: ApiSite) -> dict[str, Asked]:
    node = site.urls[0]
    channel = urlsplit(call("POST", f"{node}/api/v1/events/channels").one("Location")).path
    namespace, selector = "/api/v1/namespace", json.dumps({"path": "PATH"})
    snapshot = json.dumps({"path": "PATH", "recursive": True, "snapshot": True})
    change = json.dumps({"action": "chmod", "mode": 0o600})
    move = json.dumps({"action": "mv", "destination": "/data/mine"})
    return {
        "API, GET namespace": Asked(node, "GET", f"{namespace}PATH"),
        "API, GET with children": Asked(node, "GET", f"{namespace}PATH?children=true"),
        "API, subscribe": Asked(node, "POST", f"{channel}/subscriptions/inotify", selector),
        "API, subscribe with snapshot": Asked(
            node, "POST", f"{channel}/subscriptions/inotify", snapshot
        ),
        "API, one-request stream": Asked(node, "GET", "/api/v1/events/stream?watch=PATH"),
        "API, change": Asked(node, "POST", f"{namespace}PATH", change),
        "API, delete": Asked(node, "DELETE", f"{namespace}PATH"),
        "REST, GET": Asked(site.rest_url, "GET", f"{namespace}PATH"),
        "REST, change": Asked(site.rest_url, "POST", f"{namespace}PATH", change),
        "REST, move": Asked(site.rest_url, "POST", f"{namespace}PATH", move),
        "REST, delete": Asked(site.rest_url, "DELETE", f"{namespace}PATH"),
        **_dav_doors(site.webdav_url),
    }  # fmt: skip


ANY = ("API, GET namespace", "API, subscribe", "API, one-request stream", "REST, GET",
       "WebDAV, GET", "WebDAV, PROPFIND")  # fmt: skip
"""What is measured; the others are only compared, byte by byte."""


@pytest.mark.parametrize("secret", ["secret", "folder"])
def test_the_same_bytes(site: ApiSite, secret: str) -> None:
    """Whatever is asked for, at every door: status, headers, body."""
    for name, asked in _doors(site).items():
        door = Door(asked)
        answers = {door.ask(f"/home/bob/{last}")[1] for last in (secret, "absent")}
        door.close()
        if name == "WebDAV, macaroon":
            continue  # a token for a path says nothing of what is there; each is another
        assert len(answers) == 1, (name, answers)
        assert int(answers.pop()[:3]) >= 400, name


def _medians(asked: Asked, tries: int) -> tuple[float, float]:
    """Return the median times of forbidden and absent, in seconds; asked in turns, ABBA."""
    door = Door(asked)
    took: dict[str, list[float]] = {FORBIDDEN: [], ABSENT: []}
    for number in range(tries):
        for path in (FORBIDDEN, ABSENT) if number % 2 else (ABSENT, FORBIDDEN):
            took[path].append(door.ask(path)[0])
    door.close()
    return statistics.median(took[FORBIDDEN]), statistics.median(took[ABSENT])


@pytest.mark.conformance
@pytest.mark.timeout(3600)
def test_in_the_same_time(site: ApiSite) -> None:
    """Medians within a tenth over 2,000 tries of each, at every door."""
    asked = _doors(site)
    apart = []
    for name in ANY:
        for _ in range(MEASUREMENTS):
            forbidden_s, absent_s = _medians(asked[name], TRIES)
            ratio = forbidden_s / absent_s - 1
            print(
                f"{name}: forbidden {forbidden_s * 1000:.3f} ms, absent {absent_s * 1000:.3f} ms,"
                f" {ratio:+.1%}"
            )
            if abs(ratio) < WITHIN:
                break
        else:
            apart.append(name)
    assert not apart
