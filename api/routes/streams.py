"""Streams: a channel's events, and the one-request stream for curl and browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from api import audit, channel_store, delivery_beginning, one_request, problems, services
from api.endpoints import Endpoint
from api.routes.stream import StreamResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from api.auth import Caller
    from api.channels import Channel, Subscription
    from api.services import Services

_TRUE = {"true", "1", "yes", "on"}


class ChannelStream(Response):
    """The stream of a channel; connects when it is sent, so that a refusal is still an answer.

    Args:
        here: this node's services.
        caller: who reads.
        channel: theirs.
        last_event_id: the header as it came, or None.
        resume: without a usable id, go on where the last connection was served to.
        announced: subscriptions of which the client is to hear first.
        says_id: begin with an id alone.
    """

    def __init__(
        self,
        here: Services,
        caller: Caller,
        channel: Channel,
        *,
        last_event_id: str | None,
        resume: bool,
        announced: Sequence[Subscription] = (),
        says_id: bool = False,
    ) -> None:
        super().__init__()
        self._here = here
        self._caller = caller
        self._channel = channel
        self._last_event_id = last_event_id
        self._resume = resume
        self._announced = announced
        self._says_id = says_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the connection, attach it to the channel, serve it until it ends."""
        caller = self._caller
        with self._here.limits.connection(caller.principal.uid, caller.address):
            try:
                stream = await self._here.hub.connect(
                    self._channel.id,
                    principal=caller.principal,
                    credentials=caller,
                    last_event_id=self._last_event_id,
                    resume=self._resume,
                    says_id=self._says_id,
                )
            except channel_store.NoSuchChannel as error:
                raise problems.not_found("No such channel") from error
            delivery_beginning.announce(stream, self._announced)
            audit.line(
                "open stream",
                "allowed",
                who=caller.principal,
                address=caller.address,
                channel=self._channel.id,
            )
            await StreamResponse(stream)(scope, receive, send)


def of_channel(request: Request, caller: Caller, channel: Channel) -> Response:
    """Return the stream of a channel as the request asks for it."""
    return ChannelStream(
        services.of(request),
        caller,
        channel,
        last_event_id=request.headers.get("last-event-id"),
        resume=is_true(request, "resume"),
        says_id=_keeps_ids_alone(request),
    )


def _keeps_ids_alone(request: Request) -> bool:
    """Whether a browser's `EventSource` asks that has no id yet.

    It alone says how it fetches (no program does) and forbids caches (`fetch` in a page does not).
    """
    headers = request.headers
    return (
        "last-event-id" not in headers
        and "sec-fetch-mode" in headers
        and "no-cache" in headers.get("cache-control", "")
    )


def is_true(request: Request, name: str) -> bool:
    """Whether a query parameter is given and says yes."""
    return request.query_params.get(name, "").lower() in _TRUE


async def watch(request: Request) -> Response:
    """Subscribe and stream in one request."""
    if request.method == "HEAD":
        raise problems.Problem(405, "Method Not Allowed", headers={"Allow": "GET, OPTIONS"})
    caller = await services.caller(request, by_session=True)
    here = services.of(request)
    asked = one_request.read(request.query_params, here.event_types)
    last_event_id = request.headers.get("last-event-id")
    found = await one_request.channel_for(here, caller, asked, last_event_id)
    return ChannelStream(
        here,
        caller,
        found.channel,
        last_event_id=last_event_id,
        resume=found.resume,
        announced=found.announced,
        says_id=not found.announced and _keeps_ids_alone(request),
    )


_ANSWERS: dict[int, str] = {
    200: "text/event-stream",
    400: "A parameter cannot be used, or there is nothing there that the caller may see.",
    401: "Nobody, or somebody unknown.",
    429: "The user has as many channels or connections as are allowed.",
}
_QUERY: dict[str, Any] = {
    "watch": "A path; may be given several times.",
    "recursive": "true: everything below, too.",
    "flags": "inotify flags with commas between; absent: all events.",
    "include": "A glob; may be given several times.",
    "exclude": "A glob; may be given several times.",
    "details": "true: tell path, size, checksum beside each event.",
    "snapshot": "true: first what is there now.",
    "client-id": "A name under which the stream goes on where it stopped, without Last-Event-ID.",
}

ENDPOINTS = [
    Endpoint(
        "GET",
        "/api/v1/events/stream",
        watch,
        "Subscribe and read in one request",
        _ANSWERS,
        query=_QUERY,
    )
]
