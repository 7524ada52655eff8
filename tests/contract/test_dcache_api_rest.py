"""Each row of dCache's table of endpoints, byte by byte, over a real socket."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.wire import Answer, basic, call, exchange, request

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

CHANNEL_PATH = re.compile(r"/api/v1/events/channels/[A-Za-z0-9_-]{22}")


def _events(front: str) -> str:
    return f"{front}/api/v1/events"


def _channel(front: str, user: str = "alice", **content: Any) -> str:
    answer = call("POST", f"{_events(front)}/channels", user, content=content or None)
    assert answer.status == 201, answer
    return answer.one("Location")


def _is_error(answer: Answer, status: int, detail: str | None = None) -> None:
    body = answer.json
    assert answer.status == status, answer
    assert body["status"] == str(status)
    assert answer.one("Content-Type") == "application/json"
    assert body["errors"][0]["status"] == str(status)
    if detail is not None:
        assert body["detail"] == detail
        assert body["errors"][0]["message"] == detail


# GET /events


@pytest.mark.rule("GET /events")
def test_limits_are_told_to_everybody(front: str) -> None:
    """Seconds; no authentication is asked for."""
    answer = call("GET", _events(front), None)
    assert answer.status == 200
    assert answer.json == {
        "channels": {
            "lifetimeWhenDisconnected": {"minimum": 1, "maximum": 86400, "default": 300},
            "maximumPerUser": 128,
        }
    }


# authentication

ENDPOINTS = [
    ("GET", "/eventTypes"),
    ("GET", "/eventTypes/inotify"),
    ("GET", "/eventTypes/inotify/selector"),
    ("GET", "/eventTypes/inotify/event"),
    ("GET", "/channels"),
    ("POST", "/channels"),
    ("GET", "/channels/pf_B1dEed98IVKqc9BNa-w"),
    ("PATCH", "/channels/pf_B1dEed98IVKqc9BNa-w"),
    ("DELETE", "/channels/pf_B1dEed98IVKqc9BNa-w"),
    ("GET", "/channels/pf_B1dEed98IVKqc9BNa-w/subscriptions"),
    ("GET", "/channels/pf_B1dEed98IVKqc9BNa-w/subscriptions/inotify/AACFqb-WHkhFAYm6_xQY1Jf3"),
    ("DELETE", "/channels/pf_B1dEed98IVKqc9BNa-w/subscriptions/inotify/AACFqb-WHkhFAYm6_xQY1Jf3"),
    ("GET", "/stream?watch=/"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_everything_else_refuses_the_anonymous(front: str, method: str, path: str) -> None:
    """401 with a challenge, and nothing about what is there."""
    answer = call(method, _events(front) + path, None)
    _is_error(answer, 401, "Unauthorized")
    assert answer.one("WWW-Authenticate").startswith('Basic realm="')


def test_the_challenge_can_be_suppressed(front: str) -> None:
    """dCache-view relies on it."""
    answer = call(
        "GET", f"{_events(front)}/channels", None, headers={"Suppress-WWW-Authenticate": "x"}
    )
    _is_error(answer, 401)
    assert answer.all("WWW-Authenticate") == []
    assert answer.one("Suppress-WWW-Authenticate") == "suppressed"


def test_a_wrong_password_is_a_401(front: str) -> None:
    """And looks like no password at all."""
    wrong = call(
        "GET", f"{_events(front)}/channels", None, headers=basic("nobody", uuid.uuid4().hex)
    )
    none = call("GET", f"{_events(front)}/channels", None)
    _is_error(wrong, 401, "Unauthorized")
    assert wrong.body == none.body


def test_two_credentials_are_refused(front: str) -> None:
    """Two tokens in one request are an error."""
    answer = call("GET", f"{_events(front)}/channels?authz=MDA", "alice")
    _is_error(answer, 400)


# event types


@pytest.mark.rule("GET /events/eventTypes")
def test_event_types_are_listed_sorted_without_system(front: str) -> None:
    """dCache's two are among them."""
    names = call("GET", f"{_events(front)}/eventTypes").json
    assert names == sorted(names)
    assert {"inotify", "metronome"} <= set(names)
    assert "SYSTEM" not in names


