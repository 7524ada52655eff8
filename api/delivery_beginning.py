"""Where a stream begins: what its reader has been told, by its id, by our own notes, or by rule.

Without an id a reader who was told an event before goes on now: who wants more has its id. But
subscriptions that were made since then begin where they were made, so all of them do for a reader
who was never told anything and has no id to come with, whatever node they were connected to.
Who asks to resume goes on where the last connection stopped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from api import event_ids, sse
from api.channels import slot_name
from api.delivery_metronome import due
from api.delivery_snapshots import snapshot_slot
from api.event_ids import Layer
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.channel_store import Attachment, ChannelStore
    from api.channels import Subscription
    from api.delivery_node import Node
    from api.delivery_stream import Stream
    from api.event_ids import Cursor

HAND_OVER_S: Final = 1.0
"""How long a new connection waits for the one before it to say where it stopped."""

_LOOK_S: Final = 0.02
_RETRY_S: Final = 0.5


async def reload(
    store: ChannelStore, channel_id: str, sequences: Sequence[int] | None = None
) -> Attachment | None:
    """Read a channel again, however long the store is away.

    Args:
        store: where it is.
        channel_id: the channel.
        sequences: only these subscriptions; None: all.
    """
    while True:
        try:
            if sequences is None:
                return await store.reload(channel_id)
            return await store.look(channel_id, sequences)
        except Unavailable:
            await asyncio.sleep(_RETRY_S)


async def hand_over(store: ChannelStore, attachment: Attachment) -> Attachment:
    """Wait until the connection before this one has said where it stopped, but not for long.

    Returns:
        The channel as it is after that.
    """
    if not attachment.taken_from:
        return attachment
    channel_id = attachment.channel.id
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + HAND_OVER_S
    while loop.time() < ends_s:
        try:
            if await store.is_released(channel_id):
                break
        except Unavailable:
            break
        await asyncio.sleep(_LOOK_S)
    return await reload(store, channel_id) or attachment


def places_now(node: Node, attachment: Attachment) -> dict[str, int]:
    """Return the newest place in each slot that the channel's subscriptions concern."""
    places: dict[str, int] = {}
    for one in attachment.subscriptions:
        if one.metronome is not None:
            tick = due(one.metronome, node.clock())
            places[slot_name(one.event_type, one.id)] = event_ids.place(tick)
        for shard in node.shards(one):
            places[slot_name(one.event_type, shard)] = node.end_place(one.event_type, shard)
    return places


def announce(stream: Stream, subscriptions: Iterable[Subscription]) -> None:
    """Say NEW_SUBSCRIPTION before all else, with the id of who was told nothing.

    So who loses the connection before the first event comes back with an id. Call it before `run`.
    """
    event_id = stream.ids.encode((Layer(0, {}),))
    for one in subscriptions:
        said = sse.system(sse.NEW_SUBSCRIPTION, subscription=one.url, path=one.watch.path)
        stream.send(b"", None, sse.with_id(event_id, said))


def layers(stream: Stream, attachment: Attachment, given: Given) -> list[Layer]:
    """Return what the reader of a stream that begins has been told.

    Args:
        stream: with its members.
        attachment: its channel, as it is after the hand-over.
        given: what the reader said.
    """
    cursor = _read(stream, attachment, given)
    seen = attachment.channel.seen_generation
    if cursor is None and seen and not given.resume:
        cursor = (Layer(seen, given.now),)
    made = [Layer(layer.generation, dict(layer.places)) for layer in cursor or ()]
    generation = attachment.channel.generation
    if not made or made[-1].generation < generation:
        made.append(Layer(generation, {}))
    return made


class Given:
    """What is known when a connection is made.

    Args:
        node: what streams share.
        attachment: the channel as the connection found it.
        last_event_id: the header as it came.
        resume: go on where the last connection stopped.
        says_id: tell the reader where that is by an id without an event.
    """

    def __init__(
        self,
        node: Node,
        attachment: Attachment,
        *,
        last_event_id: str | None,
        resume: bool,
        says_id: bool,
    ) -> None:
        self.last_event_id = last_event_id
        self.resume = resume
        self.says_id = says_id
        self.now = places_now(node, attachment)


def _read(stream: Stream, attachment: Attachment, given: Given) -> Cursor | None:
    """Return the cursor of the reader's id or of our own notes, if one counts."""
    known = {*attachment.channel.slots, *stream.slots()}
    known |= {snapshot_slot(sequence) for sequence in stream.members}
    for event_type, marks in stream.node.marks.items():
        known |= {slot_name(event_type, shard) for shard in marks}
    cursor = None
    if given.last_event_id is not None:
        cursor = stream.ids.decode(given.last_event_id.strip(), known)
    channel = attachment.channel
    if cursor is None and channel.cursor and (given.resume or not channel.seen_generation):
        cursor = stream.ids.decode(channel.cursor, known)
    return cursor
