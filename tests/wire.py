"""HTTP as bytes on a socket: what a client that reads headers by eye gets to see."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

LINE = b"\r\n"
_EVENT = re.compile(
    rb"event: (?P<kind>[A-Za-z]+)\n(?:id: (?P<id>[0-9]+)\n)?data: (?P<data>[^\n]*)\n\n"
)


def basic(user: str, password: str | None = None) -> dict[str, str]:
    """Return the header of a user of the demo."""
    text = f"{user}:{password or user.partition('#')[0] + '-demo'}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@dataclass(frozen=True)
class Answer:
    """An answer as it came.

    Attributes:
        head: status line and headers, every byte.
        body: the body, every byte (chunks taken off).
    """

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def all(self, name: str) -> list[str]:
        """Return the values of a header, spelled exactly so."""
        found = []
        for line in self.head.split(LINE)[1:]:
            key, _, value = line.partition(b": ")
            if key == name.encode():
                found.append(value.decode())
        return found

    def one(self, name: str) -> str:
        """Return the value of a header that is there once, spelled exactly so."""
        (value,) = self.all(name)
        return value

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        return str(self.json["detail"])


def connect(url: str) -> socket.socket:
    """Open a connection to a URL's host."""
    parts = urlsplit(url)
    assert parts.hostname
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=20)


def request(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    target: str | None = None,
) -> bytes:
    """Return the bytes of a request; `target` is what stands in the request line."""
    parts = urlsplit(url)
    path = target or (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def exchange(url: str, data: bytes) -> Answer:
    """Send bytes, read until the server closes."""
    with connect(url) as sock:
        sock.sendall(data)
        received = bytearray()
        while chunk := sock.recv(65536):
            received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" in head:
        body = _joined(body)
    return Answer(head, body)


def receive(sock: socket.socket) -> Answer:
    """Read one answer with a Content-Length, however its bytes are cut, and no further."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        received += _more(sock, received)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    answer = Answer(head, body)
    while len(answer.body) < int(answer.one("Content-Length")):
        answer = Answer(head, answer.body + _more(sock, answer.body))
    return answer


def _more(sock: socket.socket, received: bytes | bytearray) -> bytes:
    chunk = sock.recv(65536)
    assert chunk, bytes(received)
    return chunk


def _joined(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size, _, body = body.partition(LINE)
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
        if not length:
            break
    return bytes(whole)


def call(
    method: str,
    url: str,
    user: str | None = "alice",
    *,
    content: Any = ...,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    target: str | None = None,
) -> Answer:
    """Make one request as a user of the demo; `content` is sent as JSON."""
    sent = dict(headers or {})
    if user is not None:
        sent |= basic(user)
    if content is not ...:
        body = json.dumps(content).encode()
        sent.setdefault("Content-Type", "application/json")
    return exchange(url, request(method, url, sent, body, target=target))


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    kind: str
    id: str | None
    data: Any
    raw: bytes


class Stream:
    """An open stream, read as bytes.

    Args:
        url: what to GET.
        user: of the demo; None: nobody.
        headers: further ones.
    """

    def __init__(
        self, url: str, user: str | None = "alice", headers: dict[str, str] | None = None
    ) -> None:
        sent = {"Accept": "text/event-stream", **(headers or {})}
        if user is not None:
            sent |= basic(user)
        self._socket = connect(url)
        self._socket.sendall(request("GET", url, sent))
        self.body = bytearray()
        self.events: list[Event] = []
        self.comments: list[bytes] = []
        self.is_at_end = False
        self._parsed = 0
        head = bytearray()
        while b"\r\n\r\n" not in head:
            chunk = self._socket.recv(65536)
            assert chunk, bytes(head)
            head += chunk
        before, _, rest = bytes(head).partition(b"\r\n\r\n")
        self.answer = Answer(before, rest)
        self._take(rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _take(self, data: bytes) -> None:
        self.body += data
        while True:
            rest = bytes(self.body[self._parsed :])
            if rest.startswith(b":") and b"\n" in rest:
                line = rest[: rest.index(b"\n") + 1]
                self.comments.append(line)
                self._parsed += len(line)
                continue
            found = _EVENT.match(rest)
            if found is None:
                return
            identity = found["id"].decode() if found["id"] else None
            self.events.append(
                Event(found["kind"].decode(), identity, json.loads(found["data"]), found[0])
            )
            self._parsed += found.end()

    def read(self, seconds: float) -> bool:
        """Read what comes within some seconds; False when nothing came."""
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        if not data:
            self.is_at_end = True
            return False
        self._take(data)
        return True

    def until(self, count: int, seconds: float = 20) -> list[Event]:
        """Read until there are that many events in all."""
        deadline = time.monotonic() + seconds
        while len(self.events) < count:
            left = deadline - time.monotonic()
            if left <= 0 or (not self.read(left) and self.is_at_end):
                raise AssertionError(f"only {len(self.events)} of {count}: {bytes(self.body)!r}")
        return self.events

    def until_end(self, seconds: float = 20) -> list[Event]:
        """Read until the server closes."""
        deadline = time.monotonic() + seconds
        while not self.is_at_end:
            left = deadline - time.monotonic()
            assert left > 0, f"still open: {bytes(self.body)!r}"
            self.read(left)
        return self.events

    def masks(self) -> list[tuple[str | None, str]]:
        """Return name and first flag of each inotify event."""
        return [
            (event.data["event"].get("name"), event.data["event"]["mask"][0])
            for event in self.events
            if event.kind == "inotify"
        ]
