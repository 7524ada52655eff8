"""The rules that real clients enforce (R1 to R24), byte by byte, over a real socket."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.wire import Stream, basic, call, exchange, request

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

NASTY = [
    "plain", "a b", 'quo"te', "back\\slash", "Å", "\u2028", "\u2029", "😀", "%2F", "a?b#c",
    "é" * 100, "<img src=x onerror=alert(1)>",
]  # fmt: skip


def _subscribe(channel: str, selector: Any, kind: str = "inotify") -> str:
    answer = call("POST", f"{channel}/subscriptions/{kind}", content=selector)
    assert answer.status == 201, answer
    return answer.one("Location")


def _make(site: ApiSite, front: str, parent: str, names: list[str]) -> None:
    """Make directories of any name, by the REST that is passed through."""
    for name in names:
        answer = call(
            "POST",
            f"{front}/api/v1/namespace{parent}",
            content={"action": "mkdir", "name": name},
        )
        assert answer.status == 201, answer


@pytest.mark.rule("R1")
def test_r1_http_1_1_and_location_with_a_capital(front: str) -> None:
    """`ada` finds `Location:` with awk."""
    answer = call("POST", f"{front}/api/v1/events/channels")
    assert answer.head.startswith(b"HTTP/1.1 201 ")
    assert re.search(rb"\r\nLocation: http", answer.head)
    call("DELETE", answer.one("Location"))


@pytest.mark.rule("R2")
def test_r2_location_stands_nowhere_else(front: str) -> None:
    """Neither in another header nor in the body."""
    answer = call("POST", f"{front}/api/v1/events/channels")
    call("DELETE", answer.one("Location"))
    assert (answer.head + answer.body).lower().count(b"location:") == 1


@pytest.mark.rule("R3", "R4", "R5", "R6", "R7", "R10", "R12", "R13", "R14")
def test_r3_to_r7_and_r10_the_bytes_of_an_event(
    api_site: ApiSite, front: str, channel: str, directory: str
) -> None:
    """LF only, no retry, event-id-data, one data line of ASCII, ids of digits, known names."""
    url = _subscribe(channel, {"path": directory, "flags": ["IN_CREATE"]})
    _make(api_site, front, directory, NASTY)
    with Stream(channel) as stream:
        events = stream.until(len(NASTY))
        body = bytes(stream.body)
    assert b"\r" not in body
    assert b"retry" not in body
    assert body.isascii()
    for event, name in zip(events, NASTY, strict=True):
        assert event.kind == "inotify"
        assert re.fullmatch(r"[0-9]+", event.id or "")
        # R12 to R14: the subscription's bytes, the order of the mask, nothing that is not there
        expected = (
            b'data: {"event":{"name":'
            + json.dumps(name).encode()
            + b',"mask":["IN_CREATE","IN_ISDIR"]},"subscription":"'
            + url.encode()
            + b'"}\n\n'
        )
        assert event.raw.endswith(expected), event.raw
    assert len({event.id for event in events}) == len(events)


@pytest.mark.rule("R7", "R18")
def test_r7_and_r18_system_events_have_no_id_and_are_not_repeated(
    channel: str, directory: str
) -> None:
    """They are for the connection that is there."""
    with Stream(channel) as stream:
        url = _subscribe(channel, {"path": directory})
        (event,) = stream.until(1)
    assert event.raw == (
        b'event: SYSTEM\ndata: {"type":"NEW_SUBSCRIPTION","subscription":"%s"}\n\n' % url.encode()
    )
    with Stream(channel) as stream:
        while not stream.comments:
            stream.read(5)
        assert stream.events == []


@pytest.mark.rule("R8")
def test_r8_a_keep_alive_is_a_comment_line_without_a_blank_one(channel: str) -> None:
    """A comment block makes `sseclient` deliver an empty event."""
    with Stream(channel) as stream:
        deadline = time.monotonic() + 20
        while len(stream.comments) < 3 and time.monotonic() < deadline:
            stream.read(5)
        assert re.fullmatch(rb"(?::[^\n]*\n)+", bytes(stream.body))
        assert len(stream.comments) >= 3


@pytest.mark.rule("R9")
def test_r9_a_stream_is_not_chunked_and_ends_with_the_connection(channel: str) -> None:
    """`sseclient` does not undo chunks."""
    with Stream(channel) as stream:
        assert stream.answer.all("Transfer-Encoding") == []
        assert stream.answer.all("Content-Length") == []
        assert stream.answer.one("Connection").lower() == "close"
        assert call("DELETE", channel).status == 204
        stream.until_end()
        assert not bytes(stream.body).endswith(b"0\r\n\r\n")


@pytest.mark.rule("R11", "GET /events/channels/C as a stream")
def test_r11_the_type_and_the_headers_come_at_once(channel: str) -> None:
    """Before any event; and no proxy may hold it back."""
    with Stream(channel) as stream:
        assert stream.answer.status == 200
        assert stream.answer.one("Content-Type") == "text/event-stream"
        assert stream.answer.one("Cache-Control") == "no-store"
        assert stream.answer.one("X-Accel-Buffering") == "no"


@pytest.mark.rule("R12")
def test_r12_a_subscription_has_one_spelling(
    api_site: ApiSite, front: str, channel: str, directory: str
) -> None:
    """Location, list and events are the same bytes: clients use them as keys."""
    url = _subscribe(channel, {"path": directory})
    assert call("GET", f"{channel}/subscriptions").json == [url]
    _make(api_site, front, directory, ["x"])
    with Stream(channel) as stream:
        assert stream.until(1)[0].data["subscription"] == url
    assert f"/subscriptions/inotify/{url.rpartition('/')[2]}" in url
    assert url.startswith(f"{channel}/subscriptions/inotify/")


@pytest.mark.rule("R13", "R14")
def test_r13_and_r14_a_move_has_name_cookie_mask_and_a_self_event_only_a_mask(
    api_site: ApiSite, channel: str, directory: str
) -> None:
    """Absent members are absent, not null."""
    with api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        _subscribe(channel, {"path": directory, "flags": ["IN_MOVE", "IN_DELETE_SELF"]})
        destination = {"Destination": f"{api_site.webdav_url}{directory}/b"}
        door.request("MOVE", f"{directory}/a", headers=destination).raise_for_status()
        door.request("DELETE", f"{directory}/b/").raise_for_status()
        door.request("DELETE", f"{directory}/").raise_for_status()
    with Stream(channel) as stream:
        events = [one.data for one in stream.until(5)]
    moved_from, moved_to = (one["event"] for one in events[:2])
    assert list(moved_from) == ["name", "cookie", "mask"]
    assert moved_from["cookie"] == moved_to["cookie"]
    assert (moved_from["name"], moved_from["mask"]) == ("a", ["IN_MOVED_FROM", "IN_ISDIR"])
    assert (moved_to["name"], moved_to["mask"]) == ("b", ["IN_MOVED_TO", "IN_ISDIR"])
    assert "event" in events[2], events
    assert events[2]["event"] == {"mask": ["IN_DELETE_SELF"]}
    assert events[3] == {"type": "SUBSCRIPTION_CLOSED", "subscription": events[0]["subscription"]}


@pytest.mark.rule("R15", "R16")
def test_r15_and_r16_subscribing_again_is_a_303_and_bodies_are_empty(
    channel: str, directory: str
) -> None:
    """`ada` lets curl print the body into its own output."""
    first = call("POST", f"{channel}/subscriptions/inotify", content={"path": directory})
    again = call("POST", f"{channel}/subscriptions/inotify", content={"path": directory})
    assert (first.status, first.body, again.status, again.body) == (201, b"", 303, b"")
    followed = call("GET", again.one("Location"))
    assert (followed.status, followed.json) == (200, {"path": directory})
    for method, content in (("PATCH", {"timeout": 9}), ("DELETE", ...)):
        answer = call(method, channel, content=content)
        assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("extra", [{}, {"flags": ["IN_CREATE"]}, {"recursive": True}])
@pytest.mark.rule("R17")
def test_r17_a_selector_comes_back_as_it_was_supplied(
    channel: str, directory: str, extra: dict[str, Any]
) -> None:
    """No member that the client did not send: `ada` cannot print arrays."""
    selector = {"path": directory, **extra}
    url = _subscribe(channel, selector)
    assert call("GET", url).json == selector
    assert set(call("GET", channel).json) == {"timeout"}


@pytest.mark.rule("R19")
def test_r19_nothing_is_sent_again_on_reconnecting(
    api_site: ApiSite, front: str, channel: str, directory: str
) -> None:
    """Events up to Last-Event-ID have been seen; those after it come, in order."""
    _subscribe(channel, {"path": directory})
    _make(api_site, front, directory, ["a", "b", "c"])
    with Stream(channel) as stream:
        seen = [event.id for event in stream.until(3)]
    with Stream(channel, headers={"Last-Event-ID": seen[0] or ""}) as stream:
        assert [event.id for event in stream.until(2)] == seen[1:]
    _make(api_site, front, directory, ["d"])
    with Stream(channel, headers={"Last-Event-ID": seen[2] or ""}) as stream:
        assert stream.masks() == [] or stream.masks() == [("d", "IN_CREATE")]
        assert stream.until(1)[0].data["event"]["name"] == "d"


@pytest.mark.parametrize("rubbish", ["x", "-1", "", "1.5", "7", "9" * 400, "٣", "0x10"])
def test_r19_an_id_that_is_not_this_channels_is_as_if_absent(
    api_site: ApiSite, front: str, channel: str, directory: str, rubbish: str
) -> None:
    """Neither an error nor a hint."""
    _subscribe(channel, {"path": directory})
    _make(api_site, front, directory, ["a"])
    headers = {"Last-Event-ID": rubbish.encode().decode("latin-1")}
    with Stream(channel, headers=headers) as stream:
        assert stream.until(1)[0].data["event"]["name"] == "a"


@pytest.mark.parametrize(
    "path", ["%2Fdata%2Fexp", "data/exp", "/data/exp", "data//exp/", "data/./x/../exp"]
)
@pytest.mark.rule("R20")
def test_r20_paths_of_the_namespace_as_clients_write_them(front: str, path: str) -> None:
    """Encoded, doubled and absent slashes; `children=True` with a capital."""
    url = f"{front}/api/v1/namespace/"
    answer = call("GET", url, target=f"/api/v1/namespace/{path}?children=True")
    assert (answer.status, answer.json["fileType"]) == (200, "DIR")
    assert isinstance(answer.json["children"], list)


@pytest.mark.parametrize(("user", "is_admin"), [("admin#admin", True), ("alice#admin", False)])
@pytest.mark.rule("R21")
def test_r21_a_role_may_stand_behind_the_name(front: str, user: str, *, is_admin: bool) -> None:
    """One that the user does not own is ignored."""
    answer = call("GET", f"{front}/api/v1/user", user)
    assert answer.json["status"] == "AUTHENTICATED"
    assert answer.json["username"] == user.partition("#")[0]
    assert ("admin" in answer.json.get("roles", [])) is is_admin


@pytest.mark.rule("R22")
def test_r22_the_body_of_a_new_channel_is_for_surfs_library(front: str) -> None:
    """Its id, and its URL below the API; and `flags` may be one string."""
    answer = call("POST", f"{front}/api/v1/events/channels")
    identity = answer.one("Location").rpartition("/")[2]
    assert answer.json == {"id": identity, "url": f"events/channels/{identity}"}
    assert answer.one("Content-Type") == "application/json"
    selector = {"path": "/data", "flags": "IN_CREATE,IN_DELETE"}
    _subscribe(answer.one("Location"), selector)
    call("DELETE", answer.one("Location"))


@pytest.mark.rule("R23")
def test_r23_errors_have_both_shapes(front: str) -> None:
    """dCache's of today and of before 8.2."""
    body = call("GET", f"{front}/api/v1/events/eventTypes/nope").json
    assert body == {
        "status": "404",
        "title": "Not Found",
        "detail": "No such event type",
        "errors": [{"message": "No such event type", "status": "404"}],
    }


