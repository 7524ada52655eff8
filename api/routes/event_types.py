"""What there is to subscribe to: limits of channels, event types, their schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from api import channels, problems, services
from api.endpoints import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request

    from pipeline.event_types.base import Subscribable


async def limits(request: Request) -> Response:
    """Tell what a client must know before it makes a channel; open to everybody, as in dCache."""
    here = services.of(request)
    lifetime = {
        "minimum": channels.MINIMUM_TIMEOUT_S,
        "maximum": here.channel_timeout_max_s,
        "default": here.channel_timeout_s,
    }
    content = {
        "channels": {
            "lifetimeWhenDisconnected": lifetime,
            "maximumPerUser": here.limits.channels_per_user,
        }
    }
    return JSONResponse(content)


async def names(request: Request) -> Response:
    """List the event types."""
    await services.caller(request)
    return JSONResponse(sorted(services.of(request).event_types))


async def _found(request: Request) -> Subscribable:
    await services.caller(request)
    found = services.of(request).event_types.get(request.path_params["event_type"])
    if found is None:
        raise problems.not_found("No such event type")
    return found


async def description(request: Request) -> Response:
    """Describe one event type."""
    return JSONResponse({"description": (await _found(request)).description})


async def selector(request: Request) -> Response:
    """Return the JSON Schema of a selector."""
    return JSONResponse(dict((await _found(request)).selector_schema))


async def event(request: Request) -> Response:
    """Return the JSON Schema of the `event` member."""
    return JSONResponse(dict((await _found(request)).event_schema))


_SCHEMA = {"type": "object", "description": "A JSON Schema."}
_DENIED = {401: "Nobody, or somebody unknown."}
_ABSENT = {**_DENIED, 404: "No such event type."}
_ONE = "/api/v1/events/eventTypes/{event_type}"

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/v1/events",
        limits,
        "What a channel may be",
        {200: "Lifetimes in seconds, and how many channels a user may have."},
        answer={"type": "object", "required": ["channels"]},
        is_public=True,
    ),
    Endpoint(
        "GET",
        "/api/v1/events/eventTypes",
        names,
        "The event types",
        {200: "Their names, sorted.", **_DENIED},
        answer={"type": "array", "items": {"type": "string"}},
    ),
    Endpoint(
        "GET",
        _ONE,
        description,
        "One event type",
        {200: "What it is.", **_ABSENT},
        answer={
            "type": "object",
            "required": ["description"],
            "properties": {"description": {"type": "string"}},
        },
    ),
    Endpoint(
        "GET",
        f"{_ONE}/selector",
        selector,
        "How a selector is written",
        {200: "A JSON Schema.", **_ABSENT},
        answer=_SCHEMA,
    ),
    Endpoint(
        "GET",
        f"{_ONE}/event",
        event,
        "How an event is written",
        {200: "A JSON Schema.", **_ABSENT},
        answer=_SCHEMA,
    ),
]
