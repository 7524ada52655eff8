"""Subscriptions of a channel: made, listed, looked at, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from api import problems, services, subscribing
from api.endpoints import Endpoint
from api.routes.channels import CHANNEL, OWNED, body, owned

if TYPE_CHECKING:
    from starlette.requests import Request

SUBSCRIPTIONS = f"{CHANNEL}/subscriptions"


async def list_subscriptions(request: Request) -> Response:
    """List the channel's subscriptions."""
    caller = await services.caller(request)
    channel = await owned(request, caller)
    kept = await services.of(request).store.subscriptions(channel.id)
    return JSONResponse([subscription.url for subscription in kept])


async def create(request: Request) -> Response:
    """Make a subscription: 201, or 303 when it was merged into one that is there (rule R15)."""
    selector = await body(request, "selector-bytes")
    if selector is None:
        raise problems.bad_request("Missing JSON entity in POST request")
    caller = await services.caller(request)
    channel = await owned(request, caller)
    kept, is_new = await subscribing.subscribe(
        services.of(request), caller, channel, request.path_params["event_type"], selector
    )
    return Response(status_code=201 if is_new else 303, headers={"Location": kept.url})


async def get(request: Request) -> Response:
    """Return the selector as the client supplied it (rule R17)."""
    caller = await services.caller(request)
    channel = await owned(request, caller)
    kept = await services.of(request).store.subscription(
        channel.id, request.path_params["event_type"], request.path_params["subscription_id"]
    )
    if kept is None:
        raise problems.not_found("No such subscription")
    return JSONResponse(dict(kept.selector))


async def delete(request: Request) -> Response:
    """End a subscription."""
    caller = await services.caller(request)
    channel = await owned(request, caller)
    here = services.of(request)
    event_type = request.path_params["event_type"]
    ended = await here.store.unsubscribe(
        channel.id,
        event_type,
        request.path_params["subscription_id"],
        here.hub.marks(event_type) if event_type in here.event_types else {},
    )
    if not ended:
        raise problems.not_found("Subscription not found")
    return Response(status_code=204)


_ONE = f"{SUBSCRIPTIONS}/{{event_type}}/{{subscription_id}}"

ENDPOINTS = [
    Endpoint(
        "GET",
        SUBSCRIPTIONS,
        list_subscriptions,
        "The channel's subscriptions",
        {200: "Absolute URLs.", **OWNED},
        answer={"type": "array", "items": {"type": "string", "format": "uri"}},
    ),
    Endpoint(
        "POST",
        f"{SUBSCRIPTIONS}/{{event_type}}",
        create,
        "Subscribe",
        {
            201: "Made; Location is its URL.",
            303: "Merged into the one that is there; Location is its URL.",
            400: "The selector cannot be used, or there is nothing there that the caller may see.",
            **OWNED,
            413: "The selector is too long.",
            415: "The selector is not JSON.",
            429: "The channel has as many subscriptions as are allowed.",
        },
        body={"type": "object", "description": "As the event type's selector schema says."},
    ),
    Endpoint(
        "GET",
        _ONE,
        get,
        "A subscription's selector",
        {200: "The members that were supplied.", **OWNED},
        answer={"type": "object"},
    ),
    Endpoint("DELETE", _ONE, delete, "End a subscription", {204: "Ended.", **OWNED}),
]
