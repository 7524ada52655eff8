"""How long channels live and events are kept; and who is refused a stream."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from deploy.local import processes
from pipeline.replay import redis_script
from pipeline.replay.redis_log import RedisReplayLog
from tests.wire import Stream, call

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

STREAM = {"Accept": "text/event-stream"}


def _is_gone(channel: str) -> bool:
    return call("GET", channel).status == 404


def test_a_channel_that_nobody_connects_to_ends(channel: str) -> None:
    """Its timeout runs from its creation; a PATCH lets it run anew."""
    assert call("PATCH", channel, content={"timeout": 1}).status == 204
    assert processes.wait_until(lambda: _is_gone(channel), timeout_s=30)
    assert channel not in call("GET", channel.rpartition("/")[0]).json


def test_a_channel_with_a_reader_lives_on_and_ends_afterwards(channel: str) -> None:
    """The timeout stops while somebody is connected, and runs from their leaving."""
    assert call("PATCH", channel, content={"timeout": 4}).status == 204
    with Stream(channel) as stream:
        while len(stream.comments) < 6:  # one a second
            assert stream.read(30)
        assert not _is_gone(channel)
    assert processes.wait_until(lambda: _is_gone(channel), timeout_s=30)


async def _trim(redis_url: str, prefix: str, number: int) -> None:
    """Do to the replay log what age does, once it has a number: that one is gone, too."""
    redis = redis_script.connect(redis_url, timeout_s=20.0)
    log = RedisReplayLog(redis, prefix=prefix, event_type="inotify", max_age_s=0, max_bytes=0)
    try:
        assert await log.wait_for("sim", number, 60)
        async with asyncio.timeout(60):
            while (await log.state()).floors.get("sim", 0) < number:
                await log.append([])
    finally:
        await log.close()


def _newest(api_site: ApiSite) -> int:
    """Return the storage's newest number, as it tells it to a node."""
    answer = call(
        "GET",
        f"{api_site.rest_url}/api/v1/namespace/data",
        headers={"Storage-Events-Key": "a key of both"},
    )
    newest: int = answer.json["watch"]["positions"]["sim"]
    return newest


@pytest.mark.rule("EVENT_LOSS")
async def test_what_cannot_be_given_any_more_is_announced(
    api_site: ApiSite, redis_url: str, channel: str, directory: str
) -> None:
    """EVENT_LOSS names what to look at again, and the stream goes on with what is still there."""
    made = call("POST", f"{channel}/subscriptions/inotify", content={"path": directory})
    with api_site.webdav() as door:
        with Stream(channel) as stream:
            door.request("MKCOL", f"{directory}/seen").raise_for_status()
            (seen,) = stream.until(1)
        door.request("MKCOL", f"{directory}/lost").raise_for_status()
        with Stream(channel, headers={"Last-Event-ID": seen.id or ""}) as stream:
            assert stream.until(1)[0].data["event"]["name"] == "lost"
        await _trim(redis_url, api_site.prefix, _newest(api_site))
        door.request("MKCOL", f"{directory}/kept").raise_for_status()
        with Stream(channel, headers={"Last-Event-ID": seen.id or ""}) as stream:
            loss, kept = stream.until(2)
    url = made.one("Location")
    content = {"type": "EVENT_LOSS", "subscription": url, "path": directory}
    data = json.dumps(content, separators=(",", ":"))
    assert loss.raw == f"event: SYSTEM\ndata: {data}\n\n".encode()
    assert kept.data["event"]["name"] == "kept"


@pytest.mark.parametrize(("user", "status"), [(None, 401), ("bob", 403)])
def test_a_stream_is_refused_as_everything_else_is(
    channel: str, user: str | None, status: int
) -> None:
    """With a JSON body, although a stream was asked for; the owner's is not disturbed."""
    with Stream(channel) as stream:
        answer = call("GET", channel, user, headers=STREAM)
        assert answer.status == status
        assert answer.json["status"] == str(status)
        assert answer.one("Content-Type") == "application/json"
        while not stream.comments:
            assert stream.read(30)
        assert stream.events == []


def test_subscribing_to_a_channel_that_is_not_there(front: str) -> None:
    """404, after the selector was read."""
    url = f"{front}/api/v1/events/channels/pf_B1dEed98IVKqc9BNa-w/subscriptions/inotify"
    answer = call("POST", url, content={"path": "/data"})
    assert (answer.status, answer.detail) == (404, "No such channel")


@pytest.mark.parametrize(("method", "suffix"), [("POST", "/subscriptions/inotify"), ("PATCH", "")])
def test_bodies_that_are_no_json_are_a_415(channel: str, method: str, suffix: str) -> None:
    """As for a new channel."""
    headers = {"Content-Type": "text/plain"}
    body = b'{"path":"/data"}' if suffix else b'{"timeout":5}'
    answer = call(method, channel + suffix, body=body, headers=headers)
    assert answer.status == 415
    assert answer.json["status"] == "415"
