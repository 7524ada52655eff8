"""A derived message on its way to readers, and what of it each of them is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from api import event_ids, sse
from api.channels import slot_name
from schemas import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.channels import Subscription
    from api.delivery_batch import Batch
    from api.delivery_stream import Stream
    from api.matcher import Group
    from pipeline.event_types.base import EventType, Telling
    from schemas.records import Head


class Message:
    """A derived message: its head is read, the rest when somebody watches it, once.

    Attributes:
        event_type: its kind.
        shard: its shard.
        number: its number there.
        head: what matching needs.
    """

    __slots__ = ("_record", "_value", "event_type", "head", "number", "shard")

    def __init__(self, event_type: EventType, head: Head, value: bytes) -> None:
        self.event_type = event_type
        self.head = head
        self.shard = head["shard"]
        self.number = head["number"]
        self._value = value
        self._record: dict[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The whole message.

        Raises:
            BadRecord: it cannot be decoded.
        """
        if self._record is None:
            self._record = codec.decode(self.event_type.topic.schema, self._value)
        return self._record

    @property
    def slot(self) -> str:
        """The slot that its position is counted in."""
        return slot_name(self.event_type.name, self.shard)


class Member:
    """A subscription of an open stream.

    Attributes:
        stream: whose it is.
        subscription: as it is now.
        key: a number of its own on this node.
        sequence: of the subscription.
        sequence_high: its part in the first half of an id's block.
        opening: the first bytes of its events.
        closing: the last bytes of its events.
        low_half: the second half of an id's block, while it is in a batch.
        group: those that ask for the same; None: it is told nothing live.
        batch: those it is told together with; None: it is told alone.
        told: how many of the batch's waiting events it has had already.
        checked: for each shard, the number up to which changes are known to have been looked at.
        admitted: for each shard, the number up to which access need not be looked at: the storage
            was asked afterwards.
        fresh: whether its `since`, or what its reader was told by another node, may still be ahead
            of what this node has seen.
    """

    __slots__ = (
        "admitted",
        "batch",
        "checked",
        "closing",
        "fresh",
        "group",
        "key",
        "low_half",
        "opening",
        "sequence",
        "sequence_high",
        "stream",
        "subscription",
        "told",
    )

    def __init__(self, stream: Stream, subscription: Subscription, key: int) -> None:
        self.stream = stream
        self.subscription = subscription
        self.key = key
        self.sequence = subscription.sequence
        self.sequence_high = subscription.sequence >> 8
        self.opening = sse.opening(subscription.event_type)
        self.closing = sse.closing(subscription.url)
        self.checked: dict[str, int] = dict(subscription.since)
        self.admitted: Mapping[str, int] = {}
        self.fresh = True
        self.low_half = 0
        self.group: Group[Member] | None = None
        self.batch: Batch | None = None
        self.told = 0

    @property
    def is_active(self) -> bool:
        """Whether the subscription has not ended."""
        return self.subscription.ended is None


class Told(NamedTuple):
    """One event for one member; a message's sort into the order in which a reader gets them.

    Attributes:
        at: its place in the message's slot.
        member: who is told.
        telling: what.
    """

    at: int
    member: Member
    telling: Telling


def plan(message: Message, groups: Iterable[Group[Member]]) -> list[Told]:
    """Return what a message tells the members of groups, in order; permission is not looked at."""
    tell, record, number = message.event_type.tell, message.record, message.number
    told = [
        Told(event_ids.place(number, 2 * telling.index, member.sequence), member, telling)
        for group in groups
        for telling in tell(record, group.watch, group.inode)
        for member in group.members.values()
    ]
    told.sort(key=_place)
    return told


def _place(told: Told) -> int:
    return told.at