@pytest.mark.rule("R24")
def test_r24_a_macaroon_opens_a_stream_in_the_query(
    api_site: ApiSite, front: str, directory: str
) -> None:
    """Version 1 in base64, as header and as `?authz=`, with what it takes away."""
    with api_site.webdav() as door:
        answer = door.post(
            "/data/exp",
            headers={"Content-Type": "application/macaroon-request"},
            json={"caveats": ["activity:LIST,DOWNLOAD"], "validity": "PT10M"},
        )
        answer.raise_for_status()
    token = answer.json()["macaroon"]
    bearer = {"Authorization": f"Bearer {token}"}
    url = f"{front}/api/v1/events/channels"
    made = exchange(url, request("POST", url, bearer, b""))
    assert made.status == 201, made
    channel = made.one("Location")

    def subscribe(path: str) -> int:
        goal = f"{channel}/subscriptions/inotify"
        headers = {**bearer, "Content-Type": "application/json"}
        return exchange(
            goal, request("POST", goal, headers, json.dumps({"path": path}).encode())
        ).status

    assert subscribe(directory) == 201
    assert subscribe("/home/alice") == 400
    _make(api_site, front, directory, ["seen"])
    with Stream(f"{channel}?authz={token}", None) as stream:
        assert stream.until(1)[0].data["event"]["name"] == "seen"
    # a channel belongs to its token's rights: the user's own password is another owner
    assert call("GET", channel).status == 403
    assert channel not in call("GET", url).json
    both = exchange(channel, request("GET", f"{channel}?authz={token}", basic("alice")))
    assert both.status == 400
    exchange(channel, request("DELETE", channel, bearer))
