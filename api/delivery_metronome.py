"""Metronomes of an open stream: tick `k` is due at `start + k * period`, whichever node serves it.

Ticks are counted, not remembered: a reader's place says which tick was the last, so any node goes
on where another stopped, and what was missed is told afterwards, up to a limit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from api import event_ids, sse
from api.channels import slot_name
from pipeline.event_types.metronome import Beat

if TYPE_CHECKING:
    from api.channels import Metronome
    from api.delivery_endings import Endings
    from api.delivery_message import Member
    from api.delivery_stream import Stream

TICKS: Final = "ticks"
"""Under this name an ended metronome keeps its last tick."""

MOST_MISSED: Final = 1_000
"""How many missed ticks are told afterwards; older ones are left out."""

SHORTEST_WAIT_S: Final = 0.005
"""Faster metronomes tell several ticks at once."""

MOST_AT_ONCE: Final = 100
"""How many ticks are told at once to a stream that is live, of all its metronomes; of those that
come faster (more than 20,000 a second) the older ones are left out."""

_REST: Final = 19
"""A stream's ticks take at most so much less of the node's time than they leave to others."""


def due(metronome: Metronome, now_s: float) -> int:
    """Return the number of the newest tick that is due; 0: none yet."""
    ticks = max(0, int((now_s - metronome.start_s) / metronome.period_s))
    return min(ticks, metronome.count) if metronome.count else ticks


class Ticker:
    """Tells a live stream's ticks when they are due; one timer per stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self.finished: list[Member] = []

    def start(self, most: int = MOST_MISSED) -> None:
        """Tell what is due and wait for the next tick, if there are metronomes.

        Args:
            most: how many ticks are told, of all metronomes.
        """
        self.stop()
        members = list(self._stream.sources.metronomes.values())
        if not members or self._stream.held is not None:
            return
        now_s = self._stream.node.clock()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        of_each = max(1, most // len(members))
        wait_s = min(self._tell_due(member, now_s, of_each) for member in members)
        rest_s = _REST * (loop.time() - began_s)
        wait_s = max(wait_s, rest_s, SHORTEST_WAIT_S)
        self._timer = loop.call_later(wait_s, self.start, MOST_AT_ONCE)

    def stop(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_due(self, member: Member, now_s: float, most: int) -> float:
        """Tell what is due of one metronome; return the seconds to the next tick."""
        stream, metronome = self._stream, member.subscription.metronome
        assert metronome is not None
        slot = slot_name(member.subscription.event_type, member.subscription.id)
        told, newest = stream.ticks.get(slot, 0), due(metronome, now_s)
        last = tell_ticks(stream, member, max(told, newest - most), newest)
        if metronome.count and last >= metronome.count:
            stream.system(sse.SUBSCRIPTION_CLOSED, subscription=member.subscription.url)
            stream.drop(member)
            self.finished.append(member)
            stream.wake.set()
        return metronome.start_s + (last + 1) * metronome.period_s - now_s


def tell_ended(stream: Stream, endings: Endings) -> None:
    """Tell the last ticks of metronomes that ended while the reader was away."""
    for member in list(stream.sources.metronomes.values()):
        one = member.subscription
        if one.ended is None:
            continue
        slot = slot_name(one.event_type, one.id)
        told, last = event_ids.number_of(stream.start(member, slot, "")), one.ended.get(TICKS, 0)
        stream.drop(member)
        if told < last:
            tell_ticks(stream, member, told, last)
            endings.close(member, slot, 0)


def tell_ticks(stream: Stream, member: Member, told: int, up_to: int) -> int:
    """Tell the ticks after `told` up to `up_to`, the newest `MOST_MISSED` of them.

    Returns:
        The last tick that the reader has been told, or that was left out.
    """
    metronome = member.subscription.metronome
    assert metronome is not None
    slot = slot_name(member.subscription.event_type, member.subscription.id)
    beat = Beat(metronome.period_s, metronome.message, metronome.count)
    for tick in range(max(told, up_to - MOST_MISSED) + 1, up_to + 1):
        stream.ticks[slot] = tick
        middle = sse.middle(beat.payload(tick, metronome.username))
        stream.tell(member, slot, event_ids.place(tick, 0, member.sequence), middle)
    return max(told, up_to)
