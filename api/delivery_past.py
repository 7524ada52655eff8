"""The past: what a stream that is behind is told from the replay log until it is live again.

The node's mark P is taken in each shard, live messages are held, the log is waited for until it
has P, everything after the stream's own place and up to P is told, then what was held. No gap, no
double: each event is compared with the place its member has come to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from api import (
    access,
    channels,
    delivery_metronome,
    delivery_shards,
    delivery_snapshots,
    event_ids,
    sse,
)
from api.delivery_endings import Endings, is_over
from api.delivery_message import Message, plan
from api.delivery_sources import Starts
from api.matcher import Matcher
from schemas import codec
from schemas.errors import BadRecord, Unavailable
from schemas.vocabulary import IN_ONESHOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from api.delivery_message import Member, Told
    from api.delivery_stream import Stream
    from pipeline.event_types.base import EventType
    from pipeline.replay.log import ReplayLog

logger = logging.getLogger(__name__)

WAIT_S: Final = 0.5
"""How long the log is waited for before looking whether the stream has something else to do."""

RETRY_S: Final = 0.5
_AHEAD_S: Final = 0.05
_DRAIN_EVERY: Final = 100


class SlowReader(Exception):  # noqa: N818 - not ours to mend
    """The reader has taken nothing for too long."""


class Interrupted(Exception):  # noqa: N818 - no failure
    """The log is late, and the stream has something else to do first."""


class Past:
    """Brings one stream from where it is to now.

    Args:
        stream: the stream.
        endings: of its subscriptions.
    """

    def __init__(self, stream: Stream, endings: Endings) -> None:
        self.stream = stream
        self.node = stream.node
        self._endings = endings
        self._matchers: dict[str, Matcher[Member]] = {}

    async def catch_up(self) -> None:
        """Tell all there is to tell, until the stream is live, to end, or has something to do.

        Raises:
            SlowReader: it takes what it is sent too slowly.
        """
        stream = self.stream
        while stream.held is not None and not stream.finished:
            try:
                await self.node.learned.wait()
                await self._once()
            except Interrupted:
                return
            except Unavailable as error:
                logger.info("a stream waits for the past: %s", error)
                stream.flush()
                await asyncio.sleep(RETRY_S)
        self._matchers.clear()

    async def _once(self) -> None:
        """Tell what is in the log, then what was held; live then, if not too much was held."""
        stream = self.stream
        await self._drain()
        if stream.overflowed:
            stream.held, stream.overflowed = [], False
        self._matchers.clear()
        await delivery_snapshots.tell_snapshots(stream, self._drain)
        delivery_metronome.tell_ended(stream, self._endings)
        await self._tell_logs()
        held = stream.held
        assert held is not None
        starts: dict[str, Starts] = {}
        done = 0
        while done < len(held) and not stream.finished:
            message = held[done]
            done += 1
            if message.slot not in starts:
                starts[message.slot] = self._starts(message.event_type, message.shard)
            await self._tell(message, starts[message.slot])
            stream.advance(message.slot, event_ids.end_of(message.number))
            if not done % _DRAIN_EVERY:
                await self._drain()
        if stream.overflowed or stream.finished:
            return
        held.clear()
        if await delivery_shards.find_homes(stream):
            return
        if not self._endings.are_awaited and not _is_uneven(stream):
            stream.go_live()
        elif stream.wake.is_set():
            raise Interrupted
        else:
            stream.flush()
            await asyncio.sleep(_AHEAD_S)

    async def _tell_logs(self) -> None:
        """Tell what the logs have, of each shard up to where the node is now."""
        for name, shard in self.stream.sources.shards():
            event_type = self.node.event_types.get(name)
            if event_type is not None:
                await self._read(event_type, shard, self.node.marks[name].get(shard, 0))

    def _matcher(self, event_type: str) -> Matcher[Member]:
        """Return an index of the stream's own members, the ended ones too, as live ones have it.

        It is made when there is something to tell: a channel of a thousand watches that gets one
        more while nothing happens needs none.
        """
        found = self._matchers.get(event_type)
        if found is None:
            found = self._matchers[event_type] = Matcher()
            for member in self.stream.members.values():
                one = member.subscription
                if one.event_type == event_type:
                    found.add(one.inode, one.watch, member.key, member)
        return found

    def _starts(self, event_type: EventType, shard: str) -> Starts:
        return Starts(self.stream.layers, channels.slot_name(event_type.name, shard), shard)

    def _behind(self, event_type: EventType, starts: Starts, number: int) -> list[Member]:
        """Return the members that have not been told all up to a number.

        The others are not looked at: one that is new among thousands is alone behind.
        """
        at = event_ids.end_of(number)
        return [
            member
            for member in self.stream.newer(starts.all_at(at))
            if member.subscription.event_type == event_type.name and starts.is_before(member, at)
        ]

    async def _read(self, event_type: EventType, shard: str, up_to: int) -> None:
        """Tell what the log has of one shard, up to a number."""
        slot = channels.slot_name(event_type.name, shard)
        starts = self._starts(event_type, shard)
        if self._behind(event_type, starts, up_to):
            log = self.node.logs[event_type.name]
            while not await log.wait_for(shard, up_to, WAIT_S):
                if self.stream.wake.is_set():
                    raise Interrupted
            await self._losses(log, event_type, shard)
            starts = self._starts(event_type, shard)
            async for value in self._values(log, event_type, shard, starts, up_to):
                await self._tell_value(event_type, value, starts)
            await self._losses(log, event_type, shard)  # trimmed while it was read
        self._endings.tell(slot, event_ids.behind(up_to), starts)
        self.stream.advance(slot, event_ids.end_of(up_to))

    async def _values(
        self, log: ReplayLog, event_type: EventType, shard: str, starts: Starts, up_to: int
    ) -> AsyncIterator[bytes]:
        """Yield the messages that may concern who is behind, no faster than the reader reads."""
        behind = self._behind(event_type, starts, up_to)
        begin = min((starts.of(one) for one in behind), default=event_ids.end_of(up_to))
        watches = [one.subscription for one in behind]
        watched = list({one.inode: None for one in watches})
        below = list({one.inode: None for one in watches if one.watch.recursive})
        chunks = aiter(log.read(shard, watched, below, event_ids.read_from(begin), up_to))
        while (chunk := await self._next(chunks)) is not None:
            for _, value in chunk:
                yield value
            await self._drain()

    async def _next(
        self, chunks: AsyncIterator[Sequence[tuple[int, bytes]]]
    ) -> Sequence[tuple[int, bytes]] | None:
        """Read a chunk when it is this stream's turn; None: there are no more."""
        async with self.node.reading:
            return await anext(chunks, None)

    async def _tell_value(self, event_type: EventType, value: bytes, starts: Starts) -> None:
        try:
            message = Message(event_type, codec.decode_head(value), value)
            await self._tell(message, starts)
        except BadRecord:
            logger.exception("a message in the replay log cannot be read; it is left out")

    async def _losses(self, log: ReplayLog, event_type: EventType, shard: str) -> None:
        """Say what was trimmed before it could be told, and go on with what is there."""
        async with self.node.reading:
            floor = (await log.state([shard])).floors.get(shard, 0)
        if not floor:
            return
        behind = self._behind(event_type, self._starts(event_type, shard), floor)
        lost = [member.subscription for member in behind if member.is_active]
        for one in lost:
            self.stream.system(sse.EVENT_LOSS, subscription=one.url, path=one.watch.path)
        if lost:
            slot = channels.slot_name(event_type.name, shard)
            self.stream.advance(slot, event_ids.end_of(floor))

    async def _tell(self, message: Message, starts: Starts) -> None:
        """Tell a message to those members that have not come past it."""
        shard, slot, endings = message.shard, message.slot, self._endings
        endings.tell(slot, event_ids.place(message.number), starts)
        groups = self._matcher(message.event_type.name).find(message.head)
        for told in plan(message, groups) if groups else ():
            is_new = starts.is_before(told.member, told.at)
            if not is_new or is_over(told.member.subscription, told, shard):
                continue
            endings.tell(slot, told.at, starts)
            await self._tell_one(message, told)
        if message.event_type.watches_namespace:
            await self._changes(message)
        endings.tell(slot, event_ids.behind(message.number), starts)

    async def _tell_one(self, message: Message, told: Told) -> None:
        stream, member, telling = self.stream, told.member, told.telling
        sees = bool(telling.payload) and stream.may_see(telling)
        oneshot = sees and bool(member.subscription.watch.modifiers & IN_ONESHOT)
        if (telling.ends_watch or oneshot) and member.is_active:
            # First the store, then the reader: whatever node dies, it is told once.
            rank = 2 * telling.index + 1
            await self._endings.end(member, message.shard, message.number, rank)
        if sees:
            stream.tell(member, message.slot, told.at, sse.middle(telling.payload))

    async def _changes(self, message: Message) -> None:
        """Look again at subscriptions whose ground the message changed."""
        if message.record.get("kind") not in access.CHANGES:
            return
        for member in list(self.stream.members.values()):
            if member.is_active and message.number > member.checked.get(message.shard, 0):
                after = access.after_change(member.subscription, message.record)
                if after is not member.subscription:
                    await self._change(member, after, message)

    async def _change(
        self, member: Member, after: channels.Subscription, message: Message
    ) -> None:
        before = member.subscription
        self.node.replace(member, after)
        is_old = message.number <= member.admitted.get(message.shard, 0)
        if not is_old and not access.is_allowed(self.stream.principal, after):
            if after.event_type == message.event_type.name:
                rank = channels.LAST_RANK
                await self._endings.end(member, message.shard, message.number, rank)
            else:
                await self._endings.end_at_once(member, {message.shard: message.number})
        elif delivery_shards.leaves(after, message):
            await delivery_shards.leave(self.stream, member, message)
        elif after.path != before.path:
            place = channels.place_of(after, {message.shard: message.number})
            await self.node.store.move(self.stream.channel.id, after.sequence, place)

    async def _drain(self) -> None:
        """Write what is pending and wait until the reader has taken most of it."""
        stream = self.stream
        stream.flush()
        if stream.sink is None:
            return
        try:
            async with asyncio.timeout(self.node.slow_reader_grace_s):
                await stream.sink.drain()
        except TimeoutError:
            raise SlowReader("the reader has taken nothing for too long") from None


def _is_uneven(stream: Stream) -> bool:
    """Whether some members are further on than the node, by an id of another, and others not."""
    for slot, at in stream.slots().items() if len(stream.layers) > 1 else ():
        reached = {layer.places.get(slot, 0) for layer in stream.layers}
        if len(reached) > 1 and event_ids.number_of(max(reached)) > event_ids.number_of(at):
            return True
    return False
