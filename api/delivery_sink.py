"""A stream's bytes: how events that wait are joined, and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.delivery_message import Member
    from api.event_ids import Ids


class Sink(Protocol):
    """Where a stream's bytes go: a socket's transport, or a list in a test."""

    def write(self, data: bytes, /) -> None:
        """Hand over bytes; never blocks."""

    def unsent_bytes(self) -> int:
        """Return how many bytes wait to be sent."""

    async def drain(self) -> None:
        """Wait until the reader has taken most of it."""

    def close(self) -> None:
        """End the stream after what is unsent."""

    def abort(self) -> None:
        """End the stream at once."""


class Nowhere:
    """The sink of a stream whose reader is gone."""

    __slots__ = ()

    def write(self, data: bytes, /) -> None:
        """Drop it."""

    def unsent_bytes(self) -> int:
        """Return 0."""
        return 0

    async def drain(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


def frames(
    pending: Sequence[tuple[Any, Member | None, bytes]], ids: Ids, generation: int
) -> bytes:
    """Join events; ids that are one block are made here, all in one call.

    Args:
        pending: of each event: its id, or the first half of its id's block; whose it is (None: of
            the whole stream, with no id); its bytes (of a member's: between id and URL).
        ids: the channel's.
        generation: the newest subscription that the stream knows of.
    """
    halves: list[int] = []
    for event_id, member, _ in pending:
        if member is not None and event_id.__class__ is int:
            halves += (event_id, ids.low_half(member.sequence, generation))
    made = iter(ids.cipher.ids(halves))
    parts: list[bytes] = []
    for event_id, member, data in pending:
        if member is None:
            parts.append(data)
        else:
            name = next(made) if event_id.__class__ is int else event_id
            parts += (member.opening, name, data, member.closing)
    return b"".join(parts)
