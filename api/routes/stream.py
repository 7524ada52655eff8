"""The stream itself: an answer that hands its connection over to delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from api.delivery import Stream


class StreamResponse(Response):
    """An endless `text/event-stream` answer; needs `http_protocol.HttpProtocol` under it.

    Return it from a handler: `StreamResponse(await hub.connect(channel_id, ...))`.
    """

    media_type = "text/event-stream"

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the headers at once, then serve the stream until one side ends it."""
        raise NotImplementedError
