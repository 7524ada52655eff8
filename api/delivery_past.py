"""The past: what a stream that is behind is told from the replay log until it is live again.

The node's mark P is taken in each shard, live messages are held, the log is waited for until it
has P, everything after the stream's own place and up to P is told, then what was held. No gap, no
double: each event is compared with the place its member has come to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from api import access, channels, delivery_metronome, event_ids, sse
from api.delivery_message import Message, plan
from api.matcher import Matcher
from pipeline.event_types import inotify
from schemas import codec
from schemas.errors import BadRecord, Unavailable
from schemas.vocabulary import IN_ONESHOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from api.delivery_message import Member, Told
    from api.delivery_stream import Stream
    from api.event_ids import Layer
    from pipeline.event_types.base import EventType

logger = logging.getLogger(__name__)

WAIT_S: Final = 5.0
"""How long the log is waited for before looking again."""

RETRY_S: Final = 0.5
_IGNORED: Final = sse.middle(inotify.IGNORED_PAYLOAD)


TICKS: Final = "ticks"
"""Under this name an ended metronome keeps its last tick."""


class SlowReader(Exception):  # noqa: N818 - not ours to mend
    """The reader has taken nothing for too long."""


class Past:
    """Brings one stream from where it is to now."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.node = stream.node
        self._matchers: dict[str, Matcher[Member]] = {}
        self._closings: list[tuple[int, str, Member]] = []

    async def catch_up(self) -> None:
        """Tell all there is to tell, until the stream is live.

        Raises:
            SlowReader: it takes what it is sent too slowly.
        """
        stream = self.stream
        while stream.held is not None and not stream.finished:
            try:
                await self._once()
            except Unavailable as error:
                logger.info("a stream waits for the past: %s", error)
                stream.flush()
                await asyncio.sleep(RETRY_S)
        self._matchers.clear()

    async def _once(self) -> None:
        stream = self.stream
        await self._drain()
        if stream.overflowed:
            stream.held, stream.overflowed = [], False
        self._index()
        await self._snapshots()
        self._ended_metronomes()
        for event_type, shard in self._sources():
            await self._read(event_type, shard, self.node.marks[event_type.name].get(shard, 0))
        held = stream.held
        assert held is not None
        done = 0
        while done < len(held):
            message = held[done]
            done += 1
            await self._tell(message, self._starts(message.event_type, message.shard))
            stream.advance(message.slot, event_ids.end_of(message.number))
            if not done % 100:
                await self._drain()
        if stream.overflowed:
            return
        held.clear()
        stream.go_live()

    def _index(self) -> None:
        """Index the stream's own members, the ended ones too, as live ones are indexed."""
        self._matchers = {name: Matcher() for name in self.node.event_types}
        self._closings.clear()
        for member in self.stream.members.values():
            one = member.subscription
            matcher = self._matchers.get(one.event_type)
            if matcher is not None:
                matcher.add(one.inode, one.watch, member.key, member)
            if one.ended is not None:
                self._closing(member)

    def _sources(self) -> Iterable[tuple[EventType, str]]:
        return {
            (one.event_type, shard): (self.node.event_types[one.event_type], shard)
            for member in list(self.stream.members.values())
            if (one := member.subscription).metronome is None
            for shard in sorted(self.node.shards(one))
        }.values()

    def _concerned(self, event_type: EventType, shard: str) -> list[Member]:
        return [
            member
            for member in self.stream.members.values()
            if (one := member.subscription).event_type == event_type.name
            and one.metronome is None
            and one.shard in ("", shard)
        ]

    def _starts(self, event_type: EventType, shard: str) -> dict[int, int]:
        slot = channels.slot_name(event_type.name, shard)
        return {
            member.sequence: self.stream.start(member, slot, shard)
            for member in self._concerned(event_type, shard)
        }

    async def _read(self, event_type: EventType, shard: str, up_to: int) -> None:
        """Tell what the log has of one shard, up to a number."""
        slot = channels.slot_name(event_type.name, shard)
        starts = self._starts(event_type, shard)
        first = min(starts.values(), default=0)
        if first < event_ids.end_of(up_to):
            log = self.node.logs[event_type.name]
            while not await log.wait_for(shard, up_to, WAIT_S):
                logger.info("the replay log of %s has not reached %s %s", slot, shard, up_to)
            async with self.node.reading:
                floor = (await log.state([shard])).floors.get(shard, 0)
            self._losses(event_type, shard, slot, floor)
            starts = self._starts(event_type, shard)
            after = event_ids.read_from(min(starts.values(), default=0))
            members = self._concerned(event_type, shard)
            watched = list({member.subscription.inode: None for member in members})
            below = list(
                {
                    member.subscription.inode: None
                    for member in members
                    if member.subscription.watch.recursive
                }
            )
            chunks = aiter(log.read(shard, watched, below, after, up_to))
            while (chunk := await self._next(chunks)) is not None:
                for _, value in chunk:
                    await self._tell_value(event_type, value, starts)
                await self._drain()
            async with self.node.reading:
                floor = (await log.state([shard])).floors.get(shard, 0)
            self._losses(event_type, shard, slot, floor)  # trimmed while it was read
        self._close_ended(slot, event_ids.behind(up_to), starts)
        self.stream.advance(slot, event_ids.end_of(up_to))

    async def _next(
        self, chunks: AsyncIterator[Sequence[tuple[int, bytes]]]
    ) -> Sequence[tuple[int, bytes]] | None:
        """Read a chunk when it is this stream's turn; None: there are no more."""
        async with self.node.reading:
            return await anext(chunks, None)

    async def _tell_value(
        self, event_type: EventType, value: bytes, starts: Mapping[int, int]
    ) -> None:
        try:
            message = Message(event_type, codec.decode_head(value), value)
            await self._tell(message, starts)
        except BadRecord:
            logger.exception("a message in the replay log cannot be read; it is left out")

    def _losses(self, event_type: EventType, shard: str, slot: str, floor: int) -> None:
        """Say what was trimmed before it could be told, and go on with what is there."""
        lost = False
        for member in self._concerned(event_type, shard):
            is_over = member.subscription.ended is not None
            if not is_over and event_ids.read_from(self.stream.start(member, slot, shard)) < floor:
                one = member.subscription
                self.stream.system(sse.EVENT_LOSS, subscription=one.url, path=one.watch.path)
                lost = True
        if lost:
            self.stream.advance(slot, event_ids.end_of(floor))

    async def _tell(self, message: Message, starts: Mapping[int, int]) -> None:
        """Tell a message to those members that have not come past it."""
        shard, slot = message.shard, message.slot
        self._close_ended(slot, event_ids.place(message.number), starts)
        groups = self._matchers[message.event_type.name].find(message.head)
        for told in plan(message, groups) if groups else ():
            one = told.member.subscription
            if told.at <= starts.get(told.member.sequence, told.at) or _is_over(one, told, shard):
                continue
            self._close_ended(slot, told.at, starts)
            await self._tell_one(message, told)
        if message.event_type.watches_namespace:
            await self._changes(message)
        self._close_ended(slot, event_ids.behind(message.number), starts)

    async def _tell_one(self, message: Message, told: Told) -> None:
        stream, member, telling = self.stream, told.member, told.telling
        sees = bool(telling.payload) and stream.may_see(telling)
        oneshot = sees and bool(member.subscription.watch.modifiers & IN_ONESHOT)
        if (telling.ends_watch or oneshot) and member.subscription.ended is None:
            # First the store, then the reader: whatever node dies, it is told once.
            rank = 2 * telling.index + 1
            await self.end(member, message.shard, message.number, rank)
        if sees:
            stream.tell(member, message.slot, told.at, sse.middle(telling.payload))

    async def _changes(self, message: Message) -> None:
        """Look again at subscriptions whose ground the message changed."""
        if message.record.get("kind") not in access.CHANGES:
            return
        stream = self.stream
        for member in list(stream.members.values()):
            one = member.subscription
            if one.ended is not None or message.number <= member.checked.get(message.shard, 0):
                continue
            after = access.after_change(one, message.record)
            if after is one:
                continue
            self.node.replace(member, after)
            if not access.is_allowed(stream.principal, after):
                if after.event_type == message.event_type.name:
                    await self.end(member, message.shard, message.number, channels.LAST_RANK)
                else:
                    await self.end_at_once(member, {message.shard: message.number})
            elif after.path != one.path:
                await self._keep_place(after, message)

    async def _keep_place(self, after: channels.Subscription, message: Message) -> None:
        place = channels.Place(
            inode=after.inode,
            is_directory=after.is_directory,
            shard=after.shard,
            positions={message.shard: message.number},
            path=after.path,
            ancestors=after.ancestors,
            permissions=after.permissions,
        )
        await self.node.store.move(self.stream.channel.id, after.sequence, place)

    async def end(self, member: Member, shard: str, number: int, rank: int) -> None:
        """End a subscription at a place, in the store first; `_close_ended` tells the reader."""
        one = member.subscription
        marks = dict(self.node.marks.get(one.event_type, {})) | {shard: number}
        ended, _ = channels.ending(one, marks)
        ended[shard] = number
        end = (shard, number, rank)
        try:
            await self.node.store.end(self.stream.channel.id, one.sequence, ended, end)
        except Unavailable as error:
            logger.warning("a subscription ends that the store cannot be told of: %s", error)
        self.node.remove(member)
        member.subscription = one.replace(ended=ended, end=end)
        self._closing(member)

    async def end_at_once(self, member: Member, ended: Mapping[str, int]) -> None:
        """End a subscription of a type that has no last event of its own."""
        try:
            sequence = member.sequence
            await self.node.store.end(self.stream.channel.id, sequence, ended, None)
        except Unavailable as error:
            logger.warning("a subscription ends that the store cannot be told of: %s", error)
        self.stream.drop(member)
        self.close(member, "", 0)

    def _closing(self, member: Member) -> None:
        one = member.subscription
        if one.end is not None:
            shard, number, rank = one.end
            at = event_ids.place(number, rank, one.sequence)
            self._closings.append((at, channels.slot_name(one.event_type, shard), member))
            self._closings.sort(key=lambda closing: closing[0])

    def _close_ended(self, slot: str, up_to: int, starts: Mapping[int, int]) -> None:
        """Say of subscriptions that ended up to a place that they did."""
        for closing in self._closings[:]:
            at, of_slot, member = closing
            if of_slot != slot or at > up_to:
                continue
            self._closings.remove(closing)
            self.stream.drop(member)
            if at > starts.get(member.sequence, 0):
                self.close(member, slot, at)

    def close(self, member: Member, slot: str, at: int) -> None:
        """Tell the reader that a subscription is over."""
        one = member.subscription
        self.stream.system(sse.SUBSCRIPTION_CLOSED, subscription=one.url)
        if one.event_type == channels.INOTIFY:
            self.stream.tell(member, slot, at, _IGNORED)

    async def _snapshots(self) -> None:
        """Tell what was there when subscriptions with a snapshot were made."""
        for member in list(self.stream.members.values()):
            one = member.subscription
            layer = self.stream.layer_of(member)
            if not one.snapshot or one.ended is not None or not snapshot_is_due(layer):
                continue
            slot = snapshot_slot(member.sequence)
            done = event_ids.number_of(layer.places.get(slot, 0))
            chunks = await self.node.store.read_snapshot(
                self.stream.channel.id, one.snapshot, done
            )
            async for chunk in chunks:
                for payload in chunk:
                    done += 1
                    layer.places[slot] = event_ids.place(done)
                    self.stream.send(
                        self.stream.ids.encode(tuple(self.stream.layers)),
                        member,
                        sse.middle(payload),
                    )
                await self._drain()
            layer.places[slot] = event_ids.place(done)

    def _ended_metronomes(self) -> None:
        """Tell the last ticks of metronomes that ended while the reader was away."""
        for member in list(self.stream.members.values()):
            one = member.subscription
            if one.metronome is None or one.ended is None:
                continue
            slot = channels.slot_name(one.event_type, one.id)
            told = event_ids.number_of(self.stream.start(member, slot, ""))
            last = one.ended.get(TICKS, 0)
            self.stream.drop(member)
            if told < last:
                delivery_metronome.tell_ticks(self.stream, member, told, last)
                self.close(member, slot, 0)

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


def snapshot_slot(sequence: int) -> str:
    """Return the slot in which a subscription's snapshot is counted."""
    return f"snapshot:{sequence}"


def snapshot_is_due(layer: Layer) -> bool:
    """Whether snapshots of a layer's subscriptions may still have to be told.

    They come before all else: a layer that has other places and no snapshot's is past them.
    """
    return not layer.places or any(slot.startswith("snapshot:") for slot in layer.places)


def _is_over(one: channels.Subscription, told: Told, shard: str) -> bool:
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
