"""The in-memory twin of the channel store: for tests and a single node without Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from api import channel_endings, channels
from api.channel_store import MAXIMUM_ENDED, Attachment, Notice, TooManySubscriptions
from api.memory_channels import Kept, MemoryChannels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from api.channel_store import Served
    from api.channels import Place, Subscription


class MemoryChannelStore(MemoryChannels):
    """Keeps channels in this process; the same promises as the Redis one."""

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
            self._changed(kept, sequence)
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
        self._changed(kept, sequence)
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
        ended, end = channel_endings.ending(found, marks)
        await self.end(channel_id, found.sequence, ended, end)
        return True

    async def attach(self, channel_id: str, connection: str) -> Attachment:
        """Give the channel to a connection."""
        kept = self._need(channel_id)
        attachment = kept.attachment(kept.connection)
        kept.draining, kept.connection = kept.connection, connection
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

    async def detach(self, served: Served) -> None:
        """Give the channel back."""
        kept = self._find(served.channel_id)
        if kept is None or served.connection not in {kept.connection, kept.draining}:
            return
        if served.cursor:
            self._serve(kept, served)
        if kept.connection == served.connection:
            kept.connection = ""
            self._touch(kept)
        else:
            kept.draining = ""

    async def save_cursors(self, served: Sequence[Served]) -> None:
        """Keep how far connections were served."""
        for one in served:
            kept = self._find(one.channel_id)
            if kept is not None and kept.connection == one.connection and one.cursor:
                self._serve(kept, one)
                kept.draining = ""

    def _serve(self, kept: Kept, served: Served) -> None:
        kept.channel = dataclasses.replace(
            kept.channel, cursor=served.cursor, seen_generation=served.seen_generation
        )

    async def reload(self, channel_id: str) -> Attachment | None:
        """Return channel and subscriptions as they are now."""
        kept = self._find(channel_id)
        return None if kept is None else kept.attachment()

    async def look(self, channel_id: str, sequences: Sequence[int]) -> Attachment | None:
        """Return the channel and only those subscriptions."""
        kept = self._find(channel_id)
        if kept is None:
            return None
        found = [kept.subscriptions[one] for one in sorted(sequences) if one in kept.subscriptions]
        return Attachment(kept.channel, found)

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
        kept.subscriptions[sequence] = channel_endings.ended_at(found, ended, end)
        if kept.active.get((found.event_type, found.id)) == sequence:
            del kept.active[found.event_type, found.id]
        if len(kept.subscriptions) - len(kept.active) > MAXIMUM_ENDED:
            over = sorted(set(kept.subscriptions) - set(kept.active.values()))[:-MAXIMUM_ENDED]
            await self.forget(channel_id, over)
        self._changed(kept, sequence)

    async def carry_on(
        self, channel_id: str, ended: Subscription, successor: Subscription
    ) -> bool:
        """Replace an active subscription by one with a new sequence."""
        kept = self._find(channel_id)
        identity = (ended.event_type, ended.id)
        if kept is None or kept.active.get(identity) != ended.sequence:
            return False
        sequence = kept.channel.generation + 1
        slots = dict.fromkeys([*kept.channel.slots, successor.slot])
        kept.channel = dataclasses.replace(kept.channel, generation=sequence, slots=tuple(slots))
        kept.subscriptions[ended.sequence] = ended
        kept.subscriptions[sequence] = successor.replace(sequence=sequence)
        kept.active[identity] = sequence
        self._changed(kept, sequence)
        return True

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
        kept = Kept(channel, self._clock() + channel.timeout_s, connection)
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
