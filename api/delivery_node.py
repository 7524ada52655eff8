"""What all streams of a node share: how far it has come, and who watches what."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final

from api import access, channels, event_ids
from api.delivery_batch import Batch
from api.flusher import Flusher
from api.matcher import Matcher, split
from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from api.channel_store import ChannelStore
    from api.delivery_message import Member, Message
    from api.gatekeeper import Gatekeeper
    from pipeline.event_types.base import EventType
    from pipeline.replay.log import ReplayLog

READS_AT_ONCE: Final = 16

HELD_MESSAGES: Final = 5_000
"""How many live messages a stream that catches up keeps waiting; beyond, it reads them again."""


class Node:
    """The state that streams share; see `delivery.Hub` for the arguments.

    Attributes:
        marks: for each event type and shard, the number of the newest message seen.
        matchers: for each event type, who watches what.
        guards: for each inode, the members whose watched path has it.
        flusher: writes to streams.
        server_key: enciphers event ids.
        reading: so many streams read the past at once, the others wait their turn.
        learned: set when it is known how far the replay logs have come.
    """

    def __init__(
        self,
        *,
        store: ChannelStore,
        event_types: Mapping[str, EventType],
        logs: Mapping[str, ReplayLog],
        gatekeeper: Gatekeeper,
        clock: Callable[[], float],
        unsent_limit_bytes: int,
        slow_reader_grace_s: float,
    ) -> None:
        self.store = store
        self.event_types = event_types
        self.logs = logs
        self.gatekeeper = gatekeeper
        self.clock = clock
        self.unsent_limit_bytes = unsent_limit_bytes
        self.slow_reader_grace_s = slow_reader_grace_s
        self.server_key = b""
        self.flusher = Flusher()
        self.marks: dict[str, dict[str, int]] = {name: {} for name in event_types}
        self.matchers: dict[str, Matcher[Member]] = {name: Matcher() for name in event_types}
        self.guards: dict[bytes, dict[int, Member]] = {}
        self.keys = itertools.count(1)
        self.reading = asyncio.Semaphore(READS_AT_ONCE)
        self.learned = asyncio.Event()

    def learn(self, marks: Mapping[str, Mapping[str, int]]) -> None:
        """Take over how far the shards of each event type have come, before anything arrives."""
        for event_type, of_type in marks.items():
            self.marks[event_type].update(of_type)
        self.learned.set()

    def add(self, member: Member) -> None:
        """Let a member be told of what happens from now on."""
        subscription = member.subscription
        matcher = self.matchers.get(subscription.event_type)
        if matcher is None:
            return
        watched = subscription.inode, subscription.watch
        member.group = matcher.add(*watched, member.key, member)
        for inode in _line(subscription):
            self.guards.setdefault(inode, {})[member.key] = member

    def remove(self, member: Member) -> None:
        """Tell a member nothing more."""
        subscription = member.subscription
        matcher = self.matchers.get(subscription.event_type)
        if matcher is None:
            return
        self.tell_alone(member)
        member.group = None
        matcher.remove(subscription.inode, subscription.watch, member.key)
        for inode in _line(subscription):
            guarded = self.guards.get(inode)
            if guarded is not None:
                guarded.pop(member.key, None)
                if not guarded:
                    del self.guards[inode]

    def replace(self, member: Member, subscription: channels.Subscription) -> None:
        """Let a member's subscription be another version of itself."""
        is_told = member.group is not None
        if is_told:
            self.remove(member)
        member.subscription = subscription
        if is_told:
            self.add(member)
        member.stream.settle()

    def tell_together(self, member: Member) -> None:
        """Let a member be told what comes in one batch with others of its group, if that can be.

        Its stream is live, has no other members, makes short ids and carries no restrictions.
        """
        one, group = member.subscription, member.group
        seen = self.marks.get(one.event_type, {}).get(one.shard, 0)
        if group is None or member.batch is not None or not one.shard:
            return
        passed = member.stream.passed(member, one.slot, one.shard) if member.fresh else 0
        if event_ids.number_of(passed) > seen:
            return  # events that it needs no more may still come
        batch = group.batch
        if batch is None or not batch.members:
            batch = group.batch = Batch(self.flusher, one.shard, member.opening)
        if batch.shard == one.shard:
            member.low_half = member.stream.ids.low_half(one.sequence, member.stream.generation)
            member.batch = batch
            member.stream.batched = member
            batch.enter(member)

    def tell_alone(self, member: Member) -> None:
        """Write what waits for a member in a batch; what comes is looked at for it alone."""
        batch, member.batch = member.batch, None
        if batch is not None:
            member.stream.batched = None
            batch.leave(member)

    def guarded(self, message: Message) -> Iterable[Member]:
        """Return the members whose ground a message may change: a directory above was told."""
        head = message.head
        if not self.guards:
            return ()
        parents = {head["ancestors"][-FILE_ID_BYTES:], head["source_ancestors"][-FILE_ID_BYTES:]}
        for inode in split(head["watched"]):
            found = self.guards.get(inode)
            if found and inode not in parents:
                record = message.record
                if record.get("kind") in access.CHANGES and record["inode"] == inode:
                    return list(found.values())
        return ()

    def shards(self, subscription: channels.Subscription) -> Iterable[str]:
        """Return the shards that a subscription's events may be in."""
        if subscription.metronome is not None:
            return ()
        if subscription.shard:
            return (subscription.shard,)
        return {**self.marks.get(subscription.event_type, {}), **subscription.since}

    def is_ahead(self, subscription: channels.Subscription) -> bool:
        """Whether a subscription ended, on another node, at what this node has not seen yet."""
        if subscription.end is None:
            return False
        shard, number, _ = subscription.end
        return number > self.marks[subscription.event_type].get(shard, 0)

    def end_place(self, event_type: str, shard: str) -> int:
        """Return the place this node has come to in a shard."""
        return event_ids.end_of(self.marks.get(event_type, {}).get(shard, 0))


def _line(subscription: channels.Subscription) -> list[bytes]:
    return split(subscription.ancestors + subscription.inode)
