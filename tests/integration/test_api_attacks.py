"""What attackers try at the API: paths, identities, injection, times; each with its refusal."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.api_site import ApiSite
from tests.wire import Answer, Stream, basic, call, connect, exchange, request

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack


def _subscribe(channel: str, path: str, **more: Any) -> Answer:
    return call("POST", f"{channel}/subscriptions/inotify", content={"path": path, **more})


def _is_alive(url: str) -> bool:
    return call("GET", f"{url}/health/live", None).status == 200


# paths


@pytest.mark.parametrize(
    "path",
    ["/data/../home/bob", "/../../home/bob", "/data/exp/../../home/bob/", "//home//bob",
     "home/bob", "/home/./bob", "/home/bob/.", "/home/bob/../bob", "/home/%62ob",
     "/home/bob\u0000",
     "/home/bob\n", "/home/b\u200bob", "/home/ｂｏｂ", "/home/bob%2F", "\\home\\bob", "/HOME/BOB"],
)  # fmt: skip
def test_no_spelling_of_a_path_opens_what_is_closed(channel: str, path: str) -> None:
    """400 with the words for what is not there, or for what is no path."""
    answer = _subscribe(channel, path)
    assert answer.status == 400
    assert answer.detail.startswith(("Not found: Problem with path", "Bad selector"))


@pytest.mark.parametrize(
    "raw",
    ["/api/v1/namespace/home/bob/secret", "/api/v1/namespace/data/..%2F..%2Fhome%2Fbob%2Fsecret",
     "/api/v1/namespace/%2e%2e/%2e%2e/home/bob/secret", "/api/v1/namespace//home/bob//secret",
     "/api/v1/namespace/home/bob/secret%00", "/api/v1/namespace/home%252Fbob"],
)  # fmt: skip
def test_nor_does_one_in_a_url(url: str, raw: str) -> None:
    """Passed through to the storage, which says 404."""
    assert call("GET", url, target=raw).status in {400, 404}


@pytest.mark.parametrize(
    "target",
    ["http://evil.example/api/v1/user", "//evil.example/api/v1/user", "/api/v1/user/../../../x",
     "/api/v1/namespace/../../metrics", "/api/v1/tape/..%2f..%2f..%2fmetrics"],
)  # fmt: skip
def test_requests_stay_with_our_storage_and_below_their_prefix(url: str, target: str) -> None:
    """No absolute URL, no way out of what is passed on."""
    answer = call("GET", url, target=target)
    assert answer.status in {200, 400, 404}
    if answer.status == 200:
        assert answer.json["username"] == "alice"
    assert b"storage_outbox" not in answer.body


def test_a_symlink_does_not_lead_out_of_a_macaroons_path(small_site: ApiSite, url: str) -> None:
    """What it leads to is looked at, not what it is called."""
    with small_site.webdav() as door:
        made = door.post(
            "/data/exp",
            headers={"Content-Type": "application/macaroon-request"},
            json={"caveats": ["activity:LIST,DOWNLOAD,READ_METADATA"], "validity": "PT10M"},
        )
    bearer = {"Authorization": f"Bearer {made.json()['macaroon']}"}
    mine = exchange(url, request("POST", f"{url}/api/v1/events/channels", bearer, b""))
    goal = f"{mine.one('Location')}/subscriptions/inotify"
    headers = {**bearer, "Content-Type": "application/json"}
    for path in ("/home/alice", "/data", "/", "/data/exp/../../home/alice"):
        body = json.dumps({"path": path}).encode()
        answer = exchange(url, request("POST", goal, headers, body))
        # parents of what is visible may be listed, and tell only what leads there
        assert answer.status == (400 if "alice" in path else 201), (path, answer)


# identities


def test_ids_of_others_open_nothing(url: str, channel: str) -> None:
    """Not the channel, not its subscriptions, not its stream."""
    assert _subscribe(channel, "/data").status == 201
    for suffix in ("", "/subscriptions"):
        assert call("GET", channel + suffix, "bob").status == 403
    answer = call("GET", channel, "bob", headers={"Accept": "text/event-stream"})
    assert answer.status == 403
    assert call("GET", f"{url}/api/v1/events/channels", "bob").json == []


def test_the_service_key_cannot_be_guessed_or_passed_in(small_site: ApiSite, url: str) -> None:
    """Positions would count other people's activity."""
    for key in ("a key of both", "x", ""):
        answer = call("GET", f"{url}/api/v1/namespace/data", headers={"Storage-Events-Key": key})
        assert answer.status == 200
        assert "watch" not in answer.json
    direct = call(
        "GET", f"{small_site.rest_url}/api/v1/namespace/data", headers={"Storage-Events-Key": "x"}
    )
    assert "watch" not in direct.json


def test_forwarded_headers_of_strangers_are_not_believed(small_site: ApiSite, url: str) -> None:
    """Neither for the audit nor for URLs."""
    headers = {
        "X-Forwarded-For": "203.0.113.77",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.77;host=evil.example",
    }
    made = call("POST", f"{url}/api/v1/events/channels", headers=headers)
    assert made.one("Location").startswith(url)
    call("DELETE", made.one("Location"))
    assert "203.0.113.77" not in small_site.log()


@pytest.mark.parametrize(
    "host", ["", "evil.example/x?", "a b", "evil@example", "x\x7f", "<script>", "a" * 300 + "/"]
)
def test_a_host_that_is_none_gets_into_no_location(url: str, host: str) -> None:
    """400."""
    data = request("POST", f"{url}/api/v1/events/channels", basic("alice"), b"")
    data = re.sub(rb"Host: [^\r]*", b"Host: " + host.encode(), data)
    assert exchange(url, data).status == 400


