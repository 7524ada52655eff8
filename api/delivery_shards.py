"""How a subscription goes on in another shard: as one of its own, of which its session hears.

It ends silently where its object leaves the old shard, and begins where that arrives in the new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api import channels

if TYPE_CHECKING:
    from api.delivery_message import Member, Message
    from api.delivery_stream import Stream


def leaves(one: channels.Subscription, message: Message) -> bool:
    """Whether a rename takes the watched object out of the only shard its events were in."""
    twin = message.record.get("twin_shard")
    return bool(twin) and one.shard == message.shard


async def leave(stream: Stream, member: Member, message: Message) -> None:
    """Let a subscription go on in the shard that its object moved to, from the move on."""
    record = message.record
    await _carry_on(
        stream, member, record["twin_shard"], record["twin_number"], ended_at=message.number
    )


async def find_homes(stream: Stream) -> bool:
    """Let subscriptions go on where the storage says, when the move there was trimmed.

    Their readers have been told of a loss. Return whether there were any.
    """
    stray = [
        (member, home)
        for sequence, home in stream.homes.items()
        if _has_missed_its_move(stream, member := stream.members[sequence], home)
    ]
    for member, home in stray:
        await _carry_on(stream, member, home, 0, ended_at=_mark(stream, member))
    return bool(stray)


def _mark(stream: Stream, member: Member) -> int:
    one = member.subscription
    return stream.node.marks.get(one.event_type, {}).get(one.shard, 0)


def _has_missed_its_move(stream: Stream, member: Member, home: str) -> bool:
    shard = member.subscription.shard
    if home in {"", shard} or not member.is_active:
        return False
    return _mark(stream, member) >= member.admitted.get(shard, 0)


async def _carry_on(
    stream: Stream, member: Member, shard: str, number: int, *, ended_at: int
) -> None:
    one = member.subscription
    successor = channels.in_other_shard(one, shard, number)
    ended = one.replace(ended={one.shard: ended_at})
    await stream.node.store.carry_on(stream.channel.id, ended, successor)
    stream.drop(member)
