"""The one-request stream: `GET /api/v1/events/stream?watch=/data&recursive=true`.

It makes a channel and its subscriptions by itself. A browser that lost its connection comes back
with the same query and a Last-Event-ID; the id is then tried on the user's channels that were made
for this query, and only the one that it belongs to opens it. A new stream says NEW_SUBSCRIPTION of
each watch with such an id, so it is told all that happens from the first answer on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from api import event_ids, problems, subscribing
from api.routes import channels as channel_routes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import QueryParams

    from api.auth import Caller
    from api.channels import Channel, Subscription
    from api.services import Services
    from pipeline.event_types.base import Subscribable

MAX_WATCHES: Final = 64
_BOOLEANS: Final = ("recursive", "details", "snapshot")
_LISTS: Final = ("include", "exclude")
_SIZES: Final = ("min_size", "max_size")
_KNOWN: Final = {
    "watch", "flags", "type", "client-id", "authz", *_BOOLEANS, *_LISTS, *_SIZES
}  # fmt: skip
_TRUE: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the query asks for.

    Attributes:
        event_type: the kind of events.
        selectors: one for each path.
        client_id: the channel's; made from the query when the client gave none.
        is_named: whether the client gave one.
    """

    event_type: str
    selectors: tuple[dict[str, Any], ...]
    client_id: str
    is_named: bool


def read(query: QueryParams, event_types: Mapping[str, Subscribable]) -> Asked:
    """Read the query, and check the selectors before anything is made.

    Raises:
        Problem: 400.
        BadSelector: a selector cannot be used.
    """
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        raise problems.bad_request(f"Bad query: unknown parameter {unknown[0][:64]!r}")
    paths = query.getlist("watch")
    if not 0 < len(paths) <= MAX_WATCHES:
        raise problems.bad_request(f"Bad query: watch must be given 1 to {MAX_WATCHES} times")
    event_type = query.get("type", "inotify")
    kind = event_types.get(event_type)
    if kind is None or not kind.watches_namespace:
        raise problems.bad_request(f"Unknown event type: {event_type}")
    common = _common(query)
    selectors = tuple({"path": path, **common} for path in paths)
    for selector in selectors:
        kind.parse(selector)
    client_id = query.get("client-id", "")
    text = repr(sorted((key, value) for key, value in query.multi_items() if key != "authz"))
    implied = "stream:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Asked(event_type, selectors, client_id[:256] or implied, bool(client_id))


def _common(query: QueryParams) -> dict[str, Any]:
    selector: dict[str, Any] = {}
    for name in _BOOLEANS:
        if name in query:
            value = _TRUE.get(query[name].lower())
            if value is None:
                raise problems.bad_request(f"Bad query: {name} must be true or false")
            selector[name] = value
    for name in _LISTS:
        if name in query:
            selector[name] = query.getlist(name)
    for name in _SIZES:
        if name in query:
            if not query[name].isdecimal() or len(query[name]) > 19:
                raise problems.bad_request(f"Bad query: {name} must be a number of bytes")
            selector[name] = int(query[name])
    if "flags" in query:
        parts = ",".join(query.getlist("flags")).split(",")
        selector["flags"] = [name.strip() for name in parts if name.strip()]
    return selector


class Found(NamedTuple):
    """The channel of a request.

    Attributes:
        channel: the channel.
        resume: whether its own cursor counts.
        announced: subscriptions of which the client is to hear first.
    """

    channel: Channel
    resume: bool
    announced: Sequence[Subscription] = ()


async def channel_for(
    here: Services, caller: Caller, asked: Asked, last_event_id: str | None
) -> Found:
    """Return the channel to stream, made if need be.

    Raises:
        Problem: as `subscribing.subscribe`; a channel just made is taken away again.
        Unavailable: storage or store is away.
    """
    if asked.is_named or last_event_id is not None:
        ids = await here.store.list_ids(caller.principal.owner_key, asked.client_id)
        for channel_id in reversed(ids):
            channel = await here.store.get(channel_id)
            if channel is None:
                continue
            if asked.is_named:
                await _subscribe(here, caller, channel, asked)
                return Found(channel, resume=True)
            if await _belongs(here, channel, last_event_id or ""):
                return Found(channel, resume=False)
    channel = await channel_routes.make(here, caller, asked.client_id)
    try:
        made = await _subscribe(here, caller, channel, asked)
    except BaseException:
        await here.store.delete(channel.id)
        raise
    return Found(channel, asked.is_named, () if asked.is_named else made)


async def _belongs(here: Services, channel: Channel, event_id: str) -> bool:
    first_slot = channel.slots[0] if channel.slots else ""
    ids = event_ids.Ids(await here.server_key(), channel.id, first_slot)
    return ids.decode(event_id, channel.slots) is not None


async def _subscribe(
    here: Services, caller: Caller, channel: Channel, asked: Asked
) -> list[Subscription]:
    """Make the channel's subscriptions those of the query; return those made now."""
    made: dict[str, Subscription] = {}
    kept = await here.store.subscriptions(channel.id)
    for selector in asked.selectors:
        if not any(one.selector == selector for one in kept):
            one, _ = await subscribing.subscribe(here, caller, channel, asked.event_type, selector)
            made[one.id] = one
    for one in kept:
        if one.selector not in asked.selectors:
            marks = here.hub.marks(one.event_type)
            await here.store.unsubscribe(channel.id, one.event_type, one.id, marks)
    return list(made.values())
