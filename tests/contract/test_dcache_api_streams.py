"""SYSTEM events, metronomes, one-request streams: what a connected client is told and when."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local import processes
from tests.wire import Stream, call

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack


def _subscribe(channel: str, selector: Any, kind: str = "inotify") -> str:
    answer = call("POST", f"{channel}/subscriptions/{kind}", content=selector)
    assert answer.status == 201, answer
    return answer.one("Location")


def _system(stream: Stream) -> list[tuple[str, str | None]]:
    return [
        (event.data["type"], event.data.get("subscription"))
        for event in stream.events
        if event.kind == "SYSTEM"
    ]


@pytest.mark.rule("NEW_SUBSCRIPTION", "SUBSCRIPTION_CLOSED")
def test_a_new_subscription_is_announced_and_a_merged_one_is_not(
    channel: str, directory: str
) -> None:
    """NEW_SUBSCRIPTION on 201, nothing on 303; SUBSCRIPTION_CLOSED and IN_IGNORED at the end."""
    with Stream(channel) as stream:
        url = _subscribe(channel, {"path": directory})
        stream.until(1)
        again = call("POST", f"{channel}/subscriptions/inotify", content={"path": directory})
        assert again.status == 303
        assert call("DELETE", url).status == 204
        events = stream.until(3)
    assert _system(stream) == [("NEW_SUBSCRIPTION", url), ("SUBSCRIPTION_CLOSED", url)]
    assert events[2].data == {"event": {"mask": ["IN_IGNORED"]}, "subscription": url}
    assert events[2].id is not None


@pytest.mark.rule("COMPETING_CLIENT")
def test_a_second_connection_takes_over(channel: str) -> None:
    """COMPETING_CLIENT to the old one, which is closed; the new one wins, on whatever node."""
    with Stream(channel) as old, Stream(channel) as new:
        events = old.until_end()
        assert [event.raw for event in events] == [
            b'event: SYSTEM\ndata: {"type":"COMPETING_CLIENT"}\n\n'
        ]
        new.read(1)
        assert not new.is_at_end


@pytest.mark.rule("SUBSCRIPTION_CLOSED")
def test_closing_a_channel_closes_its_subscriptions_and_then_the_connection(
    channel: str, directory: str
) -> None:
    """One SUBSCRIPTION_CLOSED each, no IN_IGNORED."""
    urls = {_subscribe(channel, {"path": directory}), _subscribe(channel, {"path": "/data"})}
    with Stream(channel) as stream:
        assert call("DELETE", channel).status == 204
        stream.until_end()
    assert {url for kind, url in _system(stream) if kind == "SUBSCRIPTION_CLOSED"} == urls
    assert len(stream.events) == 2


@pytest.mark.rule("SUBSCRIPTION_CLOSED")
def test_a_metronome_as_in_dcaches_book(channel: str) -> None:
    """NEW_SUBSCRIPTION, one tick, SUBSCRIPTION_CLOSED: the sample of the manual."""
    with Stream(channel) as stream:
        url = _subscribe(channel, {"delay": 0.2, "count": 1}, "metronome")
        events = stream.until(3)
        assert processes.wait_until(lambda: call("GET", url).status == 404, timeout_s=30)
    assert [event.kind for event in events] == ["SYSTEM", "metronome", "SYSTEM"]
    assert _system(stream) == [("NEW_SUBSCRIPTION", url), ("SUBSCRIPTION_CLOSED", url)]
    assert events[1].data == {"event": "tick", "subscription": url}


def test_a_metronome_fills_in_who_and_how_often(channel: str) -> None:
    """`${username}` and `${count}`, from 1."""
    with Stream(channel) as stream:
        message = "${username} ${user} ${count} ${nope}"
        _subscribe(channel, {"frequency": 20, "count": 3, "message": message}, "metronome")
        events = [event for event in stream.until(5) if event.kind == "metronome"]
    assert [event.data["event"] for event in events] == [
        f"alice alice {number} ${{nope}}" for number in (1, 2, 3)
    ]


def test_events_between_subscribing_and_connecting_arrive(
    api_site: ApiSite, channel: str, directory: str
) -> None:
    """What dCache loses silently."""
    _subscribe(channel, {"path": directory, "flags": ["IN_CREATE"]})
    with api_site.webdav() as door:
        for number in range(20):
            door.request("MKCOL", f"{directory}/{number}").raise_for_status()
    with Stream(channel) as stream:
        stream.until(20)
    assert stream.masks() == [(str(number), "IN_CREATE") for number in range(20)]


@pytest.mark.rule("SUBSCRIPTION_CLOSED")
def test_one_shot_is_one_event(api_site: ApiSite, channel: str, directory: str) -> None:
    """Then SUBSCRIPTION_CLOSED and IN_IGNORED."""
    _subscribe(channel, {"path": directory, "flags": ["IN_CREATE", "IN_ONESHOT"]})
    with api_site.webdav() as door:
        for name in ("a", "b", "c"):
            door.request("MKCOL", f"{directory}/{name}").raise_for_status()
    with Stream(channel) as stream:
        stream.until(3)
        stream.read(1)
    assert stream.masks() == [("a", "IN_CREATE"), (None, "IN_IGNORED")]
    url = f"{channel}/subscriptions"
    assert processes.wait_until(lambda: call("GET", url).json == [], timeout_s=30)


def test_mask_add_really_adds(api_site: ApiSite, channel: str, directory: str) -> None:
    """The old flags go on selecting."""
    _subscribe(channel, {"path": directory, "flags": ["IN_CREATE"]})
    again = {"path": directory, "flags": ["IN_DELETE", "IN_MASK_ADD"]}
    assert call("POST", f"{channel}/subscriptions/inotify", content=again).status == 303
    with api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        door.request("DELETE", f"{directory}/a/").raise_for_status()
    with Stream(channel) as stream:
        stream.until(2)
    assert stream.masks() == [("a", "IN_CREATE"), ("a", "IN_DELETE")]


# the one-request stream


def test_one_request_subscribes_and_streams(api_site: ApiSite, front: str, directory: str) -> None:
    """Recursive and filtered, for curl."""
    url = f"{front}/api/v1/events/stream?watch={directory}&recursive=true&include=*.h5"
    with Stream(url, headers={"Accept": "*/*"}) as stream, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/sub").raise_for_status()
        door.put(f"{directory}/sub/a.txt", content=b"x").raise_for_status()
        door.put(f"{directory}/sub/a.h5", content=b"x").raise_for_status()
        stream.until(5)
    assert {name for name, _ in stream.masks()} == {"sub/a.h5"}
    assert ("sub/a.h5", "IN_CLOSE_WRITE") in stream.masks()


def test_one_request_goes_on_where_its_last_event_was(
    api_site: ApiSite, front: str, directory: str
) -> None:
    """A browser comes back with the same query and Last-Event-ID, perhaps to another node."""
    url = f"{front}/api/v1/events/stream?watch={directory}&flags=IN_CREATE"
    before = set(call("GET", f"{front}/api/v1/events/channels").json)
    with Stream(url) as stream, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        _, first = stream.until(2)
    with api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/b").raise_for_status()
    with Stream(url, headers={"Last-Event-ID": first.id or ""}) as stream:
        stream.until(1)
    assert stream.masks() == [("b", "IN_CREATE")]
    assert len(set(call("GET", f"{front}/api/v1/events/channels").json) - before) == 1


def test_one_request_says_what_it_watches_and_goes_on_there_too(
    api_site: ApiSite, front: str, directory: str
) -> None:
    """Who loses the connection before the first event has an id to come back with."""
    url = f"{front}/api/v1/events/stream?watch={directory}&flags=IN_CREATE"
    before = call("GET", f"{front}/api/v1/events/channels").json
    with Stream(url) as stream:
        (said,) = stream.until(1)
    (channel,) = set(call("GET", f"{front}/api/v1/events/channels").json) - set(before)
    assert said.raw.startswith(b"event: SYSTEM\nid: %s\ndata: {" % (said.id or "").encode())
    (subscription,) = call("GET", f"{channel}/subscriptions").json
    assert said.data == {
        "type": "NEW_SUBSCRIPTION",
        "subscription": subscription,
        "path": directory,
    }
    with api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
    for _ in range(2):
        with Stream(url, headers={"Last-Event-ID": said.id or ""}) as stream:
            stream.until(1)
        assert stream.masks() == [("a", "IN_CREATE")]


def test_two_equal_streams_do_not_compete(api_site: ApiSite, front: str, directory: str) -> None:
    """Two windows of one user each have their own channel."""
    url = f"{front}/api/v1/events/stream?watch={directory}&flags=IN_CREATE"
    with Stream(url) as one, Stream(url) as two, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        one.until(2)
        two.until(2)
        assert one.masks() == two.masks() == [("a", "IN_CREATE")]


def test_a_named_stream_needs_no_id(api_site: ApiSite, front: str, directory: str) -> None:
    """The server's own cursor: a client that keeps nothing goes on where it stopped."""
    name = uuid.uuid4().hex
    url = f"{front}/api/v1/events/stream?watch={directory}&flags=IN_CREATE&client-id={name}"
    with Stream(url) as stream, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        stream.until(1)
    with api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/b").raise_for_status()
    with Stream(url) as stream:
        stream.until(1)
    assert stream.masks() == [("b", "IN_CREATE")]
    assert len(call("GET", f"{front}/api/v1/events/channels?client-id={name}").json) == 1


