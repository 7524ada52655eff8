"""HTTP that is none, or two at once: pipelines, chunks, protocols, methods, floods."""

from __future__ import annotations

import contextlib

import pytest

from tests.wire import basic, call, connect, exchange, request

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("others_are_served")]

EVENTS = "/api/v1/events"


def test_pipelined_requests_are_each_their_own(url: str) -> None:
    """Each is answered in turn, in the name of who sent it."""
    users = ("alice", "bob", "admin", None, "alice")
    whole = b"".join(
        request("GET", f"{url}/api/v1/user", basic(user) if user else {}).replace(
            b"Connection: close\r\n", b"" if number < len(users) - 1 else b"Connection: close\r\n"
        )
        for number, user in enumerate(users)
    )
    received = exchange(url, whole)
    text = (received.head + received.body).decode()
    told = [text.find(f'"username":"{user}"') for user in ("alice", "bob", "admin")]
    assert told == sorted(told)
    assert -1 not in told
    assert text.count("HTTP/1.1 200") == len(users)
    assert text.count('"ANONYMOUS"') == 1


def test_nothing_is_served_behind_a_stream(channel: str) -> None:
    """A request pipelined behind a stream never mixes its answer into it."""
    call("POST", f"{channel}/subscriptions/inotify", content={"path": "/data"})
    stream = request("GET", channel, {**basic("alice"), "Accept": "text/event-stream"})
    behind = request("GET", f"{channel}/subscriptions", basic("alice"))
    with connect(channel) as sock:
        sock.sendall(stream + behind)
        sock.settimeout(30)
        received = sock.recv(65536)
        sock.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while chunk := sock.recv(65536):
                received += chunk
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "raw",
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
     b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50 + b"x", b"GET / HTTP/1.1\n\n",
     b"GET http://[::1 HTTP/1.1\r\n\r\n", b"get / http/1.1\r\n\r\n", b"\x00" * 200],
)  # fmt: skip
def test_what_is_no_request_of_ours_ends_the_connection(url: str, raw: bytes) -> None:
    """HTTP/2, TLS, HTTP/0.9, rubbish: an error or nothing, and the end."""
    with connect(url) as sock:
        sock.sendall(raw)
        sock.settimeout(30)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    assert not received.startswith(b"HTTP/1.1 2")


@pytest.mark.parametrize(
    "body",
    [b"FFFFFFFFFFFFFFFF\r\nx", b"-5\r\nhello\r\n0\r\n\r\n", b"5;" + b"x" * 20_000 + b"\r\nhello",
     b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5 \r\nhel"],
)  # fmt: skip
def test_chunks_that_are_none_end_the_connection(url: str, body: bytes) -> None:
    """Sizes that overflow, signs, endless extensions: an error, and never another request."""
    for path in (f"{EVENTS}/channels", "/api/v1/namespace/data/exp"):
        head = request(
            "POST", url + path,
            {**basic("alice"), "Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        )  # fmt: skip
        with connect(url) as sock:
            sock.sendall(head + body)
            sock.settimeout(30)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
        assert received.count(b"HTTP/1.1 ") <= 1
        assert not received.startswith(b"HTTP/1.1 2"), received


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "PUT", "LOCK", "DEBUG"])
def test_methods_that_are_not_offered_are_refused(url: str, method: str) -> None:
    """405, or 400; a TRACE sends no credentials back."""
    answer = call(method, f"{url}{EVENTS}/channels")
    assert answer.status in {400, 405}
    assert basic("alice")["Authorization"].encode() not in answer.body


def test_a_flood_of_bad_requests_leaves_others_alone(url: str, channel: str) -> None:
    """Hundreds of refusals of every kind; the node answers as before."""
    for number in range(100):
        call("POST", f"{channel}/subscriptions/inotify", content={"path": f"/{number}"})
        call("GET", f"{url}{EVENTS}/channels/{number}")
        call("GET", url, None, target="/nothing")
    assert call("GET", channel).json == {"timeout": 300}
    assert call("GET", f"{channel}/subscriptions").json == []
