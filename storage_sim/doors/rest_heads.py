"""What the REST interface refuses before it looks at what a request asks for."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from schemas import http_head
from storage_sim.doors import rest_json

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class OneMeaning:
    """Answers 400 to what is no HTTP/1.1, or has two hosts.

    Args:
        inside: answers all others.
    """

    def __init__(self, inside: ASGIApp) -> None:
        self._inside = inside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        fault = http_head.fault(scope)
        inside = self._inside
        if fault:
            status = HTTPStatus.BAD_REQUEST
            inside = JSONResponse(rest_json.error(status, status.phrase, fault), status)
        await inside(scope, receive, send)
