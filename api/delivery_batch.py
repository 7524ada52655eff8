"""The hot path's second half: what many readers are told alike waits once, for all of them.

Most streams have one subscription, read one shard and carry no restrictions. Of those only the
permission differs from reader to reader, so an event costs their group one entry when it comes,
and each reader its id and a share of one write at the next flush.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from pipeline.authz import scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.delivery_message import Member
    from api.delivery_stream import Stream
    from api.flusher import Flusher

logger = logging.getLogger(__name__)


class Events(NamedTuple):
    """Events that wait, as columns.

    Attributes:
        highs: the first halves of their ids' blocks, without the subscription's part.
        middles: their bytes between the id and the subscription's URL.
        scopes: who may see each of them.
    """

    highs: list[int]
    middles: list[bytes]
    scopes: list[str]

    def seen_by(self, member: Member) -> Events:
        """Return those that are new to a member and that its reader may see."""
        rows = zip(*(column[member.told :] for column in self), strict=True)
        seen = [row for row in rows if _sees(member.stream, row[2:])]
        return Events(*(list(column) for column in zip(*seen, strict=True))) if seen else _none()


def _none() -> Events:
    return Events([], [], [])


class Batch:
    """The members of one group that are told together.

    Args:
        flusher: calls `flush`.
        shard: theirs.
        opening: the first bytes of their events.

    Attributes:
        members: by key.
    """

    __slots__ = ("_flusher", "_opening", "_waiting", "members", "shard")

    def __init__(self, flusher: Flusher, shard: str, opening: bytes) -> None:
        self.members: dict[int, Member] = {}
        self.shard = shard
        self._flusher = flusher
        self._opening = opening
        self._waiting = _none()

    def add(self, high: int, middle: bytes, needed: str) -> None:
        """Let an event wait for the next flush."""
        highs, middles, scopes = self._waiting
        if not highs:
            self._flusher.mark(self)
        highs.append(high)
        middles.append(middle)
        scopes.append(needed)

    def enter(self, member: Member) -> None:
        """Let a member be told what comes from now on."""
        member.told = len(self._waiting.highs)
        self.members[member.key] = member

    def leave(self, member: Member) -> None:
        """Write what waits for a member; it is told nothing more."""
        del self.members[member.key]
        self.flush_to(member)

    def flush_to(self, member: Member) -> None:
        """Write what waits for one member."""
        waiting = self._waiting
        if member.told < len(waiting.highs):
            own = waiting.seen_by(member)
            member.told = len(waiting.highs)
            _write([(member, own)], self._opening)

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, _none()
        needed = {*waiting.scopes} - {""}
        told: list[tuple[Member, Events]] = []
        for member in self.members.values():
            if member.told or (needed and not _sees(member.stream, needed)):
                told.append((member, waiting.seen_by(member)))
                member.told = 0
            else:
                told.append((member, waiting))
        _write(told, self._opening)

    def cut_off(self) -> None:
        """End the streams; a flusher that could not write to them asks for it."""
        for member in list(self.members.values()):
            member.stream.cut_off()


def _sees(stream: Stream, needed: Iterable[str]) -> bool:
    """Whether a reader may see all of these scopes."""
    decisions = stream.decisions
    for one in needed:
        allowed = decisions.get(one)
        if not (scope.may_see(stream.principal, one) if allowed is None else allowed):
            return False
    return True


def _write(told: Sequence[tuple[Member, Events]], opening: bytes) -> None:
    """Encipher all ids in one call and write to each stream once."""
    halves: list[int] = []
    for member, (highs, _, _) in told:
        sequence_high, low_half = member.sequence_high, member.low_half
        for high in highs:
            halves += (high | sequence_high, low_half)
    if not halves:
        return
    ids = iter(told[0][0].stream.ids.cipher.ids(halves))
    for member, (_, middles, _) in told:
        closing = member.closing
        parts: list[bytes] = []
        for middle, event_id in zip(middles, ids, strict=False):  # takes no id too many
            parts += (opening, event_id, middle, closing)
        if parts:
            try:
                member.stream.write(b"".join(parts))
            except Exception:
                logger.exception("a stream that cannot be written to is cut off")
                member.stream.cut_off()