@pytest.mark.parametrize("name", ["inotify", "metronome"])
@pytest.mark.rule(
    "GET /events/eventTypes/T",
    "GET /events/eventTypes/T/selector",
    "GET /events/eventTypes/T/event",
)
def test_an_event_type_describes_itself(front: str, name: str) -> None:
    """A description, and two JSON Schemas."""
    base = f"{_events(front)}/eventTypes/{name}"
    described = call("GET", base).json
    assert list(described) == ["description"]
    for part in ("selector", "event"):
        schema = call("GET", f"{base}/{part}").json
        jsonschema.Draft6Validator.check_schema(schema)


@pytest.mark.parametrize("part", ["", "/selector", "/event"])
def test_an_unknown_event_type_is_a_404(front: str, part: str) -> None:
    """With dCache's words."""
    answer = call("GET", f"{_events(front)}/eventTypes/nope{part}")
    _is_error(answer, 404, "No such event type")


# channels


@pytest.mark.rule("POST /events/channels")
def test_a_channel_is_made(front: str) -> None:
    """201, Location spelled so, an absolute URL of an id of 22 characters."""
    answer = call("POST", f"{_events(front)}/channels")
    assert answer.status == 201
    location = answer.one("Location")
    assert location.startswith(front)
    assert CHANNEL_PATH.fullmatch(location.removeprefix(front))
    assert call("DELETE", location).status == 204


@pytest.mark.parametrize("body", [b"null", b"{}", b'{"client-id":""}', b'{"client-id":"x"}'])
def test_bodies_that_make_a_channel(front: str, body: bytes) -> None:
    """No body, null, or an object with a client-id."""
    answer = call(
        "POST",
        f"{_events(front)}/channels/",
        body=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status == 201
    call("DELETE", answer.one("Location"))


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"1", b'"x"', b'{"nope":1}', b'{"client-id":7}', b'{"client-id":{}}',
        b'{"client-id":false}', b"NaN", b"\xff\xfe", b"[" * 100_000,
    ],
)  # fmt: skip
def test_bodies_that_do_not(front: str, body: bytes) -> None:
    """400 with a sentence, whatever it is."""
    answer = call(
        "POST",
        f"{_events(front)}/channels",
        body=body,
        headers={"Content-Type": "application/json"},
    )
    _is_error(answer, 400)
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_body_of_another_type_is_a_415(front: str, kind: str) -> None:
    """As Jersey has it."""
    answer = call("POST", f"{_events(front)}/channels", body=b"{}", headers={"Content-Type": kind})
    _is_error(answer, 415)


def test_a_compressed_body_is_a_415(front: str) -> None:
    """Nobody unpacks a bomb here."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = call("POST", f"{_events(front)}/channels", body=b"\x1f\x8b", headers=headers)
    _is_error(answer, 415)


def test_a_body_that_is_too_long_is_a_413_with_the_limits_name(front: str) -> None:
    """Declared or sent in chunks."""
    url = f"{_events(front)}/channels"
    answer = exchange(
        url,
        request("POST", url, {**basic("alice"), "Content-Type": "application/json"})[:-2]
        + b"Content-Length: 99999999\r\n\r\n",
    )
    _is_error(answer, 413)
    assert answer.json["limit"] == "body-bytes"


@pytest.mark.rule("GET /events/channels")
def test_channels_are_listed_in_the_order_they_were_made(front: str) -> None:
    """All own ones; those of a client-id; those without one."""
    name = uuid.uuid4().hex
    made = [_channel(front, "carol", **{"client-id": name}) for _ in range(3)]
    bare = _channel(front, "carol")
    url = f"{_events(front)}/channels"
    try:
        assert [one for one in call("GET", url, "carol").json if one in made] == made
        assert call("GET", f"{url}?client-id={name}", "carol").json == made
        assert call("GET", f"{url}?client-id=other", "carol").json == []
        without = call("GET", f"{url}?client-id=", "carol").json
        assert bare in without
        assert not set(made) & set(without)
        assert not set(call("GET", url, "bob").json) & set(made)
    finally:
        for one in (*made, bare):
            call("DELETE", one, "carol")


def test_a_client_id_is_cut_at_256_characters(front: str) -> None:
    """Longer ones are the same channel's."""
    name = uuid.uuid4().hex * 10
    made = _channel(front, **{"client-id": name})
    found = call("GET", f"{_events(front)}/channels?client-id={name[:256]}").json
    call("DELETE", made)
    assert found == [made]


