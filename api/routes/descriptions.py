"""The interface described by itself: OpenAPI for REST, AsyncAPI for streams and topics."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from api import asyncapi, openapi, services
from api.endpoints import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request


def version() -> str:
    """Return this software's version; `0` where it is not installed."""
    try:
        return metadata.version("storage-events")
    except metadata.PackageNotFoundError:
        return "0"


async def rest(request: Request) -> Response:
    """Return the OpenAPI description."""
    from api import route_table  # the table has this handler in it

    here = services.of(request)
    return JSONResponse(openapi.describe(route_table.ENDPOINTS, here.event_types, version()))


async def events(request: Request) -> Response:
    """Return the AsyncAPI description."""
    return JSONResponse(asyncapi.describe(services.of(request).event_types, version()))


_ANSWER: Final = {"type": "object"}

ENDPOINTS = [
    Endpoint(
        "GET",
        "/openapi.json",
        rest,
        "The REST part described",
        {200: "OpenAPI 3.1."},
        answer=_ANSWER,
        is_public=True,
    ),
    Endpoint(
        "GET",
        "/asyncapi.json",
        events,
        "Streams and topics described",
        {200: "AsyncAPI 3.0."},
        answer=_ANSWER,
        is_public=True,
    ),
]