@pytest.mark.parametrize(
    ("line", "hosts"),
    [("HTTP/1.1", ["a", "b"]), ("HTTP/1.1", ["a", "a"]), ("HTTP/1.1", []),
     ("HTTP/1.0", ["a", "b"]), ("HTTP/0.9", ["a"]), ("HTTP/2.0", ["a"])],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/user", "/health/live"])
def test_a_request_has_one_host(
    small_site: ApiSite, url: str, path: str, line: str, hosts: list[str]
) -> None:
    """Whatever it asks for, at the node and at the storage's REST; and HTTP/0.9 is no more."""
    lines = [f"GET {path} {line}", *(f"Host: {host}" for host in hosts), "Connection: close"]
    lines += [f"{name}: {value}" for name, value in basic("alice").items()]
    for server in (url, small_site.rest_url):
        assert exchange(server, "\r\n".join([*lines, "", ""]).encode()).status == 400


def test_a_last_event_id_of_another_channel_says_nothing(
    small_site: ApiSite, url: str, channel: str
) -> None:
    """It is as if absent; so is a changed one."""
    other = call("POST", f"{url}/api/v1/events/channels").one("Location")
    for one in (channel, other):
        assert _subscribe(one, "/data/exp", flags=["IN_CREATE"]).status == 201
    with small_site.webdav() as door:
        door.request("MKCOL", f"/data/exp/{uuid.uuid4().hex}").raise_for_status()
    with Stream(other) as stream:
        identity = stream.until(1)[0].id or ""
    for forged in (identity, str(int(identity) ^ 1), identity[:-1], identity * 2):
        made = call("POST", f"{url}/api/v1/events/channels").one("Location")
        with Stream(made, headers={"Last-Event-ID": forged}) as stream:
            stream.read(0.3)
            assert stream.events == []
        call("DELETE", made)
    with Stream(channel, headers={"Last-Event-ID": identity}) as stream:
        assert stream.until(1)[0].kind == "inotify"
    call("DELETE", other)


def test_guessing_is_slowed_down_for_the_guesser_only(small_site: ApiSite, url: str) -> None:
    """429 with the limit's name; the right password waits, too; others do not."""
    goal = f"{url}/api/v1/events/eventTypes"
    statuses = [
        exchange(url, request("GET", goal, basic("carol", f"guess {number}"))).status
        for number in range(6)
    ]
    assert statuses[:3] == [401] * 3
    assert statuses[-1] == 429
    refused = call("GET", goal, "carol")
    assert refused.status == 429
    assert refused.json["limit"] == "login-failures"
    assert int(refused.one("Retry-After")) >= 1
    assert call("GET", goal, "alice").status == 200
    assert call("GET", f"{url}/api/v1/user", "carol").status == 429
    assert "guess" not in small_site.log()


def test_tokens_and_passwords_are_in_no_log(small_site: ApiSite, url: str) -> None:
    """Whether in a header or in the query."""
    call("GET", f"{url}/api/v1/events/channels?authz=MDAsecrettoken", None)
    call("GET", f"{url}/api/v1/user?authz=MDAsecrettoken", None)
    call("GET", f"{url}/nope?authz=MDAsecrettoken", None)
    log = small_site.log()
    assert "MDAsecrettoken" not in log
    assert "alice-demo" not in log
    assert basic("alice")["Authorization"][6:] not in log


# smuggling and injection


@pytest.mark.parametrize(
    "lines",
    [b"Content-Length: 5\r\nContent-Length: 6\r\n",
     b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n",
     b"Content-Length: 1e3\r\n", b"Transfer-Encoding: chunked, chunked\r\n", b"A B: c\r\n",
     b"X: a\x00b\r\n", b" folded: x\r\n"],
)  # fmt: skip
def test_ambiguous_requests_are_refused(url: str, lines: bytes) -> None:
    """Before anything is asked of anybody."""
    head = request("POST", f"{url}/api/v1/user", basic("alice"))[:-2]
    with connect(url) as sock:
        sock.sendall(head + lines + b"\r\nhello")
        sock.settimeout(30)
        status = sock.recv(12)
    assert status in {b"HTTP/1.1 400", b"HTTP/1.1 405", b"HTTP/1.1 408"}
    assert _is_alive(url)


def test_headers_cannot_be_injected_through_what_is_echoed(url: str, channel: str) -> None:
    """Paths and client-ids with line ends stay inside JSON."""
    answer = _subscribe(channel, "/x\r\nSet-Cookie: a=b")
    assert answer.all("Set-Cookie") == []
    assert answer.detail.endswith("/x\r\nSet-Cookie: a=b")
    target = "/api/v1/events/stream?watch=%0d%0aevent:%20SYSTEM%0d%0adata:%20x"
    answer = call("GET", url, target=target)
    assert (answer.status, answer.one("Content-Type")) == (400, "application/json")


def test_a_method_of_ones_own_and_an_upgrade_are_refused(url: str) -> None:
    """No websocket, no tunnel."""
    assert call("BREW", f"{url}/api/v1/events").status in {400, 405}
    assert call("CONNECT", url, target="evil.example:443").status in {400, 404, 405}
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"}
    assert (
        b"101 "
        not in exchange(url, request("GET", f"{url}/api/v1/events", upgrade)).head.partition(
            b"\r\n"
        )[0]
    )


def test_counters_are_not_for_everybody(small_site: ApiSite, url: str) -> None:
    """Loopback by default; what is passed through never reaches the storage's own."""
    assert call("GET", f"{url}/metrics", None).status == 200
    assert call("GET", url, target="/api/v1/namespace/../../../metrics").status in {400, 404}
    assert small_site.webdav_url not in call("GET", f"{url}/metrics", None).body.decode()