def test_a_snapshot_comes_first_and_nothing_is_missing_after_it(
    api_site: ApiSite, channel: str, directory: str
) -> None:
    """What is there when subscribing, then what happens, with no gap and no double."""
    with api_site.webdav() as door:
        for name in ("a", "b"):
            door.request("MKCOL", f"{directory}/{name}").raise_for_status()
        door.put(f"{directory}/a/deep", content=b"x").raise_for_status()
        selector = {
            "path": directory, "flags": ["IN_CREATE"], "snapshot": True, "recursive": True
        }  # fmt: skip
        _subscribe(channel, selector)
        door.request("MKCOL", f"{directory}/c").raise_for_status()
    with Stream(channel) as stream:
        events = [event.data["event"] for event in stream.until(4)]
    assert events == [
        {"name": "a", "mask": ["IN_CREATE", "IN_ISDIR"], "snapshot": True},
        {"name": "a/deep", "mask": ["IN_CREATE"], "snapshot": True},
        {"name": "b", "mask": ["IN_CREATE", "IN_ISDIR"], "snapshot": True},
        {"name": "c", "mask": ["IN_CREATE", "IN_ISDIR"]},
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "Bad query"),
        ("watch=/data&nope=1", "Bad query: unknown parameter 'nope'"),
        ("watch=/data&recursive=perhaps", "Bad query: recursive"),
        ("watch=/data&flags=IN_NOPE", "Bad selector"),
        ("watch=/nope", "Not found: Problem with path"),
        ("watch=/home/bob", "Not found: Problem with path"),
        ("watch=/data&type=metronome", "Unknown event type"),
        ("&".join(["watch=/data"] * 65), "Bad query"),
    ],
)
def test_queries_that_are_refused(front: str, query: str, words: str) -> None:
    """400 with a sentence; no channel is left behind."""
    before = set(call("GET", f"{front}/api/v1/events/channels", "carol").json)
    answer = call("GET", f"{front}/api/v1/events/stream?{query}", "carol")
    assert answer.status == 400, answer
    assert json.loads(answer.body)["detail"].startswith(words)
    # Some of an earlier test may have come to their end meanwhile.
    assert set(call("GET", f"{front}/api/v1/events/channels", "carol").json) <= before


@pytest.mark.rule("SHUTDOWN")
def test_shutdown_is_said_and_the_stream_goes_on_elsewhere(
    api_site: ApiSite, directory: str
) -> None:
    """A node that is stopped says SHUTDOWN; another goes on with nothing lost or doubled."""
    first, second, last = api_site.urls
    channel = call("POST", f"{first}/api/v1/events/channels").one("Location")
    _subscribe(channel, {"path": directory, "flags": ["IN_CREATE"]})
    there = channel.replace(first, last)
    with Stream(there) as stream, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        (event,) = stream.until(1)
        assert api_site.nodes[2].stop()
        events = stream.until_end()
        door.request("MKCOL", f"{directory}/b").raise_for_status()
    try:
        assert events[1].raw == b'event: SYSTEM\ndata: {"type":"SHUTDOWN"}\n\n'
        elsewhere = channel.replace(first, second)
        with Stream(elsewhere, headers={"Last-Event-ID": event.id or ""}) as stream:
            stream.until(1)
        assert stream.masks() == [("b", "IN_CREATE")]
    finally:
        api_site.nodes[2].start()
        api_site.ready(api_site.nodes[2], last)
        call("DELETE", channel)
