"""What a browser's `EventSource` is told that dCache's other clients must not be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.wire import Stream, call

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

BROWSER = {"Sec-Fetch-Mode": "cors", "Cache-Control": "no-cache"}
"""What a browser's `EventSource` sends, both together; nobody else does."""


def test_a_browser_has_an_id_before_the_first_event(
    api_site: ApiSite, channel: str, directory: str
) -> None:
    """In an event without data, which it does not dispatch; so whatever is lost is told again."""
    selector = {"path": directory, "flags": ["IN_CREATE"]}
    call("POST", f"{channel}/subscriptions/inotify", content=selector)
    with Stream(channel, headers=BROWSER) as stream, api_site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
        while b"event: inotify" not in stream.body:
            assert stream.read(20)
    found = re.match(rb"id: ([0-9]+)\n\nevent: inotify\n", stream.body)
    assert found, stream.body
    headers = BROWSER | {"Last-Event-ID": found[1].decode()}
    with Stream(channel, headers=headers) as stream:
        stream.until(1)
    assert stream.body.startswith(b"event: inotify\n")
    assert stream.masks() == [("a", "IN_CREATE")]


@pytest.mark.parametrize("name", BROWSER)
def test_nobody_else_is_told_an_id_alone(channel: str, name: str) -> None:
    """Other clients would take it for an event: sseclient, or `fetch` in a page."""
    with Stream(channel, headers={name: BROWSER[name]}) as stream:
        call("POST", f"{channel}/subscriptions/inotify", content={"path": "/data"})
        stream.until(1)
    assert stream.body.startswith(b"event: SYSTEM\n")
