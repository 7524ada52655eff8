"""What else attackers try at the API: ids, headers, names, floods. After each it serves others."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.api_site import ApiSite
from tests.wire import Answer, Stream, basic, call, connect, exchange, receive, request

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("others_are_served")]

EVENTS = "/api/v1/events"


def _subscribe(channel: str, path: str, **more: Any) -> Answer:
    return call("POST", f"{channel}/subscriptions/inotify", content={"path": path, **more})


def _mkdir(small_site: ApiSite, path: str) -> None:
    with small_site.webdav() as door:
        door.request("MKCOL", path).raise_for_status()


def _macaroon(small_site: ApiSite, path: str, *caveats: str) -> dict[str, str]:
    with small_site.webdav() as door:
        made = door.post(
            path,
            headers={"Content-Type": "application/macaroon-request"},
            json={"caveats": list(caveats), "validity": "PT10M"},
        )
    return {"Authorization": f"Bearer {made.json()['macaroon']}"}


# identities


def test_a_narrower_token_reads_no_wider_channel(small_site: ApiSite, channel: str) -> None:
    """Of the same user: neither listed nor looked at, read, changed, added to or ended."""
    url = small_site.urls[0]
    kept = _subscribe(channel, "/data").one("Location")
    # Restrictions that no other test of this site has: their channels would be this token's, too.
    narrow = _macaroon(small_site, "/data/exp", "activity:LIST,DOWNLOAD,STAGE")
    assert call("GET", f"{url}{EVENTS}/channels", None, headers=narrow).json == []
    tries = [
        call("GET", channel, None, headers=narrow),
        call("GET", channel, None, headers={**narrow, "Accept": "text/event-stream"}),
        call("GET", f"{channel}/subscriptions", None, headers=narrow),
        call("GET", kept, None, headers=narrow),
        call("DELETE", kept, None, headers=narrow),
        call("PATCH", channel, None, headers=narrow, content={"timeout": 1}),
        call(
            "POST", f"{channel}/subscriptions/inotify", None,
            headers=narrow, content={"path": "/data/exp"},
        ),
        call("DELETE", channel, None, headers=narrow),
    ]  # fmt: skip
    assert {answer.status for answer in tries} == {403}
    assert call("GET", kept).status == 200


@pytest.mark.parametrize(
    "value",
    ["Basic", "Basic !!!!", "Basic /w==", "Basic OmE=", "Basic YWxpY2U=", "Bearer",
     "Bearer a b", "Bearer \t", "Digest username=alice", "Negotiate abc", "Bearer eyJ.eyJ.x",
     "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "Bearer " + "M" * 9000],
)  # fmt: skip
def test_credentials_that_are_none_are_refused_alike(url: str, value: str) -> None:
    """401 with the same body, whatever was wrong."""
    answer = call("GET", f"{url}{EVENTS}/channels", None, headers={"Authorization": value})
    assert (answer.status, answer.detail) == (401, "Unauthorized")


def test_two_logins_in_one_request_are_refused_at_every_door(small_site: ApiSite) -> None:
    """Which of them counts would be a guess, and another one for whoever stands in front."""
    both = "".join(f"{k}: {v}\r\n" for user in ("bob", "alice") for k, v in basic(user).items())
    for base, path in (
        (small_site.urls[0], f"{EVENTS}/channels"),
        (small_site.urls[0], "/api/v1/user"),
        (small_site.rest_url, "/api/v1/user"),
        (small_site.webdav_url, "/data"),
    ):
        data = request("GET", base + path)[:-2] + both.encode() + b"\r\n"
        answer = exchange(base, data)
        assert answer.status in {400, 401}, (base, path)


def test_headers_named_in_connection_take_nothing_from_the_storage(url: str) -> None:
    """A client cannot have our own headers dropped, nor bring the service's key along."""
    headers = {
        "Connection": "close, X-Forwarded-For, Authorization, Storage-Events-Key",
        "Storage-Events-Key": "a key of both",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/metrics",
    }
    answer = call("GET", f"{url}/api/v1/namespace/data", headers=headers)
    assert answer.status == 200
    assert "watch" not in answer.json


# ids and places


