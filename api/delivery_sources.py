"""Where a stream's events come from, and from where on each of its members is still to be told.

Members come and go in channels of thousands. So nothing here is found by looking through them:
what one more member costs does not depend on how many there are.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from api import event_ids
from api.channels import slot_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.channels import Subscription
    from api.delivery_message import Member
    from api.delivery_node import Node
    from api.event_ids import Layer


class Sources:
    """The shards and metronomes that the members of one stream concern.

    Args:
        node: knows which shards there are.

    Attributes:
        metronomes: the members that are metronomes, by sequence.
    """

    __slots__ = ("_counts", "_known", "_node", "_slots", "metronomes")

    def __init__(self, node: Node) -> None:
        self.metronomes: dict[int, Member] = {}
        self._node = node
        self._counts: Counter[tuple[str, str]] = Counter()
        self._slots: dict[str, tuple[str, str | None]] | None = None
        self._known = 0

    def add(self, member: Member) -> None:
        """Count a member; neither its shard nor where it began changes as long as it lives."""
        for source in _sources(member.subscription):
            self._counts[source] += 1
            if self._counts[source] == 1:
                self._slots = None
        if member.subscription.metronome is not None:
            self.metronomes[member.sequence] = member
            self._slots = None

    def remove(self, member: Member) -> None:
        """Count a member no more that was added."""
        for source in _sources(member.subscription):
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]
                self._slots = None
        if self.metronomes.pop(member.sequence, None) is not None:
            self._slots = None

    def shards(self) -> list[tuple[str, str]]:
        """Return event type and shard of all that members may be told."""
        found = [source for source in self._counts if source[1]]
        for event_type in self._in_all_shards():
            found += [(event_type, shard) for shard in self._node.marks.get(event_type, ())]
        return list(dict.fromkeys(found))

    def slots(self) -> Mapping[str, tuple[str, str | None]]:
        """Return each slot that members concern, with event type and shard (metronomes: None)."""
        known = sum(len(self._node.marks.get(one, ())) for one in self._in_all_shards())
        if self._slots is None or known != self._known:
            self._known = known
            self._slots = {slot_name(*source): source for source in self.shards()}
            for member in self.metronomes.values():
                self._slots[member.subscription.slot] = member.subscription.event_type, None
        return self._slots

    def _in_all_shards(self) -> list[str]:
        """Return the event types of members whose events may be in any shard."""
        return [event_type for event_type, shard in self._counts if not shard]


def _sources(one: Subscription) -> list[tuple[str, str]]:
    """Return what a subscription counts for; "" stands for all the shards that there are."""
    if one.shard:
        return [(one.event_type, one.shard)]
    return [(one.event_type, shard) for shard in ("", *one.since)]


class Starts:
    """From which place in a shard on the members of a stream that is behind are still to be told.

    It says so as it was when this was made: what is told takes the stream's layers forward.

    Args:
        layers: the stream's.
        slot: the shard's.
        shard: the shard; "" for a metronome.
    """

    __slots__ = ("_reached", "_shard")

    def __init__(self, layers: Iterable[Layer], slot: str, shard: str) -> None:
        self._shard = shard
        self._reached = [(layer.generation, layer.places.get(slot, 0)) for layer in layers]

    def of(self, member: Member) -> int:
        """Return the place that a member has come to."""
        begun = member.subscription.since.get(self._shard)
        since = 0 if begun is None else event_ids.end_of(begun)
        for generation, at in self._reached:
            if member.sequence <= generation:
                return max(since, at)
        return since

    def is_before(self, member: Member, at: int) -> bool:
        """Whether a place is still ahead of a member that the shard concerns."""
        return member.subscription.shard in {"", self._shard} and self.of(member) < at

    def all_at(self, at: int) -> int:
        """Return the generation up to which all members have come to a place."""
        done = 0
        for generation, reached in self._reached:
            if reached < at:
                break
            done = generation
        return done
