"""Snapshots: what was there when a subscription was made, told before all that happened since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import event_ids, sse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from api.delivery_message import Member
    from api.delivery_stream import Stream
    from api.event_ids import Layer


def snapshot_slot(sequence: int) -> str:
    """Return the slot in which a subscription's snapshot is counted."""
    return f"snapshot:{sequence}"


def snapshot_is_due(layer: Layer) -> bool:
    """Whether snapshots of a layer's subscriptions may still have to be told.

    They come before all else: a layer that has other places and no snapshot's is past them.
    """
    return not layer.places or any(slot.startswith("snapshot:") for slot in layer.places)


async def tell_snapshots(stream: Stream, drain: Callable[[], Awaitable[None]]) -> None:
    """Tell the snapshots that are due, from where the reader was.

    Args:
        stream: a stream that is behind.
        drain: waits until the reader has taken most of what was told.
    """
    past = 0
    for layer in stream.layers:
        for member in stream.newer(past) if snapshot_is_due(layer) else ():
            one = member.subscription
            if one.snapshot and one.ended is None and member.sequence <= layer.generation:
                await _tell(stream, member, layer, drain)
        past = layer.generation


async def _tell(
    stream: Stream, member: Member, layer: Layer, drain: Callable[[], Awaitable[None]]
) -> None:
    slot = snapshot_slot(member.sequence)
    done = event_ids.number_of(layer.places.get(slot, 0))
    name = member.subscription.snapshot
    async for chunk in await stream.node.store.read_snapshot(stream.channel.id, name, done):
        for payload in chunk:
            done += 1
            layer.places[slot] = event_ids.place(done)
            event_id = stream.ids.encode(tuple(stream.layers))
            stream.send(event_id, member, sse.middle(payload))
        await drain()
    layer.places[slot] = event_ids.place(done)
