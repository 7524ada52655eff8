"""Channels: made, listed, looked at, changed, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from api import audit, bodies, channel_store, channels, negotiation, problems, services
from api.endpoints import Endpoint
from api.routes import streams

if TYPE_CHECKING:
    from starlette.requests import Request

    from api.auth import Caller
    from api.channels import Channel

CHANNELS = "/api/v1/events/channels"
CHANNEL = f"{CHANNELS}/{{channel_id}}"


def url(caller: Caller, channel_id: str) -> str:
    """Return a channel's absolute URL."""
    return f"{caller.base_url}{CHANNELS}/{channel_id}"


async def owned(request: Request, caller: Caller) -> Channel:
    """Return the channel of the request's path.

    Raises:
        Problem: 404 if there is none, 403 if it belongs to somebody else or was made with a token
            of other rights.
    """
    channel = await services.of(request).store.get(request.path_params["channel_id"])
    if channel is None:
        raise problems.not_found("No such channel")
    if channel.owner_key != caller.principal.owner_key:
        raise problems.forbidden("the channel belongs to another user or another token")
    return channel


async def body(request: Request, limit: str = "body-bytes") -> Any:
    """Return the request's JSON body; None if there is none."""
    limits = services.of(request).limits
    maximum = limits.selector_bytes if limit == "selector-bytes" else limits.body_bytes
    raw = await bodies.read(
        request, limit=limit, maximum_bytes=maximum, timeout_s=limits.body_timeout_s
    )
    return bodies.parse(request, raw)


async def list_channels(request: Request) -> Response:
    """List the caller's channels, those of one client-id if it is given."""
    caller = await services.caller(request)
    client_id = request.query_params.get("client-id")
    if client_id is not None:
        client_id = client_id[: channels.CLIENT_ID_LENGTH]
    ids = await services.of(request).store.list_ids(caller.principal.owner_key, client_id)
    return JSONResponse([url(caller, channel_id) for channel_id in ids])


def _client_id(content: Any) -> str:
    if content is None:
        return ""
    if not isinstance(content, dict):
        raise problems.bad_request("Bad channel: expected a JSON object")
    unknown = sorted(set(content) - {"client-id"})
    if unknown:
        raise problems.bad_request(f"Bad channel: unknown member {unknown[0][:64]!r}")
    client_id = content.get("client-id")
    if client_id is None:
        return ""
    if not isinstance(client_id, str):
        raise problems.bad_request("Bad channel: client-id must be a string")
    return client_id[: channels.CLIENT_ID_LENGTH]


async def create(request: Request) -> Response:
    """Make a channel."""
    caller = await services.caller(request)
    client_id = _client_id(await body(request))
    channel = await make(services.of(request), caller, client_id)
    # The members of the body are for SURF's library (rule R22); others look at Location only.
    return JSONResponse(
        {"id": channel.id, "url": f"events/channels/{channel.id}"},
        201,
        {"Location": url(caller, channel.id)},
    )


async def make(here: services.Services, caller: Caller, client_id: str) -> Channel:
    """Make a channel for the caller.

    Raises:
        Problem: 429 when they have as many as are allowed.
    """
    try:
        channel = await here.store.create(
            owner_key=caller.principal.owner_key,
            uid=caller.principal.uid,
            client_id=client_id,
            timeout_s=here.channel_timeout_s,
            maximum=here.limits.channels_per_user,
            maximum_timeout_s=here.channel_timeout_max_s,
        )
    except channel_store.TooManyChannels as error:
        raise problems.limited("channels-per-user", here.limits.channels_per_user) from error
    audit.line(
        "create channel",
        "allowed",
        who=caller.principal,
        address=caller.address,
        channel=channel.id,
    )
    return channel


async def get(request: Request) -> Response:
    """Return the stream, or what the channel is like, as Accept says."""
    wanted = negotiation.choose(
        request.headers.getlist("accept"), ("application/json", "text/event-stream")
    )
    if wanted is None:
        raise problems.Problem(406, "Not Acceptable")
    if wanted == "text/event-stream" and request.method == "GET":
        caller = await services.caller(request, by_session=True)
        return streams.of_channel(request, caller, await owned(request, caller))
    caller = await services.caller(request)
    channel = await owned(request, caller)
    return JSONResponse({"timeout": channel.timeout_s}, headers={"Vary": "Accept"})


async def modify(request: Request) -> Response:
    """Change how long the channel lives while nobody is connected."""
    caller = await services.caller(request)
    channel = await owned(request, caller)
    content = await body(request)
    if not isinstance(content, dict) or set(content) - {"timeout"}:
        raise problems.bad_request('Bad channel: expected {"timeout": seconds}')
    timeout_s = content.get("timeout", 0)
    if not isinstance(timeout_s, int) or isinstance(timeout_s, bool):
        raise problems.bad_request("Bad channel: timeout must be an integer")
    maximum = services.of(request).channel_timeout_max_s
    if timeout_s < channels.MINIMUM_TIMEOUT_S:
        minimum = channels.MINIMUM_TIMEOUT_S
        raise problems.bad_request(f"Timeout shorter than {minimum} seconds allowed")
    if timeout_s > maximum:
        raise problems.bad_request(f"Timeout longer than {maximum} seconds allowed")
    if not await services.of(request).store.set_timeout(channel.id, timeout_s):
        raise problems.not_found("No such channel")
    return Response(status_code=204)


async def delete(request: Request) -> Response:
    """End the channel with all its subscriptions."""
    caller = await services.caller(request)
    channel = await owned(request, caller)
    if not await services.of(request).store.delete(channel.id):
        raise problems.not_found("No such channel")
    return Response(status_code=204)


_DENIED = {401: "Nobody, or somebody unknown."}
OWNED = {**_DENIED, 403: "Somebody else's channel.", 404: "No such channel."}
_URLS = {"type": "array", "items": {"type": "string", "format": "uri"}}
_NEW = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {"client-id": {"type": ["string", "null"]}},
}
_TIMEOUT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["timeout"],
    "properties": {"timeout": {"type": "integer", "minimum": channels.MINIMUM_TIMEOUT_S}},
}

ENDPOINTS = [
    Endpoint(
        "GET",
        CHANNELS,
        list_channels,
        "The caller's channels",
        {200: "Absolute URLs in the order they were made.", **_DENIED},
        answer=_URLS,
        query={"client-id": "Only those made with this client-id; empty: made without one."},
    ),
    Endpoint(
        "POST",
        CHANNELS,
        create,
        "Make a channel",
        {
            201: "Made; Location is its URL.",
            400: "Bad JSON or an unknown member.",
            **_DENIED,
            413: "The body is too long.",
            415: "The body is not JSON.",
            429: "The user has as many channels as are allowed.",
        },
        body=_NEW,
        answer={"type": "object", "required": ["id", "url"]},
    ),
    Endpoint(
        "GET",
        CHANNEL,
        get,
        "The stream of events (text/event-stream), or what the channel is like (JSON)",
        {200: "As Accept says.", **OWNED, 406: "Neither is acceptable."},
        answer={"type": "object", "required": ["timeout"]},
        query={
            "resume": "true: without Last-Event-ID go on where the last connection was served to."
        },
    ),
    Endpoint(
        "PATCH",
        CHANNEL,
        modify,
        "Change the channel's timeout",
        {204: "Changed.", 400: "Not between minimum and maximum.", **OWNED, 415: "Not JSON."},
        body=_TIMEOUT,
    ),
    Endpoint("DELETE", CHANNEL, delete, "End the channel", {204: "Ended.", **OWNED}),
]
