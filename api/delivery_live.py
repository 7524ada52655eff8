"""The hot path: a message from Kafka to the readers that are up to date; no task, no await."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
            _tell_groups(node, message, groups)
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


def _tell_groups(node: Node, message: Message, groups: Sequence[Group[Member]]) -> None:
    """Tell the members of groups: those of its batch together, the others one by one."""
    tell, record = message.event_type.tell, message.record
    alone: list[_Alone] = []
    middles: dict[str, bytes] = {}
    for group in groups:
        tellings = tell(record, group.watch, group.inode)
        if not tellings:
            continue
        if group.watch.modifiers & IN_ONESHOT or any(one.ends_watch for one in tellings):
            for member in group.members.values():
                member.stream.fall_behind(message)
            continue
        ats = [event_ids.place(message.number, 2 * telling.index) for telling in tellings]
        highs = [event_ids.high_half(at) for at in ats]
        members = _not_batched(node, message, group, are_short=None not in highs)
        for telling, at, high in zip(tellings, ats, highs, strict=True):
            payload = telling.payload
            middle = middles.get(payload)
            if middle is None:
                middle = middles[payload] = sse.middle(payload)
            batch = group.batch
            if batch is not None and high is not None and batch.shard == message.shard:
                batch.add(high, middle, telling.scope)
            alone += [_Alone(at | one.sequence, high, one, telling, middle) for one in members]
    if len(groups) > 1:
        alone.sort(key=_place)  # a stream that is in several groups gets its events in order
    for one in alone:
        _tell_alone(message, one)


def _not_batched(
    node: Node, message: Message, group: Group[Member], *, are_short: bool
) -> list[Member]:
    """Return the live members that are told one by one; the message waits for those behind."""
    batch = group.batch
    if batch is not None and not are_short:
        for member in list(batch.members.values()):
            node.tell_alone(member)
    if batch is not None and len(batch.members) == len(group.members):
        return []
    live = []
    for member in group.members.values():
        if member.stream.held is not None:
            member.stream.fall_behind(message)
        elif member.batch is None:
            live.append(member)
    return live


def _tell_alone(message: Message, told: _Alone) -> None:
    """Tell one event to one member, after all that can differ from reader to reader."""
    at, high, member, telling, middle = told
    stream, shard, needed = member.stream, message.shard, telling.scope
    if stream.held is not None:
        return
    if (home := member.subscription.shard) and home != shard:
        return  # its object moved: the old shard says so first
    if member.fresh:
        if at <= stream.passed(member, message.slot, shard):
            return
        member.fresh = not home
        stream.settle()
    if stream.restricted:
        if not stream.may_see(telling):
            return
    elif needed:
        allowed = stream.decisions.get(needed)
        if not (scope.may_see(stream.principal, needed) if allowed is None else allowed):
            return
    if stream.compact and high is not None:
        stream.send(high | member.sequence_high, member, middle)
    else:
        stream.tell(member, message.slot, at, middle)


class _Alone(NamedTuple):
    """An event for one member, as it is told outside of a batch."""

    at: int
    high: int | None
    member: Member
    telling: Telling
    middle: bytes


def _place(told: _Alone) -> int:
    return told.at


def _new_shard(node: Node, message: Message) -> None:
    """Have streams that read all shards make their ids for one more."""
    for group in node.matchers[message.event_type.name].groups():
        for member in group.members.values():
            if not member.subscription.shard:
                member.stream.settle()
