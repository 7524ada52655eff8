"""The shapes of records as the codec returns them: plain dictionaries, typed for the reader.

Plain dictionaries are what fastavro makes and takes; converting them would cost the hot path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence


class Source(TypedDict):
    """Where a renamed object was before."""

    ancestors: bytes
    permissions: str
    path: str
    name: str


class Overwritten(TypedDict):
    """What a rename replaced."""

    inode: bytes
    type: str
    permission: str


class Twin(TypedDict):
    """The other half of a move across shards."""

    shard: str
    number: int


class BillingRecord(TypedDict):
    """One operation of the storage; each field is described in `avro/billing.avsc`."""

    shard: str
    number: int
    operation: str
    time_us: int
    storage: str
    kind: str
    inode: bytes
    ancestors: bytes
    permissions: str
    path: str
    name: str
    type: str
    source: Source | None
    overwritten: Overwritten | None
    half: str
    twin: Twin | None
    cookie: str | None
    uid: int
    gids: list[int]
    user: str
    client: str
    door: str
    protocol: str
    size_bytes: int | None
    transferred_bytes: int | None
    checksums: list[str]
    duration_ms: int | None
    status_code: int
    status_message: str
    locality: str | None
    attribute: str | None


class Head(TypedDict):
    """The first five fields of every derived message: all that matching needs."""

    shard: str
    number: int
    watched: bytes
    ancestors: bytes
    source_ancestors: bytes


class InotifyMessage(Head):
    """All that inotify says about one operation; see `avro/inotify.avsc`."""

    time_us: int
    kind: str
    inode: bytes
    names: list[str | None]
    scopes: Sequence[str]
    unlisted: Sequence[str]
    roles: Sequence[int]
    masks: Sequence[int]
    to: Sequence[int]
    cookie: str | None
    is_directory: bool
    path: str
    source_path: str | None
    permissions: str
    twin_shard: str | None
    twin_number: int | None
    size_bytes: int | None
    checksums: list[str]
    locality: str | None
    owner_uid: int | None
    user: str


class DeadLetter(TypedDict):
    """A record that could not be used; see `avro/dead_letter.avsc`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    agent: str
    time_us: int