@pytest.mark.parametrize(
    "identity",
    ["9" * 8000, "-1", "0", "1e99", "0x10", "٣" * 3, "' OR 1=1 --", "1\t2", "$(id)", "NaN"],
)
def test_a_last_event_id_that_is_none_is_as_if_absent(channel: str, identity: str) -> None:
    """Whatever its length and form: the stream opens, and tells what it would have told."""
    assert _subscribe(channel, "/data").status == 201
    sent = identity.encode().decode("latin-1")
    with Stream(channel, headers={"Last-Event-ID": sent}) as stream:
        assert stream.answer.status == 200
        stream.read(0.1)
        assert stream.events == []


def test_an_oversized_last_event_id_is_cut_with_its_head(url: str, channel: str) -> None:
    """431, as every head that is too long; so is a URL."""
    for data in (
        request("GET", channel, {**basic("alice"), "Last-Event-ID": "9" * 20_000}),
        request("GET", url, basic("alice"), target="/" + "a" * 20_000),
    ):
        with connect(url) as sock:
            sock.sendall(data)
            assert sock.recv(12) == b"HTTP/1.1 431"
    first = request("GET", f"{url}/health/live").replace(b"Connection: close\r\n", b"")
    with connect(url) as sock:
        sock.sendall(first)
        assert receive(sock).status == 200
        sock.sendall(data)
        assert sock.recv(12) == b"HTTP/1.1 431"


