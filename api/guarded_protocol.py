"""The connection's own bounds: how long a request's head may take, how long it may be, how many.

uvicorn bounds none of these. A client that sends its head a byte at a time, or one without an end,
would hold a connection and memory for ever; so would one that opens connections and says nothing.
"""

from __future__ import annotations

import contextlib
import http
from typing import TYPE_CHECKING, Any

from api.http_protocol import HttpProtocol, capitalised
from api.problems import Problem, response
from pipeline.authz.addresses import client_of

if TYPE_CHECKING:
    import asyncio

    from api.limits import AtOnce
    from api.origin import Origin

_END = b"\r\n\r\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


class GuardedProtocol(HttpProtocol):
    """One connection; use a subclass made by `guarded`."""

    head_bytes: int
    head_timeout_s: float
    connections_at_once: AtOnce
    origin: Origin

    __slots__ = ("_counted", "_deadline", "_in_head", "_last", "_seen_bytes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._seen_bytes = 0
        self._last = b""
        self._counted = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and begin to wait for its first request."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self.origin.is_proxy(address):
            counted = client_of(address)
            try:
                self.connections_at_once.take(counted)
                self._counted = counted
            except Problem as problem:
                self._refuse(problem)
                return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count one less."""
        self._head_is_complete()
        if self._counted:
            self.connections_at_once.give_back(self._counted)
            self._counted = ""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; refuse a head that has no end."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._seen_bytes += self._of_head(data)
            if self._seen_bytes > self.head_bytes:
                detail = f"Request Header Fields Too Large: at most {self.head_bytes} bytes"
                self._refuse(Problem(431, detail, limit="head-bytes", maximum=self.head_bytes))
                return
            if self._deadline is None:
                self._await_head()
        super().data_received(data)

    def _of_head(self, data: bytes) -> int:
        """Return how many of these bytes belong to the head, whose end may be cut in two."""
        end = (self._last + data).find(_END)
        of_head = len(data) if end < 0 else end + len(_END) - len(self._last)
        self._last = data[1 - len(_END) :]
        return of_head

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head = True
        if self._deadline is None:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._head_is_complete()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take what comes next as the head of another request."""
        super().on_message_complete()
        self._in_head = True

    def _await_head(self) -> None:
        late = Problem(408, "Request Timeout", limit="head-seconds", maximum=self.head_timeout_s)
        self._deadline = self.loop.call_later(self.head_timeout_s, self._refuse, late)

    def _head_is_complete(self) -> None:
        self._in_head = False
        self._seen_bytes = 0
        self._last = b""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, problem: Problem) -> None:
        if not self.transport.is_closing():
            with contextlib.suppress(OSError):
                self.transport.write(_answer(problem))
            self.transport.close()


def _answer(problem: Problem) -> bytes:
    """Return the bytes of an answer to what is no request yet: as any other, and the last."""
    made = response(problem, {})
    lines = [f"HTTP/1.1 {problem.status} {http.HTTPStatus(problem.status).phrase}"]
    for name, value in {**made.headers, **_HEADERS}.items():
        lines.append(f"{capitalised(name.encode()).decode()}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(made.body)


def guarded(
    *, head_bytes: int, head_timeout_s: float, connections: AtOnce, origin: Origin
) -> type[GuardedProtocol]:
    """Return the protocol class with its bounds.

    Args:
        head_bytes: how long request line and headers may be together.
        head_timeout_s: how long they may take, and how long a new connection may be silent.
        connections: how many connections an address may have; a trusted proxy's do not count.
        origin: knows the proxies.
    """
    bounds = {
        "head_bytes": head_bytes,
        "head_timeout_s": head_timeout_s,
        "connections_at_once": connections,
        "origin": origin,
    }
    return type("Guarded", (GuardedProtocol,), bounds)
