"""What an event type is: everything there is to know about one kind of event, in one module.

A module in this package (or an entry point in group `storage_events.event_types`) that has an
`EVENT_TYPE` is found by the registry; its topic, its part in the deriving agent, its replay and
its listing by the API follow without an edit anywhere else.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.records import BillingRecord
    from schemas.topics import Topic


class BadSelector(StorageEventsError):  # noqa: N818 - named after what it is about
    """A selector that cannot be used; the message is dCache's detail text for a 400."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What one subscription asks for, checked and with defaults filled in.

    Attributes:
        path: as the client wrote it (below the user's root); "" for types without a path.
        mask: the inotify(7) events wanted (bits of the twelve); other types use what they need.
        modifiers: IN_ONLYDIR, IN_ONESHOT, IN_MASK_ADD, IN_DONT_FOLLOW, IN_EXCL_UNLINK bits.
        recursive: everything below, too.
        include: globs; when given, the name or the path below the watch must match one of them.
        exclude: globs; none may match.
        min_size_bytes: closes of smaller files are not told.
        max_size_bytes: closes of larger files are not told.
        snapshot: first what is there now.
        details: tell path, size, checksum, locality, owner beside each event.
        root: the storage path that the user sees as `/`; set when subscribing.
        reader: user name of who subscribed; set when subscribing to details; decides only whether
            they are told who did something.
        reader_uid: their numeric user id.
    """

    path: str = ""
    mask: int = 0
    modifiers: int = 0
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    snapshot: bool = False
    details: bool = False
    root: str = "/"
    reader: str = ""
    reader_uid: int | None = None

    def replace(self, **changes: Any) -> Watch:
        """Return a copy with other values."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Telling:
    """One event of a message, told to one watch.

    Attributes:
        index: the event's index in the message: the last part of its position.
        scope: who may see it (`pipeline.authz.scope`).
        path: the storage path it is about, for restrictions.
        payload: the value of the `event` member, as ASCII JSON; empty: nothing is told, the watch
            only ends.
        mask: its inotify bits; 0 for other types.
        ends_watch: the watched inode is no more: SUBSCRIPTION_CLOSED and IN_IGNORED follow.
    """

    index: int
    scope: str
    path: str
    payload: str
    mask: int = 0
    ends_watch: bool = False


class Subscribable(Protocol):
    """What clients can subscribe to.

    Attributes:
        name: what clients call it; of a derived one also its Avro schema's file name.
        description: one sentence, served by the API.
        selector_schema: JSON Schema of a subscription's selector.
        event_schema: JSON Schema of the `event` member.
        watches_namespace: whether its selectors have a `path` that is looked up in the storage.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    selector_schema: ClassVar[Mapping[str, Any]]
    event_schema: ClassVar[Mapping[str, Any]]
    watches_namespace: ClassVar[bool]

    def parse(self, selector: Any) -> Any:
        """Check a selector as it came from JSON; for a derived type the result is a `Watch`.

        Raises:
            BadSelector: with dCache's text.
        """


class EventType(Subscribable, Protocol):
    """One kind of event that is derived from billing records.

    A type whose messages are not derived but made elsewhere, and counted there, has one more
    attribute, `own_shards = True`: they are not in the shard of what they are about.

    Attributes:
        topic: where its messages go.
    """

    topic: ClassVar[Topic]

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:
        """Return the messages that follow from a record (usually none or one), ready to encode.

        Each has the head fields first. Pure: the same record gives the same messages.
        """

    def parse(self, selector: Any) -> Watch:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: with dCache's text.
        """

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on inode `watched`, in order; often nothing.

        Permission is not looked at here; scope and path in each telling are for the caller.
        """