def test_two_last_event_ids_open_nothing_of_others(channel: str) -> None:
    """The stream opens or is refused; it is no error inside."""
    data = request("GET", channel, {**basic("alice"), "Accept": "text/event-stream"})[:-2]
    with connect(channel) as sock:
        sock.sendall(data + b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n\r\n")
        assert sock.recv(12) in {b"HTTP/1.1 200", b"HTTP/1.1 400"}


@pytest.mark.parametrize(
    "path",
    ["channels/..%2f..%2f..%2fmetrics", "channels/%2e%2e/%2e%2e", "channels/*", "channels/%00",
     "channels/x%0d%0aSet-Cookie:%20a=b", "channels/%ff%fe", "channels/" + "A" * 22,
     "channels/{}/subscriptions/inotify/..%2f..", "channels/{}/subscriptions/../../x/inotify",
     "eventTypes/..%2f..%2fhealth", "eventTypes/__class__", "channels/:owner:1001"],
)  # fmt: skip
def test_ids_in_urls_are_names_and_nothing_else(url: str, channel: str, path: str) -> None:
    """404: no pattern, no path, no key of the store."""
    goal = f"{EVENTS}/{path.replace('{}', channel.rpartition('/')[2])}"
    answer = call("GET", url, target=goal)
    assert answer.status in {400, 404}
    assert answer.all("Set-Cookie") == []
    assert b"storage_events_api" not in answer.body


@pytest.mark.parametrize(
    "path",
    ["/page/../../pyproject.toml", "/page/..%2f..%2fpyproject.toml", "/page//etc/passwd",
     "/schema-registry/subjects/..%2f..%2f..%2fids/versions/1", "/schema-registry/schemas/ids/-1",
     "/schema-registry/schemas/ids/99999999999999999999", "/%2e%2e/%2e%2e/etc/passwd",
     "/.git/config", "/openapi.json/../../settings.py"],
)  # fmt: skip
def test_no_file_of_ours_is_served_by_its_path(url: str, path: str) -> None:
    """404 for what is no page of ours."""
    answer = call("GET", url, target=path)
    assert answer.status in {400, 404}
    assert b"root:" not in answer.body
    assert b"[project]" not in answer.body


# what is told


def test_names_cannot_break_out_of_their_line(small_site: ApiSite, channel: str) -> None:
    """Names with line ends are not made; all else that readers split at is escaped."""
    name = f"{uuid.uuid4().hex[:8]}\u2028id: 1\u0085data: x\u2029"
    assert _subscribe(channel, "/data/exp", flags=["IN_CREATE"]).status == 201
    rest = f"{small_site.rest_url}/api/v1/namespace/data/exp"
    for bad in ("a\r\nid: 1\r\n\r\ndata: {}", "a\nevent: SYSTEM", "a\x00b", "a\x1bb"):
        refused = call("POST", rest, content={"action": "mkdir", "name": bad})
        assert refused.status == 400
    assert call("POST", rest, content={"action": "mkdir", "name": name}).status == 201
    with Stream(channel) as stream:
        (event,) = stream.until(1)
    assert event.raw.isascii()
    assert event.raw.count(b"\n") == 4
    assert event.data["event"]["name"] == name


def test_a_metronome_cannot_break_out_of_its_line(channel: str) -> None:
    """Line ends in its message stay inside JSON; what it fills in is not filled in again."""
    message = "a\r\nevent: SYSTEM\n\ndata: {}\n\n${username}${count}${${username}}"
    url = f"{channel}/subscriptions/metronome"
    made = call("POST", url, content={"delay": 0.01, "count": 1, "message": message})
    assert made.status == 201
    with Stream(channel) as stream:
        tick = stream.until(1)[0]
    assert tick.kind == "metronome"
    assert tick.raw.count(b"\n") == 4
    assert tick.data["event"].startswith("a\r\nevent: SYSTEM\n\ndata: {}\n\nalice1")


def test_metronomes_do_not_keep_a_node_from_serving_others(url: str, channel: str) -> None:
    """As many as are allowed, as fast as is allowed, with messages as long as are allowed."""
    for _ in range(5):
        content = {"frequency": 1_000_000, "message": "x" * 4000}
        made = call("POST", f"{channel}/subscriptions/metronome", content=content)
        assert made.status == 201
    with Stream(channel) as stream:
        assert stream.until(1)
        for _ in range(20):
            stream.read(1)
            assert call("GET", f"{url}{EVENTS}/eventTypes", "admin").status == 200


def test_a_reader_that_does_not_read_holds_up_nobody(small_site: ApiSite, url: str) -> None:
    """Slowloris on a stream: what others are told goes on."""
    flags = ["IN_CREATE"]
    mine, theirs = (call("POST", f"{url}{EVENTS}/channels").one("Location") for _ in range(2))
    metronome = {"frequency": 2000, "message": "x" * 4000}
    assert call("POST", f"{mine}/subscriptions/metronome", content=metronome).status == 201
    for one in (mine, theirs):
        assert _subscribe(one, "/data/exp", flags=flags).status == 201
    stuck = connect(url)
    stuck.sendall(request("GET", mine, {**basic("alice"), "Accept": "text/event-stream"}))
    with Stream(theirs) as stream:
        for number in range(1, 21):
            _mkdir(small_site, f"/data/exp/{uuid.uuid4().hex}")
            stream.until(number)
    stuck.close()
    for one in (mine, theirs):
        call("DELETE", one)


def test_a_query_with_too_many_watches_is_refused(url: str) -> None:
    """400, and no channel is left behind."""
    before = set(call("GET", f"{url}{EVENTS}/channels").json)
    many = "&".join(f"watch=/data/{number}" for number in range(65))
    for query in (many, "watch=/data&watch=/home/bob", "watch=/data&min_size=9e9",
                  "watch=/data&__proto__=1", "watch=/data&type=SYSTEM"):  # fmt: skip
        assert call("GET", f"{url}{EVENTS}/stream?{query}").status == 400, query
    # Some of an earlier test may have come to their end meanwhile.
    assert set(call("GET", f"{url}{EVENTS}/channels").json) <= before


@pytest.mark.parametrize(
    "body",
    [b'{"path":"/data","path":"/home/bob"}', b'{"path":"/data","__proto__":{"x":1}}',
     b'{"path":"\\ud800"}', b'{"path":"/\xff"}', b'{"path":{"$ne":""}}', b'{"path":["/data"]}',
     b'{"path":"/data","recursive":"yes"}', b'{"path":"/data","include":[["x"]]}',
     b'{"path":"/data","min_size":-1}', b'{"path":"/data","min_size":1e30}', b"\xef\xbb\xbf{}",
     b'{"path":"/data"}{"path":"/home"}', b"{'path':'/data'}", b'{"path":"/%s"}' % (b"a/" * 3000)],
)  # fmt: skip
def test_selectors_that_mean_ill_are_bad_requests(channel: str, body: bytes) -> None:
    """Doubled members, wrong types, wrong encodings: 400 with a sentence."""
    answer = call(
        "POST", f"{channel}/subscriptions/inotify",
        body=body, headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status == 400
    assert answer.detail
