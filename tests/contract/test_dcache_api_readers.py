"""Independent readers, cut off again and again and served by three nodes in turn, all agree."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local import processes
from tests import readers
from tests.api_site import RoundRobin
from tests.wire import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.api_site import ApiSite

pytestmark = [
    pytest.mark.stack,
    pytest.mark.programs("curl", "node", "npm", "chromium", "chromedriver"),
    pytest.mark.timeout(1800),
]

NASTY = [
    "plain", "a b", 'quo"te', "it's", "back\\slash", "\\u0041\\n", "Å", "\u2028", "\u2029", "\x85",
    "new\nline", "\r\n", "\n\ndata: x\n\n", "tab\t\x01\x7f", "😀👩‍👩‍👧‍👦", "\u202etxt.exe\u200f",
    "\ufeff", "%2F", "a?b#c", "é" * 120, "😀" * 62, "x" * 250, "<img src=x onerror=alert(1)>",
    "<script>alert(1)", "data: x", "id: 7", "event: SYSTEM", ": k", "&amp;", "retry: 1", "[DONE]",
]  # fmt: skip
LONGEST_BYTES = 255
_PATIENCE_S = 120


@dataclass(frozen=True)
class Size:
    """How many events, and how often every reader is cut off meanwhile."""

    events: int
    cuts: int


def _name(number: int) -> str:
    """Return a name that no other number has, as nasty as the storage allows."""
    name = f"{number:05d}{NASTY[number % len(NASTY)]}"
    assert len(name.encode()) <= LONGEST_BYTES
    return name


@pytest.fixture
def fronts(api_site: ApiSite) -> Iterator[list[RoundRobin]]:
    """Give each reader a front of its own to three nodes."""
    made = [RoundRobin(api_site.urls) for _ in readers.ALL]
    try:
        yield made
    finally:
        for front in made:
            front.close()


def _channel(front: RoundRobin, directory: str) -> str:
    channel = call("POST", f"{front.url}/api/v1/events/channels").one("Location")
    selector = {"path": directory, "flags": ["IN_CREATE"]}
    assert call("POST", f"{channel}/subscriptions/inotify", content=selector).status == 201
    return channel


def _write(storage: httpx.Client, directory: str, names: list[str], written: list[str]) -> None:
    for name in names:
        content = {"action": "mkdir", "name": name}
        storage.post(f"/api/v1/namespace{directory}", json=content).raise_for_status()
        written.append(name)


def _until(holds: Callable[[], bool], reading: list[readers.Reader], what: str) -> None:
    """Wait for something, unless a reader has died of an error."""
    processes.wait_until(
        lambda: holds() or any(one.error for one in reading), timeout_s=_PATIENCE_S
    )
    state = [(one.name, len(one.names), one.error) for one in reading]
    assert holds(), f"{what}: {state}"


def _cut_until_resumed(front: RoundRobin, reading: list[readers.Reader]) -> None:
    """Cut off a browser that was told nothing until it comes back with the id it was given."""
    _until(lambda: front.streams > 0, reading, "not connected")
    for _ in range(100):
        seen = front.streams
        front.cut()
        _until(lambda seen=seen: front.streams > seen, reading, "not connected again")
        if front.resumed:
            break
    assert front.resumed, "the browser does not keep the id"
    front.cut()


def _write_and_cut(
    storage: httpx.Client,
    directory: str,
    size: Size,
    reading: list[readers.Reader],
    fronts: list[RoundRobin],
) -> list[str]:
    """Make all directories; in the middle of each part of them all readers are cut off.

    Returns:
        The names, in order.
    """
    names = [_name(number) for number in range(size.events)]
    written: list[str] = []
    _cut_until_resumed(fronts[readers.ALL.index(readers.by_chromium)], reading)
    _write(storage, directory, names[:1], written)
    # The others have no id yet: what they are told first could be lost on the way.
    _until(lambda: all(one.names for one in reading), reading, "not all read")
    step = size.events // (size.cuts + 1)
    with ThreadPoolExecutor(1) as pool:
        for upto in range(1 + step, 2 + size.cuts * step, step):
            answered = [front.answered for front in fronts]
            work = pool.submit(_write, storage, directory, names[upto - step : upto], written)
            half = upto - step // 2
            _until(
                lambda half=half, work=work: len(written) >= half or work.done(),
                reading,
                "not written",
            )
            for front in fronts:
                front.cut()
            work.result()
            _until(
                lambda answered=answered: all(
                    front.answered > before for front, before in zip(fronts, answered, strict=True)
                ),
                reading,
                "not all came back",
            )
    _write(storage, directory, names[len(written) :], written)
    return names


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(Size(310, 3), id="short"),
        pytest.param(Size(10_000, 50), id="long", marks=pytest.mark.conformance),
    ],
)
def test_all_readers_read_the_same(
    api_site: ApiSite, fronts: list[RoundRobin], size: Size, tmp_path: Path
) -> None:
    """Every event once, in order, whatever its name and however often they are cut off."""
    directory = f"/data/exp/{uuid.uuid4().hex[:12]}"
    with api_site.webdav() as door:
        door.request("MKCOL", directory).raise_for_status()
    channels = [_channel(front, directory) for front in fronts]
    reading = [
        readers.Reader(read, channel, size.events, tmp_path / read.__name__)
        for read, channel in zip(readers.ALL, channels, strict=True)
    ]
    try:
        with httpx.Client(auth=("alice", "alice-demo"), base_url=api_site.rest_url) as storage:
            names = _write_and_cut(storage, directory, size, reading, fronts)
        _until(lambda: all(one.is_done for one in reading), reading, "not all told all")
    finally:
        for reader in reading:
            reader.join()
    for reader in reading:
        assert reader.error is None, (reader.name, reader.error)
        assert reader.names == names, (reader.name, len(reader.names))
        assert reader.system == [], reader.name
    for channel in channels:
        call("DELETE", channel)
