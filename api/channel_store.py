"""The port to the channel store: channels, their subscriptions, and news between nodes.

A channel lives for its timeout after its last sign of life. The node that serves it gives one by
`refresh`; so a killed node's channels end by themselves. Every method raises `Unavailable` when
the store is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from schemas.errors import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from api.channels import Channel, Place, Subscription

MAXIMUM_ENDED: Final = 256
"""How many ended subscriptions a channel remembers for readers that are behind."""


class TooManyChannels(Refused):
    """The user has as many channels as are allowed (429)."""


class NoSuchChannel(Refused):
    """The channel does not exist (any more) (404)."""


class TooManySubscriptions(Refused):
    """The channel has as many subscriptions as are allowed (429)."""


class Notice(NamedTuple):
    """What one node tells the others.

    Attributes:
        channel_id: the channel it is about.
        kind: `changed` (its subscriptions), `closed` (it is gone) or `attached` (a stream of it
            was opened).
        connection: for `attached`: the connection that has it now.
        sequence: for `changed`: of the subscription that changed; 0: the channel itself.
    """

    channel_id: str
    kind: str
    connection: str = ""
    sequence: int = 0


class Served(NamedTuple):
    """How far a connection was served.

    Attributes:
        channel_id: its channel.
        connection: its name.
        cursor: the event id up to which it was served; "": not to be kept.
        seen_generation: of the channel, as this connection has it now.
    """

    channel_id: str
    connection: str
    cursor: str
    seen_generation: int


@dataclass(frozen=True, slots=True)
class Attachment:
    """A channel as a new connection finds it.

    Attributes:
        channel: the channel as it was before.
        subscriptions: all of them, the ended ones too, by sequence.
        taken_from: the connection that had it; "" if none did.
    """

    channel: Channel
    subscriptions: Sequence[Subscription]
    taken_from: str = ""


class ChannelStore(Protocol):
    """Where channels are kept, for all nodes."""

    async def create(
        self,
        *,
        owner_key: str,
        uid: int,
        client_id: str = "",
        timeout_s: int,
        maximum: int,
        maximum_timeout_s: int = 86_400,
    ) -> Channel:
        """Make a channel.

        Args:
            owner_key: whose it is.
            uid: the user's number; the limit is per user, whatever the restrictions.
            client_id: what the client calls itself.
            timeout_s: how long it lives while nobody is connected.
            maximum: how many channels a user may have.
            maximum_timeout_s: the longest timeout there is.

        Raises:
            TooManyChannels: the user has that many.
        """

    async def get(self, channel_id: str) -> Channel | None:
        """Return a channel, or None if there is none of that id."""

    async def list_ids(self, owner_key: str, client_id: str | None = None) -> list[str]:
        """Return the owner's channels in the order they were made.

        Args:
            owner_key: whose.
            client_id: only those made with this client-id ("": without one); None: all.
        """

    async def set_timeout(self, channel_id: str, timeout_s: int) -> bool:
        """Change the timeout, which starts anew; False if there is no such channel."""

    async def delete(self, channel_id: str) -> bool:
        """End a channel and tell the node that serves it; False if there is no such channel."""

    async def put_snapshot(self, channel_id: str, payloads: Sequence[str]) -> str:
        """Keep a subscription's snapshot (the `event` members, JSON) and return where.

        Put the answer into `Subscription.snapshot` before `subscribe`.

        Raises:
            NoSuchChannel: it is gone.
        """

    async def read_snapshot(
        self, channel_id: str, snapshot: str, after: int
    ) -> AsyncIterator[Sequence[str]]:
        """Return an iterator over chunks of a snapshot's payloads, from the `after`-th on."""

    async def drop_snapshot(self, channel_id: str, snapshot: str) -> None:
        """Forget a snapshot that was delivered."""

    async def subscribe(
        self, channel_id: str, subscription: Subscription, *, maximum: int = 0
    ) -> tuple[Subscription, bool]:
        """Keep a subscription, merged into the one its inode already has, and tell all nodes.

        Args:
            channel_id: the channel.
            subscription: with everything but its sequence.
            maximum: how many active subscriptions a channel may have; 0: any number.

        Returns:
            The subscription as it is kept now (answer its `url`), and whether it is a new one.

        Raises:
            NoSuchChannel: it is gone.
            TooManySubscriptions: there are that many.
        """

    async def subscriptions(self, channel_id: str) -> list[Subscription]:
        """Return a channel's active subscriptions in the order they were made."""

    async def subscription(
        self, channel_id: str, event_type: str, subscription_id: str
    ) -> Subscription | None:
        """Return one active subscription, or None."""

    async def unsubscribe(
        self, channel_id: str, event_type: str, subscription_id: str, marks: Mapping[str, int]
    ) -> bool:
        """End an active subscription and tell all nodes; False if there is none.

        Args:
            channel_id: the channel.
            event_type: its kind.
            subscription_id: its id.
            marks: how far each shard is known to have come now (`Hub.marks(event_type)`); later
                events are not told.
        """

    async def attach(self, channel_id: str, connection: str) -> Attachment:
        """Give the channel to a connection; whoever had it is told by a notice.

        Raises:
            NoSuchChannel: it is gone.
        """

    async def is_released(self, channel_id: str) -> bool:
        """Whether the connection that had the channel before the newest has given it back."""

    async def refresh(self, held: Sequence[tuple[str, str]]) -> list[tuple[int, str] | None]:
        """Give signs of life, for many (channel, connection) at once.

        Returns:
            For each the channel's version and the connection that has it (if that is another one,
            nothing was changed), or None if the channel is gone.
        """

    async def detach(self, served: Served) -> None:
        """Give the channel back, keep how far it was served; its timeout runs from now.

        A connection that lost the channel to another is kept in mind as long as that one waits for
        it (`is_released`); afterwards what it says counts no more.
        """

    async def save_cursors(self, served: Sequence[Served]) -> None:
        """Keep how far connections were served that still have their channel."""

    async def reload(self, channel_id: str) -> Attachment | None:
        """Return channel and subscriptions as they are now."""

    async def look(self, channel_id: str, sequences: Sequence[int]) -> Attachment | None:
        """Return the channel and only those subscriptions, as they are now."""

    async def end(
        self,
        channel_id: str,
        sequence: int,
        ended: Mapping[str, int],
        end: tuple[str, int, int] | None,
    ) -> None:
        """End a subscription at a position, or say exactly where one ended that was ended."""

    async def carry_on(
        self, channel_id: str, ended: Subscription, successor: Subscription
    ) -> bool:
        """Replace an active subscription by one with a new sequence, and tell all nodes.

        Args:
            channel_id: the channel.
            ended: the old one as it is remembered, for readers that are behind.
            successor: the new one, with the same id.

        Returns:
            False when the old one is not active any more; nothing was changed.
        """

    async def move(self, channel_id: str, sequence: int, place: Place) -> None:
        """Keep where a subscription's object is now, and its permissions."""

    async def forget(self, channel_id: str, sequences: Sequence[int]) -> None:
        """Drop ended subscriptions that no reader needs any more."""

    async def restore(self, attachment: Attachment, connection: str) -> None:
        """Make a channel again that the store lost while it was away; nothing if it is there."""

    async def server_key(self) -> bytes:
        """Return 32 bytes that all nodes share, made once."""

    def notices(self) -> AsyncIterator[Notice]:
        """Yield what nodes tell each other, from now on; ends or raises when the store is away."""

    async def ping(self) -> None:
        """Return if the store is there."""

    async def close(self) -> None:
        """Give back connections."""
