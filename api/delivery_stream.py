"""One open stream: who reads, what it was told, and the bytes that are on their way.

A stream is *live* when it has been told all that its node has seen: then `held` is None and its
cursor is the node's marks. Otherwise it is *behind*: `layers` says what it has been told, and the
messages that arrive meanwhile wait in `held`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from api import event_ids, sse
from api.delivery_message import Member
from api.delivery_node import HELD_MESSAGES
from api.delivery_sink import Nowhere, frames
from api.delivery_sources import Sources, Starts
from api.event_ids import Ids, Layer
from api.signal import Signal
from pipeline.authz import caveats, scope

if TYPE_CHECKING:
    from api.channels import Channel, Subscription
    from api.delivery_message import Message
    from api.delivery_node import Node
    from api.delivery_sink import Sink
    from pipeline.authz.principal import Principal
    from pipeline.event_types.base import Telling


class Stream:
    """The state of an open stream.

    Attributes:
        node: what it shares with others.
        channel: its channel as it was when the stream was opened.
        connection: this connection's name.
        principal: who reads.
        members: its subscriptions by sequence, in that order.
        sources: where their events come from.
        homes: of those whose object is in another shard by now, when the way there is still to be
            told, that shard, by sequence.
        held: None when live; else live messages that wait.
        overflowed: more came than are kept waiting.
        layers: what it was told, while it is behind.
        generation: the newest subscription sequence it knows of.
        batched: its only member, if that is told together with others.
        seen: its channel's `generation` when its reader was last told an event; 0: never.
        unheard: whether events were written when the reader was gone.
        wake: set when its own task has something to do.
        finished: whether it is to end.
    """

    __slots__ = (
        "_beyond", "batched", "channel", "compact", "connection", "credentials", "decisions",
        "finished", "generation", "held", "homes", "ids", "layers", "members", "node",
        "overflowed", "pending", "principal", "quiet", "restricted", "seen", "sink", "sources",
        "ticks", "told_since_saved", "unheard", "wake",
    )  # fmt: skip

    def __init__(
        self, node: Node, channel: Channel, connection: str, principal: Principal, credentials: Any
    ) -> None:
        self.node = node
        self.channel = channel
        self.connection = connection
        self.credentials = credentials
        self.members: dict[int, Member] = {}
        self.sources = Sources(node)
        self.homes: dict[int, str] = {}
        self.held: list[Message] | None = []
        self.overflowed = False
        self.layers: list[Layer] = []
        self.generation = channel.generation
        self.seen = channel.seen_generation
        self.unheard = False
        self.wake = Signal()
        self.ids = Ids(node.server_key, channel.id, channel.slots[0] if channel.slots else "")
        self.sink: Sink | None = None
        self.pending: list[tuple[Any, Member | None, bytes]] = []
        self.ticks: dict[str, int] = {}
        self.compact = False
        self.batched: Member | None = None
        self.told_since_saved = False
        self.finished = False
        self.quiet = True
        self._beyond: dict[str, int] = {}
        self.become(principal)

    def become(self, principal: Principal) -> None:
        """Let the stream be read by this principal from now on."""
        self._tell_alone()
        self.principal = principal
        self.decisions = principal.decisions
        self.restricted = principal.restrictions.confines
        self.settle()

    # --- who is told

    def add(self, subscription: Subscription) -> Member:
        """Make a subscription a member of this stream."""
        self._tell_alone()
        member = Member(self, subscription, next(self.node.keys))
        self.members[member.sequence] = member
        self.sources.add(member)
        if subscription.ended is None or self.node.is_ahead(subscription):
            self.node.add(member)
        return member

    def drop(self, member: Member) -> None:
        """Take a member out."""
        self.node.remove(member)
        if self.members.pop(member.sequence, None) is not None:
            self.sources.remove(member)
            self.homes.pop(member.sequence, None)
        if not self.finished:
            self.settle()

    def newer(self, generation: int) -> list[Member]:
        """Return the members above a generation, by sequence; the others are not looked at."""
        found = itertools.takewhile(
            lambda member: member.sequence > generation, reversed(self.members.values())
        )
        return list(found)[::-1]

    def may_see(self, telling: Telling) -> bool:
        """Whether the reader may see an event, by its own scope and the token's restrictions."""
        if telling.scope and not scope.may_see(self.principal, telling.scope):
            return False
        return not self.restricted or caveats.may_act(
            self.principal.restrictions, caveats.READ_METADATA, telling.path
        )

    # --- where it is

    def slots(self) -> dict[str, int]:
        """Return the place of a stream that is live, in each slot it concerns."""
        places: dict[str, int] = {}
        for slot, (event_type, of_shard) in self.sources.slots().items():
            if of_shard is None:
                places[slot] = event_ids.place(self.ticks.get(slot, 0))
            else:
                at = self.node.end_place(event_type, of_shard)
                places[slot] = max(at, self._beyond.get(slot, 0)) if self._beyond else at
        return places

    def cursor(self) -> event_ids.Cursor:
        """Return what the stream was told, everything pending included."""
        if self.held is None:
            return (Layer(self.generation, self.slots()),)
        return event_ids.normal(self.layers)

    def start(self, member: Member, slot: str, shard: str) -> int:
        """Return the place from which a member of a stream that is behind is still to be told."""
        return Starts(self.layers, slot, shard).of(member)

    def advance(self, slot: str, at: int) -> None:
        """Say that everybody has been told all up to a place."""
        for layer in self.layers:
            places = layer.places
            if places.get(slot, -1) < at:
                places[slot] = at

    # --- live and behind

    def hold(self, message: Message) -> None:
        """Keep a live message for later."""
        held = self.held
        assert held is not None
        if self.overflowed or (held and held[-1] is message):
            return
        if len(held) >= HELD_MESSAGES:
            self.overflowed = True
            held.clear()
        else:
            held.append(message)

    def fall_behind(self, message: Message | None = None) -> None:
        """Leave the live state; with a message that only the stream's own task can deliver."""
        if self.held is None:
            self._tell_alone()
            self.layers = [Layer(self.generation, self.slots())]
            self.held = []
            if message is not None:
                places, at = self.layers[0].places, event_ids.end_of(message.number - 1)
                places[message.slot] = max(at, places.get(message.slot, 0))
        if message is not None:
            self.hold(message)
        self.wake.set()

    def go_live(self) -> None:
        """Enter the live state; nothing may have been awaited since the last look at `held`."""
        assert not self.held
        self.flush()
        self.held = None
        self._beyond.clear()
        for member in self.sources.metronomes.values():
            slot = member.subscription.slot
            self.ticks[slot] = event_ids.number_of(self.start(member, slot, ""))
        for slot, at in self.slots().items():
            reached = max(layer.places.get(slot, 0) for layer in self.layers)
            if reached > at:
                self._beyond[slot] = reached
            if event_ids.number_of(reached) > event_ids.number_of(at):
                for member in self.members.values():
                    member.fresh = True
        self.layers = []
        self.settle()

    def passed(self, member: Member, slot: str, shard: str) -> int:
        """Return the place up to which a live member needs nothing: too old, or told elsewhere."""
        since = member.subscription.since.get(shard, 0)
        return max(event_ids.end_of(since) if since else 0, self._beyond.get(slot, 0))

    def settle(self) -> None:
        """Find out how ids are made, and who is told how, now that something is different."""
        if self.held is None:
            self.compact = self._is_short(Layer(self.generation, self.slots()))
            if self.compact and not self.restricted and len(self.members) == 1:
                for member in self.members.values():
                    self.node.tell_together(member)
            else:
                self._tell_alone()

    def _tell_alone(self) -> None:
        """Have each event looked at for this stream alone."""
        if self.batched is not None:
            self.node.tell_alone(self.batched)

    # --- bytes

    def tell(self, member: Member, slot: str, at: int, middle: bytes) -> None:
        """Have an event sent."""
        if self.held is None:
            cursor: event_ids.Cursor = (Layer(self.generation, {**self.slots(), slot: at}),)
            is_short = self.compact
        else:
            self.advance(slot, at)
            if len(self.layers) > 1:
                self.layers = list(event_ids.normal(self.layers))
            cursor = tuple(self.layers)
            is_short = len(cursor) == 1 and self._is_short(cursor[0])
        high = event_ids.high_half(at) if is_short else None
        self.send(self.ids.encode(cursor) if high is None else high, member, middle)

    def _is_short(self, layer: Layer) -> bool:
        """Whether ids of this layer's places, with the newest generation, are one block."""
        return (
            layer.generation == self.generation
            and self.generation < event_ids.MOST_SHORT
            and list(layer.places) == [self.ids.first_slot]
        )

    def send(self, event_id: Any, member: Member | None, data: bytes) -> None:
        """Queue the parts of an event for the next flush."""
        self._flush_batch()
        if not self.pending:
            self.node.flusher.mark(self)
        self.pending.append((event_id, member, data))

    def system(self, kind: str, **members: str) -> None:
        """Have a SYSTEM event sent."""
        self.send(b"", None, sse.system(kind, **members))

    def flush(self) -> None:
        """Write what is pending; a reader that does not keep up falls behind."""
        if self.pending and self.sink is not None:
            self.write(b"")
        self._flush_batch()

    def _flush_batch(self) -> None:
        """Write what waits in a batch: it came before what is sent now."""
        if self.batched is not None and self.batched.batch is not None:
            self.batched.batch.flush_to(self.batched)

    def write(self, data: bytes) -> None:
        """Write what is pending, and this after it."""
        sink = self.sink
        assert sink is not None
        pending = self.pending
        if self.seen < self.generation and (data or any(member for _, member, _ in pending)):
            if isinstance(sink, Nowhere):
                self.unheard = True
            else:
                self.seen = self.generation
        if pending:
            self.pending = []
            data = frames(pending, self.ids, self.generation) + data
        sink.write(data)
        self.quiet = False
        self.told_since_saved = True
        if self.held is None and sink.unsent_bytes() > self.node.unsent_limit_bytes:
            self.fall_behind()

    def cut_off(self) -> None:
        """End at once; the reader comes back and gets what it has missed."""
        self.pending = []
        if self.sink is not None:
            self.sink.abort()
