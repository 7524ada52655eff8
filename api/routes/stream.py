"""The stream itself: an answer that hands its connection over to delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from api import sse
from api.http_protocol import EXTENSION, TransportSink

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from api.delivery import Stream


class StreamResponse(Response):
    """An endless `text/event-stream` answer; needs `http_protocol.HttpProtocol` under it.

    Return it from a handler: `StreamResponse(await hub.connect(channel_id, ...))`.

    Args:
        stream: what `Hub.connect` returned.
        headers: further response headers.
    """

    def __init__(self, stream: Stream, headers: dict[str, str] | None = None) -> None:
        super().__init__(headers=headers)
        self.stream = stream
        kept = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self.raw_headers = [*kept, *sse.HEADERS]

    async def __call__(
        self,
        scope: Scope,
        receive: Receive,  # noqa: ARG002 - the protocol tells when the client is gone
        send: Send,
    ) -> None:
        """Send the headers at once, then serve the stream until one side ends it."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        protocol = scope["extensions"][EXTENSION]["protocol"]
        sink = TransportSink(protocol)
        sink.on_end(self.stream.shut_down, self.stream.disconnected)
        try:
            await self.stream.run(sink)
        finally:
            sink.on_end(None, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