@pytest.mark.parametrize("accept", ["application/json", "*/*", None])
@pytest.mark.rule("GET /events/channels/C as JSON")
def test_a_channel_tells_its_timeout(channel: str, accept: str | None) -> None:
    """As JSON, unless an event stream is asked for."""
    answer = call("GET", channel, headers={"Accept": accept} if accept else {})
    assert (answer.status, answer.json) == (200, {"timeout": 300})


@pytest.mark.rule("PATCH /events/channels/C")
def test_the_timeout_can_be_changed(channel: str) -> None:
    """204 without a body."""
    answer = call("PATCH", channel, content={"timeout": 42})
    assert (answer.status, answer.body) == (204, b"")
    assert call("GET", channel).json == {"timeout": 42}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"timeout": 0}, "Timeout shorter than"),
        ({"timeout": -5}, "Timeout shorter than"),
        ({}, "Timeout shorter than"),
        ({"timeout": 86401}, "Timeout longer than"),
        ({"timeout": "1"}, "Bad channel"),
        ({"timeout": 1.5}, "Bad channel"),
        ({"timeout": True}, "Bad channel"),
        ({"timeout": 5, "x": 1}, "Bad channel"),
        (None, "Bad channel"),
        ([], "Bad channel"),
    ],
)
def test_timeouts_that_are_refused(channel: str, content: Any, words: str) -> None:
    """Between one second and a day; an absent member counts as 0; null is no 500 here."""
    answer = call("PATCH", channel, content=content)
    _is_error(answer, 400)
    assert answer.detail.startswith(words)
    assert call("GET", channel).json == {"timeout": 300}


@pytest.mark.rule("DELETE /events/channels/C")
def test_a_deleted_channel_is_gone(front: str) -> None:
    """404 everywhere, on every node."""
    url = _channel(front)
    assert call("DELETE", url).status == 204
    for _ in range(3):
        _is_error(call("GET", url), 404, "No such channel")
        _is_error(call("DELETE", url), 404, "No such channel")
        _is_error(call("PATCH", url, content={"timeout": 5}), 404, "No such channel")
        _is_error(call("GET", f"{url}/subscriptions"), 404, "No such channel")
        stream = call("GET", url, headers={"Accept": "text/event-stream"})
        _is_error(stream, 404, "No such channel")


@pytest.mark.parametrize(
    ("method", "suffix", "content"),
    [
        ("GET", "", ...),
        ("PATCH", "", {"timeout": 5}),
        ("DELETE", "", ...),
        ("GET", "/subscriptions", ...),
        ("POST", "/subscriptions/inotify", {"path": "/data"}),
        ("GET", "/subscriptions/inotify/x", ...),
        ("DELETE", "/subscriptions/inotify/x", ...),
    ],
)
def test_somebody_elses_channel_is_a_403(
    channel: str, method: str, suffix: str, content: Any
) -> None:
    """And stays as it is."""
    answer = call(method, channel + suffix, "bob", content=content)
    _is_error(answer, 403, "Forbidden")
    assert call("GET", channel).status == 200


