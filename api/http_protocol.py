"""uvicorn's HTTP/1.1 protocol, fit for event streams and for clients that read headers by eye.

Three things differ from `HttpToolsProtocol`: header names keep a capital letter at each word
(rule R1: clients look for `Location:`); a `text/event-stream` answer is not chunked and ends by
closing (R9); and the stream's handler is handed the transport, so that one flusher writes to all
streams without a task and an ASGI `send` for each.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.signal import Signal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn._types import ASGISendEvent

EXTENSION: Final = "storage_events.connection"
UNACKNOWLEDGED_MS: Final = 30_000
"""A peer that acknowledges nothing for so long is dead."""

KERNEL_UNSENT_BYTES: Final = 65_536
"""What the kernel takes over without sending it. It would take megabytes for each reader that does
not read; so the bound that counts is the node's own."""


@functools.lru_cache(maxsize=256)
def capitalised(name: bytes) -> bytes:
    """Return a header's name as it is usually spelled: `content-type` as `Content-Type`."""
    if name.lower() == b"www-authenticate":
        return b"WWW-Authenticate"
    if name.lower() == b"suppress-www-authenticate":
        return b"Suppress-WWW-Authenticate"
    return b"-".join(word[:1].upper() + word[1:] for word in name.split(b"-"))


class _Spelling:
    """A transport that spells the names of a response's headers."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        head, blank, body = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        spelled = [status]
        for line in lines:
            name, colon, value = line.partition(b":")
            spelled.append(capitalised(name) + colon + value)
        self._transport.write(b"\r\n".join(spelled) + blank + body)


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer; a stream's is neither counted nor chunked."""
        if message["type"] == "http.response.start" and not self.response_started:
            if _is_stream(message.get("headers", ())):
                self.chunked_encoding = False
            transport = self.transport
            self.transport = _Spelling(transport)  # type: ignore[assignment]
            try:
                await super().send(message)
            finally:
                self.transport = transport
        else:
            await super().send(message)


def _is_stream(headers: Any) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers
    )


class HttpProtocol(HttpToolsProtocol):
    """One connection; in `scope["extensions"]` of each of its requests.

    Attributes:
        on_shutdown: called when the server begins to stop; set while a stream is served.
        on_lost: called when the client is gone; set while a stream is served.
    """

    # Not in uvicorn's dictionary: with more than 30 names it would take 1.5 KiB a connection.
    __slots__ = ("on_lost", "on_shutdown")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_shutdown: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"protocol": self}}

    def on_headers_complete(self) -> None:
        """Answer a request with our kind of cycle."""
        super().on_headers_complete()
        if isinstance(self.cycle, RequestResponseCycle):
            # uvicorn makes its cycles itself; the class adds behaviour and no state.
            self.cycle.__class__ = Cycle
            if not self.cycle.message_event.is_set():
                self.cycle.message_event = Signal()  # type: ignore[assignment]

    def shutdown(self) -> None:
        """Begin to stop: a stream says goodbye by itself."""
        super().shutdown()
        if self.on_shutdown is not None:
            self.on_shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a stream that its reader is gone."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()


class TransportSink:
    """A stream's way out: the connection's transport.

    Args:
        protocol: the connection, from the request's scope.
    """

    __slots__ = ("_flow", "_protocol", "_transport", "unsent_bytes")

    def __init__(self, protocol: HttpProtocol) -> None:
        transport = protocol.transport
        self._protocol = protocol
        self._transport = transport
        self._flow = protocol.flow
        self.unsent_bytes: Callable[[], int] = transport.get_write_buffer_size
        _watch_peer(transport)

    def on_end(
        self, on_shutdown: Callable[[], None] | None, on_lost: Callable[[], None] | None
    ) -> None:
        """Have these called when the server begins to stop, and when the client went."""
        self._protocol.on_shutdown = on_shutdown
        self._protocol.on_lost = on_lost
        if on_lost is not None and self._transport.is_closing():
            on_lost()

    def write(self, data: bytes) -> None:
        """Hand over bytes; those for a reader that is gone go nowhere (uvloop would raise)."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the reader has taken most of it."""
        await self._flow.drain()

    def close(self) -> None:
        """End the stream after what is unsent."""
        self._transport.close()

    def abort(self) -> None:
        """End the stream at once."""
        self._transport.abort()


def _watch_peer(transport: asyncio.Transport) -> None:
    """Have the kernel notice a peer that is gone, and keep little for one that does not read."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
