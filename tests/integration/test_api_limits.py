"""Every limit has a name and holds: sizes, numbers, slowness, over a real socket."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from deploy.local.processes import wait_until
from tests.api_site import ApiSite
from tests.wire import Answer, Stream, basic, call, connect, receive, request

if TYPE_CHECKING:
    import socket

    from tests.api_site import ApiSite

pytestmark = pytest.mark.stack

PATIENCE_S = 30


def _subscribe(channel: str, path: str, **more: Any) -> Answer:
    return call("POST", f"{channel}/subscriptions/inotify", content={"path": path, **more})


def _is_alive(url: str) -> bool:
    return call("GET", f"{url}/health/live", None).status == 200


def _cpu_s(site: ApiSite) -> float:
    """Return what the node has used; unlike the clock, it knows nothing of who else is busy."""
    used = psutil.Process(site.nodes[0].pid).cpu_times()
    return used.user + used.system


# size and number


def test_a_selector_that_is_too_long_names_its_limit(channel: str) -> None:
    """413."""
    answer = _subscribe(channel, "/data", include=["x" * 1000] * 9)
    assert (answer.status, answer.json["limit"]) == (413, "selector-bytes")


@pytest.mark.parametrize(
    "body",
    [b"[" * 8000, b'{"path":' * 1000, b'{"path":"/","x":' + b"9" * 6000 + b"}", b"1e999999",
     b'{"path":"' + b"\\u0000" * 1000 + b'"}', b'{"path":1e400}', b"\x00" * 100],
)  # fmt: skip
def test_json_bombs_are_bad_requests(small_site: ApiSite, channel: str, body: bytes) -> None:
    """Depth, long numbers, infinities: a sentence, and little work."""
    before_s = _cpu_s(small_site)
    answer = call(
        "POST",
        f"{channel}/subscriptions/inotify",
        body=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status == 400
    assert _cpu_s(small_site) - before_s < 1


def test_globs_that_explode_elsewhere_do_not_here(
    small_site: ApiSite, url: str, channel: str
) -> None:
    """Matching takes time proportional to pattern and name."""
    pattern = "*a" * 200 + "b"
    assert _subscribe(channel, "/data/exp", include=[pattern] * 16).status == 201
    with small_site.webdav() as door:
        for number in range(5):
            door.request("MKCOL", f"/data/exp/{'a' * 240}{number}").raise_for_status()
    assert _is_alive(url)


def test_subscriptions_and_channels_have_an_end(url: str, channel: str) -> None:
    """429 with the limit's name."""
    answers = [
        call("POST", f"{channel}/subscriptions/metronome", content={"delay": 300})
        for _ in range(6)
    ]
    assert [one.status for one in answers] == [201] * 5 + [429]
    assert answers[-1].json["limit"] == "subscriptions-per-channel"
    made = [call("POST", f"{url}/api/v1/events/channels") for _ in range(25)]
    assert made[-1].json["limit"] == "channels-per-user"
    for one in made:
        if one.status == 201:
            call("DELETE", one.one("Location"))


def test_streams_of_a_user_have_an_end(url: str) -> None:
    """429 with the limit's name; hanging up makes room."""
    made = [call("POST", f"{url}/api/v1/events/channels").one("Location") for _ in range(5)]
    streams = [Stream(one) for one in made[:4]]
    with Stream(made[4]) as fifth:
        assert fifth.answer.status == 429
        while not fifth.is_at_end:
            fifth.read(5)
        assert json.loads(fifth.body)["limit"] == "connections-per-user"
    streams[0].close()

    def is_served() -> bool:
        with Stream(made[4]) as again:
            return again.answer.status == 200

    assert wait_until(is_served, timeout_s=PATIENCE_S)
    for stream in streams:
        stream.close()
    for one in made:
        call("DELETE", one)


def test_connections_of_an_address_have_an_end(url: str) -> None:
    """429 with the limit's name; others are served again as soon as these are closed."""
    held = [connect(url) for _ in range(40)]
    answers = []
    for one in held:
        one.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            answers.append(receive(one))
    refused = [one for one in answers if one.status != 408]  # who said nothing for too long
    assert len(refused) >= 10
    for answer in refused:
        assert (answer.status, answer.json["limit"]) == (429, "connections-per-address")
    for one in held:
        one.close()

    def is_served() -> bool:
        try:
            return _is_alive(url)
        except (OSError, ValueError, IndexError):
            return False

    assert wait_until(is_served, timeout_s=PATIENCE_S)


# slowness


def _until_closed(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE_S)
    received = bytearray()
    while chunk := sock.recv(65536):
        received += chunk
    return bytes(received)


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(url: str, start: bytes) -> None:
    """408 and the end of the connection."""
    with connect(url) as sock:
        sock.sendall(start)
        answer = _until_closed(sock)
    assert answer.startswith(b"HTTP/1.1 408")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["limit"] == "head-seconds"


def test_a_head_that_drips_is_not_waited_for(url: str) -> None:
    """A byte now and then does not help."""
    with connect(url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")

        def is_closed() -> bool:
            try:
                sock.sendall(b"a")
            except ConnectionError:
                return True
            return False

        assert wait_until(is_closed, timeout_s=PATIENCE_S)


def test_a_head_without_an_end_is_cut(url: str) -> None:
    """431 long before it fills the memory."""
    with connect(url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000)
        answer = receive(sock)
    assert answer.head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert answer.json["limit"] == "head-bytes"


def test_a_body_that_does_not_come_is_not_waited_for(url: str) -> None:
    """408, for what we read and for what is passed on."""
    for path in ("/api/v1/events/channels", "/api/v1/namespace/data/exp"):
        head = request("POST", url + path, {**basic("alice"), "Content-Type": "application/json"})
        with connect(url) as sock:
            sock.sendall(head[:-2] + b"Content-Length: 100\r\n\r\n{")
            assert _until_closed(sock).startswith(b"HTTP/1.1 408"), path


def test_requests_passed_on_for_a_user_have_an_end(url: str) -> None:
    """Who lets the storage wait takes no more than their own part of it."""
    goal = f"{url}/api/v1/namespace/data/exp"
    head = request("POST", goal, {**basic("alice"), "Content-Type": "application/json"})[:-2]

    def is_refused() -> bool:
        """Hold three, and look; they are not held for long: what does not come is a 408."""
        with contextlib.ExitStack() as held:
            for _ in range(3):
                one = held.enter_context(connect(url))
                one.sendall(head + b"Content-Length: 100\r\n\r\n{")
            for _ in range(10):
                answer = call("GET", goal)
                if answer.status == 429 and answer.json["limit"] == "passed-per-user":
                    return call("GET", goal, "admin").status == 200
        return False

    assert wait_until(is_refused, timeout_s=PATIENCE_S)
    assert wait_until(lambda: call("GET", goal).status == 200, timeout_s=PATIENCE_S)
