"""The hot path: a message from Kafka to the readers that are up to date; no task, no await."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import access, event_ids, sse
from pipeline.authz import scope
from schemas.vocabulary import IN_ONESHOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.delivery_message import Member, Message
    from api.delivery_node import Node
    from api.matcher import Group
    from pipeline.event_types.base import Telling


def deliver(node: Node, message: Message) -> None:
    """Tell a new message to whoever it concerns, and take its shard's mark forward.

    Raises:
        BadRecord: somebody watches it and it cannot be decoded; it is as if it had not come.
    """
    marks = node.marks[message.event_type.name]
    if message.shard not in marks:
        marks[message.shard] = 0
        _new_shard(node, message)
    if message.number <= marks[message.shard]:
        return
    try:
        for member in node.guarded(message):
            change(node, message, member)
        groups = node.matchers[message.event_type.name].find(message.head)
        if groups:
            _tell_groups(message, groups)
    finally:
        marks[message.shard] = message.number


def change(node: Node, message: Message, member: Member) -> None:
    """Look again at a subscription whose ground a message changed."""
    if message.number <= member.checked.get(message.shard, 0):
        return
    stream = member.stream
    after = access.after_change(member.subscription, message.record)
    moved = after.path != member.subscription.path
    if stream.held is None and access.is_allowed(stream.principal, after) and not moved:
        node.replace(member, after)
    else:
        stream.fall_behind(message)


def _tell_groups(message: Message, groups: Sequence[Group[Member]]) -> None:
    told: list[tuple[Telling, Group[Member]]] = []
    tell, record = message.event_type.tell, message.record
    for group in groups:
        tellings = tell(record, group.watch, group.inode)
        if not tellings:
            continue
        ends = group.watch.modifiers & IN_ONESHOT or any(one.ends_watch for one in tellings)
        for member in group.members.values():
            if ends or member.stream.held is not None:
                member.stream.fall_behind(message)
        told += [(telling, group) for telling in tellings]
    if len(groups) == 1:
        for telling, group in told:
            _tell_group(message, telling, group)
    elif told:
        _tell_in_order(message, told)


def _tell_group(  # noqa: C901 - the hot loop: a call for each reader would cost more
    message: Message, telling: Telling, group: Group[Member]
) -> None:
    """Tell one event to all who asked for the same; what is called here is called for each."""
    middle = sse.middle(telling.payload)
    shard, slot, number, needed = message.shard, message.slot, message.number, telling.scope
    at = event_ids.place(number, 2 * telling.index)
    high = event_ids.high_half(at)
    for member in group.members.values():
        stream = member.stream
        if stream.held is not None:
            continue
        if (home := member.subscription.shard) and home != shard:
            continue  # its object moved: the old shard says so first
        if member.fresh:
            if number <= member.subscription.since.get(shard, 0):
                continue
            member.fresh = not member.subscription.shard
        if stream.restricted:
            if not stream.may_see(telling):
                continue
        elif needed:
            allowed = stream.decisions.get(needed)
            if not (scope.may_see(stream.principal, needed) if allowed is None else allowed):
                continue
        if stream.compact and high is not None:
            stream.send(high | member.sequence_high, member, middle)
        else:
            stream.tell(member, slot, at | member.sequence, middle)


def _tell_in_order(message: Message, told: Sequence[tuple[Telling, Group[Member]]]) -> None:
    """Tell several groups: a stream that is in more than one gets its events in order."""
    events = [
        (event_ids.place(message.number, 2 * telling.index, member.sequence), member, telling)
        for telling, group in told
        for member in group.members.values()
        if member.stream.held is None
    ]
    events.sort(key=lambda event: event[0])
    middles: dict[str, bytes] = {}
    shard, slot, number = message.shard, message.slot, message.number
    for at, member, telling in events:
        home = member.subscription.shard
        if (home and home != shard) or number <= member.subscription.since.get(shard, 0):
            continue
        if not member.stream.may_see(telling):
            continue
        middle = middles.get(telling.payload)
        if middle is None:
            middle = middles[telling.payload] = sse.middle(telling.payload)
        member.stream.tell(member, slot, at, middle)


def _new_shard(node: Node, message: Message) -> None:
    """Have streams that read all shards make their ids for one more."""
    for group in node.matchers[message.event_type.name].groups():
        for member in group.members.values():
            if not member.subscription.shard:
                member.stream.settle()
