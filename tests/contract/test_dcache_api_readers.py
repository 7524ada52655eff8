"""Independent readers, cut off again and again and served by three nodes in turn, all agree."""

from __future__ import annotations

import json
import subprocess
import threading
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest
import requests
import sseclient  # type: ignore[import-untyped]

from deploy.local import processes
from tests.api_site import RoundRobin
from tests.wire import basic, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

EVENTS = 300
CUTS = 12
NASTY = [
    "plain", "a b", 'quo"te', "back\\slash", "Å", "\u2028", "😀", "%2F", "a?b#c", "é" * 120,
    "<img src=x onerror=alert(1)>", "data: x", "id: 7", ": k", "&amp;", "x" * 248,
]  # fmt: skip


@pytest.fixture
def robin(api_site: ApiSite) -> Iterator[RoundRobin]:
    """Give a front to three nodes whose connections can be cut."""
    front = RoundRobin(api_site.urls)
    try:
        yield front
    finally:
        front.close()


class Reader:
    """One client in a thread of its own.

    Args:
        read: yields `(event name, id, data)`, told which channel and when to stop.
        channel: its channel.
    """

    def __init__(self, read: Callable[[str, Reader], None], channel: str) -> None:
        self.names: list[str] = []
        self.is_done = False
        self._thread = threading.Thread(target=read, args=(channel, self), daemon=True)
        self._thread.start()

    def told(self, data: str) -> None:
        """Take one event's data."""
        content = json.loads(data)
        if "event" in content:
            self.names.append(content["event"]["name"])
        self.is_done = len(self.names) >= EVENTS

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(60)


def by_sseclient(channel: str, reader: Reader) -> None:
    """btubbs's client, the one that dCache's Python clients use: reconnects by itself."""
    last = None
    while not reader.is_done:
        try:
            client = sseclient.SSEClient(channel, last_id=last, retry=50, headers=basic("alice"))
            while not reader.is_done:
                reader.told(next(client).data)
                last = client.last_id
        except requests.RequestException:  # cut while it was connecting
            continue


def by_httpx_sse(channel: str, reader: Reader) -> None:
    """httpx-sse, reconnecting as its documentation has it."""
    last = ""
    with httpx.Client(auth=("alice", "alice-demo"), timeout=20) as client:
        while not reader.is_done:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with httpx_sse.connect_sse(client, "GET", channel, headers=headers) as source:
                    for event in source.iter_sse():
                        last = event.id or last
                        reader.told(event.data)
                        if reader.is_done:
                            return
            except httpx.HTTPError:
                continue


def by_curl(channel: str, reader: Reader) -> None:
    """Curl and a shell's way of reading: line by line, whole events only."""
    last = ""
    while not reader.is_done:
        command = ["curl", "-sN", "-u", "alice:alice-demo", "-H", "Accept: text/event-stream"]
        if last:
            command += ["-H", f"Last-Event-ID: {last}"]
        with subprocess.Popen([*command, channel], stdout=subprocess.PIPE) as running:
            assert running.stdout
            fields: dict[str, str] = {}
            for raw in running.stdout:
                name, _, value = raw.decode("ascii").rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    last = fields.get("id", last)
                    reader.told(fields["data"])
                    fields = {}
                if reader.is_done:
                    running.kill()


READERS: list[Any] = [by_sseclient, by_httpx_sse, by_curl]


def test_all_readers_read_the_same(api_site: ApiSite, robin: RoundRobin) -> None:
    """Every event once, in order, whatever its name and however often they are cut off."""
    directory = f"/data/exp/{uuid.uuid4().hex[:12]}"
    url = f"{robin.url}/api/v1/events/channels"
    names = [f"{number:03d}{NASTY[number % len(NASTY)]}" for number in range(EVENTS)]
    with httpx.Client(auth=("alice", "alice-demo"), base_url=api_site.rest_url) as storage:
        made = storage.post(
            "/api/v1/namespace/data/exp",
            json={"action": "mkdir", "name": directory.rpartition("/")[2]},
        )
        made.raise_for_status()
        channels = [call("POST", url).one("Location") for _ in READERS]
        for channel in channels:
            selector = {"path": directory, "flags": ["IN_CREATE"]}
            answer = call("POST", f"{channel}/subscriptions/inotify", content=selector)
            assert answer.status == 201
        readers = [Reader(read, one) for read, one in zip(READERS, channels, strict=True)]
        for number, name in enumerate(names):
            action = {"action": "mkdir", "name": name}
            storage.post(f"/api/v1/namespace{directory}", json=action).raise_for_status()
            if number == 0:  # who has no id yet has nothing to go on from
                assert processes.wait_until(
                    lambda: all(one.names for one in readers), timeout_s=20
                )
            elif number % (EVENTS // CUTS) == 0:
                robin.cut()
    done = processes.wait_until(lambda: all(one.is_done for one in readers), timeout_s=60)
    for read, reader in zip(READERS, readers, strict=True):
        assert reader.names == names, (read.__name__, len(reader.names))
    assert done
    for reader in readers:
        reader.join()
    for channel in channels:
        call("DELETE", channel)