def test_a_user_has_at_most_128_channels(front: str) -> None:
    """Then 429, which says which limit it was; deleting one makes room."""
    url = f"{_events(front)}/channels"
    for one in call("GET", url, "bob").json:
        call("DELETE", one, "bob")
    made = [_channel(front, "bob") for _ in range(128)]
    try:
        answer = call("POST", url, "bob")
        _is_error(answer, 429)
        assert answer.detail == "Too Many Requests"
        assert (answer.json["limit"], answer.json["maximum"]) == ("channels-per-user", 128)
        call("DELETE", made.pop(), "bob")
        made.append(_channel(front, "bob"))
    finally:
        for one in made:
            call("DELETE", one, "bob")


# subscriptions


def _subscribe(channel: str, selector: Any, kind: str = "inotify", user: str = "alice") -> Answer:
    return call("POST", f"{channel}/subscriptions/{kind}", user, content=selector)


@pytest.mark.rule(
    "GET /events/channels/C/subscriptions",
    "POST /events/channels/C/subscriptions/T",
    "GET /events/channels/C/subscriptions/T/S",
)
def test_a_subscription_is_made_and_merged(channel: str) -> None:
    """201 and an empty body; the same inode again: 303 to the same URL."""
    first = _subscribe(channel, {"path": "/data"})
    assert (first.status, first.body) == (201, b"")
    url = first.one("Location")
    assert re.fullmatch(re.escape(channel) + r"/subscriptions/inotify/[A-Za-z0-9_-]{24}", url)
    again = _subscribe(channel, {"path": "/data/../data/", "flags": ["IN_CREATE"]})
    assert (again.status, again.body) == (303, b"")
    assert again.one("Location") == url
    assert call("GET", url).json == {"path": "/data/../data/", "flags": ["IN_CREATE"]}
    assert call("GET", f"{channel}/subscriptions").json == [url]


def test_the_same_inode_has_the_same_id_on_any_channel(front: str, channel: str) -> None:
    """The id is the inode's."""
    other = _channel(front)
    ids = {
        _subscribe(one, {"path": "data"}).one("Location").rpartition("/")[2]
        for one in (channel, other)
    }
    call("DELETE", other)
    assert len(ids) == 1


def test_a_metronome_is_never_merged(channel: str) -> None:
    """A random UUID each time."""
    urls = {_subscribe(channel, {"delay": 100}, "metronome").one("Location") for _ in range(2)}
    assert len(urls) == 2
    for url in urls:
        uuid.UUID(url.rpartition("/")[2])
        assert call("GET", url).json == {"delay": 100}


@pytest.mark.rule("DELETE /events/channels/C/subscriptions/T/S")
def test_a_subscription_is_ended(channel: str) -> None:
    """204; then 404 with the words of each method."""
    url = _subscribe(channel, {"path": "/data"}).one("Location")
    assert call("DELETE", url).status == 204
    _is_error(call("GET", url), 404, "No such subscription")
    _is_error(call("DELETE", url), 404, "Subscription not found")
    assert call("GET", f"{channel}/subscriptions").json == []


@pytest.mark.parametrize(
    ("kind", "selector", "words"),
    [
        ("nope", {"path": "/"}, "Unknown event type: nope"),
        ("SYSTEM", {}, "Unknown event type: SYSTEM"),
        ("inotify", {"path": "/nope"}, "Not found: Problem with path: "),
        ("inotify", {"path": "/data/x/y"}, "Not found: Problem with path: "),
        ("inotify", {"path": "/home/bob"}, "Not found: Problem with path: "),
        ("inotify", {}, "Bad selector: "),
        ("inotify", [], "Bad selector: "),
        ("inotify", "x", "Bad selector: "),
        ("inotify", {"path": 1}, "Bad selector: "),
        ("inotify", {"path": "/data", "nope": 1}, "Bad selector: "),
        ("inotify", {"path": "/data", "flags": ["IN_MOVE_FROM"]}, "Bad selector: "),
        ("inotify", {"path": "/data", "flags": [1]}, "Bad selector: "),
        ("inotify", {"path": "/a\u0000b"}, "Bad selector: "),
        ("inotify", {"path": "/\ud800"}, "Bad JSON: half a surrogate pair"),
        ("metronome", {}, "Bad selector: "),
        ("metronome", {"delay": 1, "frequency": 1}, "Bad selector: "),
        ("metronome", {"delay": 301}, "Bad selector: "),
        ("metronome", {"delay": 1, "message": ""}, "Bad selector: "),
        ("metronome", {"delay": 1, "count": -1}, "Bad selector: "),
    ],
)
def test_selectors_that_are_refused(channel: str, kind: str, selector: Any, words: str) -> None:
    """400 with dCache's words; an absent path is not a 404."""
    answer = _subscribe(channel, selector, kind)
    _is_error(answer, 400)
    assert answer.detail.startswith(words), answer.detail


