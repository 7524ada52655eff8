"""Channels in memory: the half of the twin that knows nothing of subscriptions."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api import channels
from api.channel_store import (
    Attachment,
    NoSuchChannel,
    Notice,
    TooManyChannels,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Sequence

    from api.channels import Channel, Subscription

_CHUNK = 500


@dataclass(slots=True)
class Kept:
    """A channel with all that hangs on it."""

    channel: Channel
    expires_s: float
    connection: str = ""
    draining: str = ""
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    active: dict[tuple[str, str], int] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=dict)

    def attachment(self, taken_from: str = "") -> Attachment:
        """Return the channel as a connection finds it."""
        ordered = [self.subscriptions[sequence] for sequence in sorted(self.subscriptions)]
        return Attachment(self.channel, ordered, taken_from)


class MemoryChannels:
    """Keeps channels in this process; `MemoryChannelStore` adds what hangs on them.

    Args:
        clock: seconds; channels time out by it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._order = 0
        self._key = secrets.token_bytes(32)
        self._listeners: set[asyncio.Queue[Notice]] = set()

    def _find(self, channel_id: str) -> Kept | None:
        kept = self._kept.get(channel_id)
        if kept is not None and self._clock() >= kept.expires_s:
            del self._kept[channel_id]
            return None
        return kept

    def _need(self, channel_id: str) -> Kept:
        kept = self._find(channel_id)
        if kept is None:
            raise NoSuchChannel("No such channel")
        return kept

    def _touch(self, kept: Kept) -> None:
        kept.expires_s = self._clock() + kept.channel.timeout_s

    def _tell(self, notice: Notice) -> None:
        for listener in self._listeners:
            listener.put_nowait(notice)

    def _changed(self, kept: Kept, sequence: int) -> None:
        kept.channel = dataclasses.replace(kept.channel, version=kept.channel.version + 1)
        self._tell(Notice(kept.channel.id, "changed", sequence=sequence))

    async def create(
        self,
        *,
        owner_key: str,
        uid: int,
        client_id: str = "",
        timeout_s: int,
        maximum: int,
        maximum_timeout_s: int = channels.MAXIMUM_TIMEOUT_S,  # noqa: ARG002 - of the port
    ) -> Channel:
        """Make a channel."""
        mine = [key for key in list(self._kept) if (k := self._find(key)) and k.channel.uid == uid]
        if len(mine) >= maximum:
            raise TooManyChannels(f"at most {maximum} channels")
        self._order += 1
        channel = channels.Channel(
            id=channels.new_channel_id(),
            owner_key=owner_key,
            uid=uid,
            client_id=client_id,
            timeout_s=timeout_s,
            order=self._order,
        )
        self._kept[channel.id] = Kept(channel, self._clock() + timeout_s)
        return channel

    async def get(self, channel_id: str) -> Channel | None:
        """Return a channel, or None."""
        kept = self._find(channel_id)
        return None if kept is None else kept.channel

    async def list_ids(self, owner_key: str, client_id: str | None = None) -> list[str]:
        """Return the owner's channels in the order they were made."""
        return [
            key
            for key in list(self._kept)
            if (kept := self._find(key))
            and kept.channel.owner_key == owner_key
            and client_id in (None, kept.channel.client_id)
        ]

    async def set_timeout(self, channel_id: str, timeout_s: int) -> bool:
        """Change the timeout, which starts anew."""
        kept = self._find(channel_id)
        if kept is None:
            return False
        kept.channel = dataclasses.replace(kept.channel, timeout_s=timeout_s)
        self._touch(kept)
        self._changed(kept, 0)
        return True

    async def delete(self, channel_id: str) -> bool:
        """End a channel."""
        if self._find(channel_id) is None:
            return False
        del self._kept[channel_id]
        self._tell(Notice(channel_id, "closed"))
        return True

    async def put_snapshot(self, channel_id: str, payloads: Sequence[str]) -> str:
        """Keep a subscription's snapshot and return where."""
        kept = self._need(channel_id)
        name = secrets.token_urlsafe(8)
        kept.snapshots[name] = list(payloads)
        return name

    async def read_snapshot(
        self, channel_id: str, snapshot: str, after: int
    ) -> AsyncIterator[Sequence[str]]:
        """Return an iterator over chunks of a snapshot's payloads."""
        kept = self._find(channel_id)
        payloads = [] if kept is None else kept.snapshots.get(snapshot, [])

        async def chunks() -> AsyncIterator[Sequence[str]]:
            for start in range(after, len(payloads), _CHUNK):
                yield payloads[start : start + _CHUNK]

        return chunks()

    async def drop_snapshot(self, channel_id: str, snapshot: str) -> None:
        """Forget a snapshot."""
        kept = self._find(channel_id)
        if kept is not None:
            kept.snapshots.pop(snapshot, None)
