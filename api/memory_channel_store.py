"""The in-memory twin of the channel store: for tests and a single node without Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api import channels
from api.channel_store import (
    MAXIMUM_ENDED,
    Attachment,
    NoSuchChannel,
    Notice,
    TooManyChannels,
    TooManySubscriptions,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from api.channels import Channel, Place, Subscription

_CHUNK = 500


@dataclass(slots=True)
class _Kept:
    channel: Channel
    expires_s: float
    connection: str = ""
    draining: str = ""
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    active: dict[tuple[str, str], int] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=dict)

    def attachment(self, taken_from: str = "") -> Attachment:
        ordered = [self.subscriptions[sequence] for sequence in sorted(self.subscriptions)]
        return Attachment(self.channel, ordered, taken_from)


class MemoryChannelStore:
    """Keeps channels in this process; the same promises as the Redis one.

    Args:
        clock: seconds; channels time out by it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._order = 0
        self._key = secrets.token_bytes(32)
        self._listeners: set[asyncio.Queue[Notice]] = set()

    def _find(self, channel_id: str) -> _Kept | None:
        kept = self._kept.get(channel_id)
        if kept is not None and self._clock() >= kept.expires_s:
            del self._kept[channel_id]
            return None
        return kept

    def _need(self, channel_id: str) -> _Kept:
        kept = self._find(channel_id)
        if kept is None:
            raise NoSuchChannel("No such channel")
        return kept

    def _touch(self, kept: _Kept) -> None:
        kept.expires_s = self._clock() + kept.channel.timeout_s

    def _tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener.put_nowait(notice)

    def _changed(self, kept: _Kept) -> None:
        kept.channel = dataclasses.replace(kept.channel, version=kept.channel.version + 1)
        self._tell(Notice(kept.channel.id, "changed"))

    async def create(
        self,
        *,
        owner_key: str,
        uid: int,
        client_id: str = "",
        timeout_s: int,
        maximum: int,
        maximum_timeout_s: int = channels.MAXIMUM_TIMEOUT_S,  # noqa: ARG002 - of the port
    ) -> Channel:
        """Make a channel."""
        mine = [key for key in list(self._kept) if (k := self._find(key)) and k.channel.uid == uid]
        if len(mine) >= maximum:
            raise TooManyChannels(f"at most {maximum} channels")
        self._order += 1
        channel = channels.Channel(
            id=channels.new_channel_id(),
            owner_key=owner_key,
            uid=uid,
            client_id=client_id,
            timeout_s=timeout_s,
            order=self._order,
        )
        self._kept[channel.id] = _Kept(channel, self._clock() + timeout_s)
        return channel

    async def get(self, channel_id: str) -> Channel | None:
        """Return a channel, or None."""
        kept = self._find(channel_id)
        return None if kept is None else kept.channel

    async def list_ids(self, owner_key: str, client_id: str | None = None) -> list[str]:
        """Return the owner's channels in the order they were made."""
        return [
            key
            for key in list(self._kept)
            if (kept := self._find(key))
            and kept.channel.owner_key == owner_key
            and client_id in (None, kept.channel.client_id)
        ]

    async def set_timeout(self, channel_id: str, timeout_s: int) -> bool:
        """Change the timeout, which starts anew."""
        kept = self._find(channel_id)
        if kept is None:
            return False
        kept.channel = dataclasses.replace(kept.channel, timeout_s=timeout_s)
        self._touch(kept)
        self._changed(kept)
        return True

    async def delete(self, channel_id: str) -> bool:
        """End a channel."""
        if self._find(channel_id) is None:
            return False
        del self._kept[channel_id]
        self._tell(Notice(channel_id, "closed"))
        return True

    async def put_snapshot(self, channel_id: str, payloads: Sequence[str]) -> str:
        """Keep a subscription's snapshot and return where."""
        kept = self._need(channel_id)
        name = secrets.token_urlsafe(8)
        kept.snapshots[name] = list(payloads)
        return name

    async def read_snapshot(
        self, channel_id: str, snapshot: str, after: int
    ) -> AsyncIterator[Sequence[str]]:
        """Return an iterator over chunks of a snapshot's payloads."""
        kept = self._find(channel_id)
        payloads = [] if kept is None else kept.snapshots.get(snapshot, [])

        async def chunks() -> AsyncIterator[Sequence[str]]:
            for start in range(after, len(payloads), _CHUNK):
                yield payloads[start : start + _CHUNK]

        return chunks()

    async def drop_snapshot(self, channel_id: str, snapshot: str) -> None:
        """Forget a snapshot."""
        kept = self._find(channel_id)
        if kept is not None:
            kept.snapshots.pop(snapshot, None)

    async def subscribe(
        self, channel_id: str, subscription: Subscription, *, maximum: int = 0
    ) -> tuple[Subscription, bool]:
        """Keep a subscription, merged into the one its inode already has."""
        kept = self._need(channel_id)
        identity = (subscription.event_type, subscription.id)
        sequence = kept.active.get(identity)
        if sequence is not None:
            merged = channels.merge(kept.subscriptions[sequence], subscription)
            kept.subscriptions[sequence] = merged
            self._changed(kept)
            return merged, False
        if maximum and len(kept.active) >= maximum:
            raise TooManySubscriptions(f"at most {maximum} subscriptions")
        channel = kept.channel
        slots = channel.slots
        if subscription.slot and subscription.slot not in slots:
            slots = (*slots, subscription.slot)
        sequence = channel.generation + 1
        kept.channel = dataclasses.replace(channel, generation=sequence, slots=slots)
        made = subscription.replace(sequence=sequence)
        kept.subscriptions[sequence] = made
        kept.active[identity] = sequence
        self._changed(kept)
        return made, True

    async def subscriptions(self, channel_id: str) -> list[Subscription]:
        """Return a channel's active subscriptions."""
        kept = self._find(channel_id)
        return (
            [] if kept is None else [kept.subscriptions[s] for s in sorted(kept.active.values())]
        )

    async def subscription(
        self, channel_id: str, event_type: str, subscription_id: str
    ) -> Subscription | None:
        """Return one active subscription, or None."""
        kept = self._find(channel_id)
        sequence = kept and kept.active.get((event_type, subscription_id))
        return kept.subscriptions[sequence] if kept and sequence else None

    async def unsubscribe(
        self, channel_id: str, event_type: str, subscription_id: str, marks: Mapping[str, int]
    ) -> bool:
        """End an active subscription and tell all nodes."""
        found = await self.subscription(channel_id, event_type, subscription_id)
        if found is None:
            return False
        ended, end = channels.ending(found, marks)
        await self.end(channel_id, found.sequence, ended, end)
        return True

    async def attach(self, channel_id: str, connection: str) -> Attachment:
        """Give the channel to a connection."""
        kept = self._need(channel_id)
        attachment = kept.attachment(kept.connection)
        kept.draining, kept.connection = kept.connection, connection
        kept.channel = dataclasses.replace(
            kept.channel, connected_before=True, seen_generation=kept.channel.generation
        )
        self._touch(kept)
        self._tell(Notice(channel_id, "attached", connection))
        return attachment

    async def is_released(self, channel_id: str) -> bool:
        """Whether the connection before the newest has given the channel back."""
        kept = self._find(channel_id)
        return kept is None or not kept.draining

    async def refresh(self, held: Sequence[tuple[str, str]]) -> list[tuple[int, str] | None]:
        """Give signs of life."""
        answers: list[tuple[int, str] | None] = []
        for channel_id, connection in held:
            kept = self._find(channel_id)
            if kept is not None and kept.connection == connection:
                self._touch(kept)
            answers.append(None if kept is None else (kept.channel.version, kept.connection))
        return answers

    async def detach(self, channel_id: str, connection: str, cursor: str) -> None:
        """Give the channel back."""
        kept = self._find(channel_id)
        if kept is None:
            return
        if kept.connection == connection:
            await self.save_cursors([(channel_id, connection, cursor)])
            kept.connection = ""
            self._touch(kept)
        elif kept.draining == connection:
            kept.draining = ""

    async def save_cursors(self, held: Sequence[tuple[str, str, str]]) -> None:
        """Keep how far channels were served."""
        for channel_id, connection, cursor in held:
            kept = self._find(channel_id)
            if kept is not None and kept.connection == connection:
                kept.channel = dataclasses.replace(kept.channel, cursor=cursor)

    async def reload(self, channel_id: str) -> Attachment | None:
        """Return channel and subscriptions as they are now."""
        kept = self._find(channel_id)
        return None if kept is None else kept.attachment()

    async def end(
        self,
        channel_id: str,
        sequence: int,
        ended: Mapping[str, int],
        end: tuple[str, int, int] | None,
    ) -> None:
        """End a subscription at a position."""
        kept = self._find(channel_id)
        if kept is None or sequence not in kept.subscriptions:
            return
        found = kept.subscriptions[sequence]
        kept.subscriptions[sequence] = found.replace(ended=dict(ended), end=end)
        if kept.active.get((found.event_type, found.id)) == sequence:
            del kept.active[found.event_type, found.id]
        over = sorted(set(kept.subscriptions) - set(kept.active.values()))[:-MAXIMUM_ENDED]
        await self.forget(channel_id, over)
        self._changed(kept)

    async def move(self, channel_id: str, sequence: int, place: Place) -> None:
        """Keep where a subscription's object is now."""
        kept = self._find(channel_id)
        if kept is not None and sequence in kept.subscriptions:
            kept.subscriptions[sequence] = channels.moved(kept.subscriptions[sequence], place)

    async def forget(self, channel_id: str, sequences: Sequence[int]) -> None:
        """Drop ended subscriptions."""
        kept = self._find(channel_id)
        if kept is not None:
            for sequence in sequences:
                kept.subscriptions.pop(sequence, None)

    async def restore(self, attachment: Attachment, connection: str) -> None:
        """Make a channel again that the store lost."""
        channel = attachment.channel
        if self._find(channel.id) is not None:
            return
        kept = _Kept(channel, self._clock() + channel.timeout_s, connection)
        for one in attachment.subscriptions:
            kept.subscriptions[one.sequence] = one
            if one.ended is None:
                kept.active[one.event_type, one.id] = one.sequence
        self._kept[channel.id] = kept

    async def server_key(self) -> bytes:
        """Return 32 bytes, made once."""
        return self._key

    async def notices(self) -> AsyncIterator[Notice]:
        """Yield what nodes tell each other, from now on."""
        queue: asyncio.Queue[Notice] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def ping(self) -> None:
        """Return: this store is always there."""

    async def close(self) -> None:
        """Keep nothing open."""
