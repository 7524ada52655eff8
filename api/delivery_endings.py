"""How a subscription ends in a stream: first in the store, then to the reader, in its place.

An ending has a place among the events, like any of them: a reader that is behind gets it there,
one that has passed it does not get it again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from api import channel_endings, channels, event_ids, sse
from pipeline.event_types import inotify
from schemas.errors import Unavailable
from schemas.vocabulary import IN_ONESHOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.delivery_message import Member, Told
    from api.delivery_sources import Starts
    from api.delivery_stream import Stream

logger = logging.getLogger(__name__)

_IGNORED: Final = sse.middle(inotify.IGNORED_PAYLOAD)


class Endings:
    """The endings that a stream has still to tell."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._waiting: list[tuple[int, str, Member]] = []

    async def end(self, member: Member, shard: str, number: int, rank: int) -> None:
        """End a subscription at a place; `tell` tells the reader when its turn has come."""
        one = member.subscription
        node = self._stream.node
        ended, _ = channel_endings.ending(
            one, {**node.marks.get(one.event_type, {}), shard: number}
        )
        ended[shard] = number
        end = (shard, number, rank)
        await self._keep(member, ended, end)
        node.remove(member)
        member.subscription = channel_endings.ended_at(one, ended, end)
        self.expect(member)

    async def end_at_once(self, member: Member, ended: Mapping[str, int]) -> None:
        """End a subscription of a type that has no last event of its own."""
        await self._keep(member, ended, None)
        self._stream.drop(member)
        self.close(member, "", 0)

    async def _keep(
        self, member: Member, ended: Mapping[str, int], end: tuple[str, int, int] | None
    ) -> None:
        stream = self._stream
        try:
            await stream.node.store.end(stream.channel.id, member.sequence, ended, end)
        except Unavailable as error:
            logger.warning("a subscription ends that the store cannot be told of: %s", error)

    async def revoke(self, member: Member) -> None:
        """End a subscription now: access to it is gone, or its owner deleted it."""
        one, stream = member.subscription, self._stream
        ended, end = channel_endings.ending(one, stream.node.marks.get(one.event_type, {}))
        if end is None:
            await self.end_at_once(member, ended)
            return
        stream.fall_behind()
        shard, number, _ = end
        slot = channels.slot_name(one.event_type, shard)
        at = max(layer.places.get(slot, 0) for layer in stream.layers)
        number = max(number, event_ids.number_of(at))
        await self.end(member, shard, number, event_ids.ending_rank(at, number))

    def adopt(self, member: Member, stored: channels.Subscription) -> bool:
        """Let a subscription end where another node says; False: the reader is past that."""
        if stored.end is None:
            return False
        shard, number, rank = stored.end
        slot = channels.slot_name(stored.event_type, shard)
        self._stream.fall_behind()
        at, known = event_ids.place(number, rank, member.sequence), member.subscription
        member.subscription = channel_endings.ended_at(known, stored.ended or {}, stored.end)
        if at <= self._stream.start(member, slot, shard):
            member.subscription = known
            return False
        self.expect(member)
        return True

    async def forfeit(self, member: Member) -> None:
        """End a subscription where its reader was: what came after is not theirs to see."""
        one, stream = member.subscription, self._stream
        shard = one.shard or min(stream.node.shards(one), default="")
        if not shard:
            await self.end_at_once(member, {})
            return
        mark = stream.node.marks.get(one.event_type, {}).get(shard, 0)
        since = {**one.since, shard: min(one.since.get(shard, 0), mark)}
        member.subscription = one.replace(since=since)  # it need not be waited for its beginning
        at = stream.start(member, channels.slot_name(one.event_type, shard), shard)
        number = event_ids.number_of(at)
        await self.end(member, shard, number, event_ids.ending_rank(at, number))

    @property
    def are_awaited(self) -> bool:
        """Whether one is still ahead; then the stream is not live, so that it comes in order."""
        return bool(self._waiting)

    def expect(self, member: Member) -> None:
        """Have the ending of a subscription, if it has one, told when its place is come to."""
        one = member.subscription
        if one.end is not None:
            shard, number, rank = one.end
            at = event_ids.place(number, rank, one.sequence)
            self._waiting.append((at, channels.slot_name(one.event_type, shard), member))
            self._waiting.sort(key=lambda waiting: waiting[0])

    def tell(self, slot: str, up_to: int, starts: Starts) -> None:
        """Tell the endings up to a place in a slot.

        Args:
            slot: the slot.
            up_to: the place.
            starts: from which place on each member is still to be told.
        """
        for waiting in self._waiting[:]:
            at, of_slot, member = waiting
            if of_slot != slot or at > up_to:
                continue
            self._waiting.remove(waiting)
            self._stream.drop(member)
            if starts.is_before(member, at):
                self.close(member, slot, at)

    def close(self, member: Member, slot: str, at: int) -> None:
        """Tell the reader that a subscription is over."""
        one = member.subscription
        self._stream.system(sse.SUBSCRIPTION_CLOSED, subscription=one.url)
        if one.event_type == channels.INOTIFY:
            self._stream.tell(member, slot, at, _IGNORED)


def is_over(one: channels.Subscription, told: Told, shard: str) -> bool:
    """Whether an event came after its subscription had ended."""
    if one.ended is None:
        return False
    if one.end is not None and one.end[0] == shard:
        last = event_ids.place(one.end[1], one.end[2], 0)
        if told.at >= last:
            return True
        if one.watch.modifiers & IN_ONESHOT:
            return told.at < event_ids.place(one.end[1], one.end[2] - 1, 0)
        return False
    return event_ids.number_of(told.at) > one.ended.get(shard, 0)