def test_only_directories_can_be_asked_for(api_site: ApiSite, channel: str) -> None:
    """IN_ONLYDIR on a file."""
    with api_site.webdav() as door:
        door.put("/data/exp/plain", content=b"x").raise_for_status()
    answer = _subscribe(channel, {"path": "/data/exp/plain", "flags": ["IN_ONLYDIR"]})
    _is_error(answer, 400, "Failed condition: IN_ONLYDIR with REGULAR target")
    assert _subscribe(channel, {"path": "/data/exp/plain"}).status == 201


@pytest.mark.parametrize("body", [b"", b"null"])
def test_a_missing_selector_is_said_before_who_asks(front: str, body: bytes) -> None:
    """400 even for the anonymous, as dCache."""
    answer = call(
        "POST",
        f"{_events(front)}/channels/x/subscriptions/inotify",
        None,
        body=body,
        headers={"Content-Type": "application/json"},
    )
    _is_error(answer, 400, "Missing JSON entity in POST request")


def test_absent_and_forbidden_are_the_same_bytes(api_site: ApiSite, channel: str) -> None:
    """Status, headers and body, the path itself aside."""
    with api_site.webdav("bob") as door:
        door.request("MKCOL", "/home/bob/secret")
    answers = []
    for path in ("/home/bob/secret", "/home/bob/absent", "/home/bob", "/home/nobody"):
        answer = _subscribe(channel, {"path": path})
        head = re.sub(rb"Date: [^\r]*|Content-Length: \d+", b"", answer.head)
        answers.append((head, answer.body.replace(json.dumps(path)[1:-1].encode(), b"PATH")))
    assert len(set(answers)) == 1, answers


# sanity around the table


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/channels", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/eventTypes", "GET, HEAD, OPTIONS"),
        ("PUT", "/channels/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", "/channels/x/subscriptions/inotify", "OPTIONS, POST"),
        ("TRACE", "", "GET, HEAD, OPTIONS"),
    ],
)
def test_other_methods_are_a_405_with_allow(
    front: str, method: str, path: str, allow: str
) -> None:
    """And OPTIONS says the same."""
    answer = call(method, _events(front) + path)
    _is_error(answer, 405)
    assert answer.one("Allow") == allow
    assert call("OPTIONS", _events(front) + path).one("Allow") == allow


def test_head_is_get_without_a_body(front: str, channel: str) -> None:
    """The same status and type; a stream is not opened."""
    answer = call("HEAD", f"{_events(front)}/channels")
    assert (answer.status, answer.body) == (200, b"")
    answer = call("HEAD", channel, headers={"Accept": "text/event-stream"})
    assert (answer.status, answer.body) == (200, b"")


def test_unknown_paths_are_404(front: str) -> None:
    """Below the API and beside it."""
    for path in ("/api/v1/events/nope", "/api/v2", "/nope"):
        _is_error(call("GET", front + path), 404)


def test_what_is_neither_json_nor_a_stream_is_not_acceptable(channel: str) -> None:
    """406."""
    _is_error(call("GET", channel, headers={"Accept": "image/png"}), 406)


def test_answers_may_not_be_stored_or_sniffed(front: str) -> None:
    """Every one of them."""
    for url in (_events(front), f"{_events(front)}/channels", f"{front}/nope"):
        answer = call("GET", url)
        assert answer.one("Cache-Control") == "no-store"
        assert answer.one("X-Content-Type-Options") == "nosniff"
