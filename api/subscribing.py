"""Subscribing: from a selector to a subscription that the channel store keeps.

The path is looked up with the user's own credentials, and positions, permissions and the snapshot
are read in one transaction of the storage: the subscription tells exactly what happens after that
instant. What is absent and what is forbidden are answered by the same bytes.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

from api import (
    audit,
    channel_store,
    channels,
    gatekeeping,
    places,
    problems,
    snapshots,
    storage_client,
)
from pipeline.authz import paths
from pipeline.event_types.base import Watch
from pipeline.event_types.metronome import Beat
from schemas.vocabulary import IN_DONT_FOLLOW, IN_ONLYDIR

if TYPE_CHECKING:
    from api.auth import Caller
    from api.channels import Channel, Subscription
    from api.places import Found
    from api.services import Services
    from pipeline.event_types.base import Subscribable


async def subscribe(
    services: Services, caller: Caller, channel: Channel, event_type: str, selector: Any
) -> tuple[Subscription, bool]:
    """Make a subscription, or merge it into the one that its inode has in the channel.

    Args:
        services: this node's.
        caller: who asks.
        channel: one of theirs.
        event_type: the kind of events.
        selector: what the client supplied, as it came from JSON.

    Returns:
        The subscription as it is kept, and whether it is new.

    Raises:
        Problem: 400 with dCache's text, 404 when the channel is gone, 429.
        BadSelector: the selector cannot be used.
        Unavailable: storage or store is away.
    """
    kind = services.event_types.get(event_type)
    if kind is None:
        raise problems.bad_request(f"Unknown event type: {event_type}")
    parsed = kind.parse(selector)
    url = f"{caller.base_url}/api/v1/events/channels/{channel.id}"
    if kind.watches_namespace:
        watch = parsed.replace(root=caller.principal.restrictions.root)
        if watch.details:
            reader = caller.principal
            watch = watch.replace(reader=reader.user, reader_uid=reader.uid)
        wanted = await _on_namespace(services, caller, channel, kind, selector, watch, url)
    else:
        wanted = _on_no_path(services, caller, kind, selector, parsed, url)
    try:
        kept, is_new = await services.store.subscribe(
            channel.id, wanted, maximum=services.limits.subscriptions_per_channel
        )
    except channel_store.NoSuchChannel as error:
        raise problems.not_found("No such channel") from error
    except channel_store.TooManySubscriptions as error:
        maximum = services.limits.subscriptions_per_channel
        raise problems.limited("subscriptions-per-channel", maximum) from error
    audit.line(
        "subscribe",
        "allowed",
        who=caller.principal,
        address=caller.address,
        channel=channel.id,
        event_type=event_type,
        path=kept.path or None,
        subscription=kept.id,
        is_new=is_new,
    )
    return kept, is_new


async def _on_namespace(  # noqa: PLR0917
    services: Services,
    caller: Caller,
    channel: Channel,
    kind: Subscribable,
    selector: Any,
    watch: Watch,
    url: str,
) -> Subscription:
    found = await _find(services, caller, watch)
    if watch.modifiers & IN_ONLYDIR and not found.place.is_directory:
        raise problems.bad_request(f"Failed condition: IN_ONLYDIR with {found.type} target")
    place = found.place
    if getattr(kind, "own_shards", False):
        # Its messages are not counted by the storage: they may be in any shard.
        place = dataclasses.replace(place, shard="")
    if not place.shard:
        place = places.with_positions(place, services.hub.marks(kind.name))
    wanted = channels.namespace_subscription(kind.name, selector, watch, place, url)
    if watch.snapshot:
        payloads = snapshots.payloads(found.children, watch)
        try:
            where = await services.store.put_snapshot(channel.id, payloads)
        except channel_store.NoSuchChannel as error:
            raise problems.not_found("No such channel") from error
        wanted = wanted.replace(snapshot=where)
    return wanted


async def _find(services: Services, caller: Caller, watch: Watch) -> Found:
    path = paths.resolve("/", watch.path)
    absent = f"Not found: Problem with path: No such file or directory: {watch.path}"
    try:
        found = await services.storage.look_up(
            caller.credential,
            caller.address,
            path,
            follow=not watch.modifiers & IN_DONT_FOLLOW,
            children=watch.snapshot,
            recursive=watch.snapshot and watch.recursive,
        )
    except storage_client.NotVisible as error:
        reason = f"subscribe: absent or forbidden: {path}"
        raise problems.bad_request(absent, reason=reason) from error
    if not gatekeeping.may_watch(found, caller.principal):
        raise problems.bad_request(absent, reason=f"subscribe: forbidden: {path}")
    return found


def _on_no_path(  # noqa: PLR0917
    services: Services,
    caller: Caller,
    kind: Subscribable,
    selector: Any,
    parsed: Any,
    url: str,
) -> Subscription:
    identity = str(uuid.uuid4())
    wanted = channels.Subscription(
        id=identity,
        event_type=kind.name,
        url=f"{url}/subscriptions/{kind.name}/{identity}",
        selector=dict(selector),
        watch=parsed if isinstance(parsed, Watch) else Watch(),
    )
    if kind.name != channels.METRONOME:
        return wanted.replace(since=dict(services.hub.marks(kind.name)))
    assert isinstance(parsed, Beat)
    timer = channels.Metronome(
        start_s=services.clock(),
        period_s=parsed.delay_s,
        message=parsed.message,
        count=parsed.count,
        username=caller.principal.user,
    )
    return wanted.replace(metronome=timer)
