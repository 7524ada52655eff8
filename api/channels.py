"""Channels and subscriptions: what they are, how they are written down, how two become one.

A channel is a client's queue of events, a subscription one source of events in it, the stream the
way they reach the client. All of it lives in the channel store, so any node serves any channel.
"""

from __future__ import annotations

import base64
import dataclasses
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schemas.vocabulary import EVENT_FLAGS, IN_MASK_ADD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.event_types.base import Watch

CHANNEL_ID_BYTES: Final = 16
CLIENT_ID_LENGTH: Final = 256
MINIMUM_TIMEOUT_S: Final = 1
MAXIMUM_TIMEOUT_S: Final = 86_400
DEFAULT_TIMEOUT_S: Final = 300
METRONOME: Final = "metronome"
INOTIFY: Final = "inotify"
LAST_RANK: Final = 0xFF
"""The rank, in event ids, of an ending that is put behind all events of a message."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A client's queue of events.

    Attributes:
        id: 16 random bytes, base64url.
        owner_key: `Principal.owner_key` of who made it: the user and the token's restrictions.
        uid: the user's number, to tell another user's channel (403) from an unknown one (404).
        client_id: what the client called itself when it made the channel; "" if nothing.
        timeout_s: how long it lives while nobody is connected, in seconds.
        order: channels made later have a higher one.
        slots: names of the sources its event ids speak of, in the order they were first used.
        generation: the highest subscription sequence given so far.
        version: counts the changes of the channel and its subscriptions.
        cursor: the event id up to which the last connection was served; "" if unknown.
        seen_generation: the `generation` when a reader was last told an event; 0: never.
    """

    id: str
    owner_key: str
    uid: int
    client_id: str = ""
    timeout_s: int = DEFAULT_TIMEOUT_S
    order: int = 0
    slots: tuple[str, ...] = ()
    generation: int = 0
    version: int = 0
    cursor: str = ""
    seen_generation: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a watched object is, as the storage tells it (`watch` in the storage's REST).

    Attributes:
        inode: its 18 bytes.
        is_directory: whether it is a directory.
        shard: the shard of events of and in it.
        positions: for each shard, the newest number at the instant it was looked up.
        path: absolute storage path, after symlinks.
        ancestors: the directories from the root to its parent, 18 bytes each.
        permissions: of the directories from the root to it, and of itself, joined by spaces.
        shard_depth: how many path components make a shard's name.
    """

    inode: bytes
    is_directory: bool
    shard: str
    positions: Mapping[str, int]
    path: str
    ancestors: bytes
    permissions: str
    shard_depth: int = 0


@dataclass(frozen=True, slots=True)
class Metronome:
    """A metronome's settings: tick `k` (from 1) is due at `start_s + k * period_s`.

    Attributes:
        start_s: epoch seconds of the subscription.
        period_s: seconds between ticks.
        message: what each tick says, before `${username}`, `${user}`, `${count}` are put in.
        count: how many ticks there are; 0: no end.
        username: who subscribed.
    """

    start_s: float
    period_s: float
    message: str
    count: int
    username: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """One source of events in a channel.

    Attributes:
        id: base64url of the watched inode; a random UUID for types that watch no inode.
        event_type: its kind.
        url: the `Location` that was answered; events name their subscription by these bytes.
        selector: the members that the client supplied, as it supplied them.
        watch: the same, checked.
        sequence: its number in the channel, from 1; given by the store.
        inode: the watched inode; b"" for types that watch no inode.
        is_directory: whether that is a directory.
        path: its storage path as last known.
        ancestors: the directories from the root to its parent, as last known, 18 bytes each.
        permissions: of the directories from the root to it and of itself, as last known.
        shard: the shard its events are in; "" if they may be in any.
        since: for each shard, the number up to which events are older than the subscription;
            absent shards: 0.
        snapshot: where its snapshot is kept in the store; "" if it has none.
        metronome: for metronomes.
        ended: None while it is active; afterwards the numbers (by shard) after which nothing more
            is told. An ended subscription is kept, unseen by REST, for readers that are behind.
        end: the position of its IN_IGNORED: shard, number, rank.
        continues: its sequence before its object moved to another shard; 0: it did not.
    """

    id: str
    event_type: str
    url: str
    selector: Mapping[str, Any]
    watch: Watch
    sequence: int = 0
    inode: bytes = b""
    is_directory: bool = True
    path: str = ""
    ancestors: bytes = b""
    permissions: str = ""
    shard: str = ""
    since: Mapping[str, int] = field(default_factory=dict)
    snapshot: str = ""
    metronome: Metronome | None = None
    ended: Mapping[str, int] | None = None
    end: tuple[str, int, int] | None = None
    continues: int = 0

    def replace(self, **changes: Any) -> Subscription:
        """Return a copy with other values."""
        return dataclasses.replace(self, **changes)

    @property
    def slot(self) -> str:
        """The name of the source that its positions are counted in; "" if there may be many."""
        if self.metronome is not None:
            return slot_name(self.event_type, self.id)
        return slot_name(self.event_type, self.shard) if self.shard else ""


def new_channel_id() -> str:
    """Return a fresh channel id: 22 characters that nobody can guess."""
    return base64.urlsafe_b64encode(secrets.token_bytes(CHANNEL_ID_BYTES)).rstrip(b"=").decode()


def inode_id(inode: bytes) -> str:
    """Return the subscription id of a watch on that inode: 24 characters of base64url."""
    return base64.urlsafe_b64encode(inode).decode()


def slot_name(event_type: str, source: str) -> str:
    """Return the name under which event ids count a shard (or a metronome) of an event type."""
    return f"{event_type}:{source}"


def spans_shards(place: Place) -> bool:
    """Whether events of and in the object may be in more shards than its own.

    A directory above the depth at which shards begin has entries in shards of their own.
    """
    depth = 0 if place.path == "/" else place.path.strip("/").count("/") + 1
    return place.is_directory and depth < place.shard_depth


def namespace_subscription(
    event_type: str, selector: Mapping[str, Any], watch: Watch, place: Place, channel_url: str
) -> Subscription:
    """Return a subscription to events of an object in the namespace, ready for the store.

    Args:
        event_type: its kind.
        selector: the selector as the client supplied it.
        watch: what `EventType.parse` made of it.
        place: where the object is, and every shard's position at that instant.
        channel_url: the channel's absolute URL; the subscription's is made from it, once.
    """
    identity = inode_id(place.inode)
    shard = "" if spans_shards(place) else place.shard
    since = place.positions if not shard else {shard: place.positions.get(shard, 0)}
    return Subscription(
        id=identity,
        event_type=event_type,
        url=f"{channel_url}/subscriptions/{event_type}/{identity}",
        selector=dict(selector),
        watch=watch,
        inode=place.inode,
        is_directory=place.is_directory,
        path=place.path,
        ancestors=place.ancestors,
        permissions=place.permissions,
        shard=shard,
        since=dict(since),
    )


def merge(existing: Subscription, new: Subscription) -> Subscription:
    """Return what becomes of `existing` when its inode is subscribed to once more.

    As in inotify(7) and dCache the new flags and path replace the old ones, unless IN_MASK_ADD
    asks for both. Identity, sequence and start stay.
    """
    if not new.watch.modifiers & IN_MASK_ADD:
        return existing.replace(selector=new.selector, watch=new.watch)
    old = existing.watch
    watch = old.replace(
        path=new.watch.path,
        mask=old.mask | new.watch.mask,
        modifiers=(old.modifiers | new.watch.modifiers) & ~IN_MASK_ADD,
        recursive=old.recursive or new.watch.recursive,
        details=old.details or new.watch.details,
    )
    flags = [name for name, bit in EVENT_FLAGS.items() if watch.mask & bit]
    selector = {**existing.selector, **new.selector, "flags": flags}
    return existing.replace(selector=selector, watch=watch)


def in_other_shard(subscription: Subscription, shard: str, number: int) -> Subscription:
    """Return what a subscription goes on as whose object moved to another shard.

    Args:
        subscription: with its new path and permissions.
        shard: the new shard.
        number: the number there of the move's other half.
    """
    return subscription.replace(
        shard=shard, since={shard: number}, continues=subscription.sequence, snapshot=""
    )


def place_of(subscription: Subscription, positions: Mapping[str, int]) -> Place:
    """Return where a subscription's object is, as last known."""
    return Place(
        inode=subscription.inode,
        is_directory=subscription.is_directory,
        shard=subscription.shard,
        positions=positions,
        path=subscription.path,
        ancestors=subscription.ancestors,
        permissions=subscription.permissions,
    )


def moved(subscription: Subscription, place: Place) -> Subscription:
    """Return the subscription with its object where it is now."""
    return subscription.replace(
        path=place.path,
        ancestors=place.ancestors,
        permissions=place.permissions,
        shard=place.shard if subscription.shard else "",
    )
