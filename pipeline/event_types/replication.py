"""Replicas: a file's content came to be, moved, went or was lost in a storage.

The facts, and all that a catalogue needs to follow a storage by events alone. What a rule makes of
them is decided in `pipeline.replication`, by who knows where the other copies are: a replica that
was deleted behind our back can only be missed by somebody who knew it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.authz import scope
from pipeline.authz.paths import is_below
from pipeline.event_types import selectors, subtree
from pipeline.event_types.base import Telling, Watch
from schemas.errors import BadRecord
from schemas.topics import DAYS, Topic
from schemas.vocabulary import FILE_ID_BYTES, FileType, Half, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.records import BillingRecord

ADDED: Final = "ADDED"
REMOVED: Final = "REMOVED"
LOST: Final = "LOST"
MOVED: Final = "MOVED"

_CHANGES: Final[Mapping[str, str]] = {
    Kind.UPLOAD: ADDED,
    Kind.DELETE: REMOVED,
    Kind.LOST: LOST,
    Kind.RENAME: MOVED,
    Kind.SETATTR: ADDED,  # cut or extended: another content, as after an upload
}
_KINDS: Final[frozenset[str]] = frozenset(Kind)
_MEMBERS: Final = ("path", "recursive")
_TOLD: Final = ("ADDED", "REMOVED", "LOST", "MOVED_TO", "MOVED_FROM")


def _change(record: BillingRecord) -> str | None:
    """Return what became of a replica; None: nothing, or it is about something else."""
    kind = record["kind"]
    change = _CHANGES.get(kind)
    if change is None and kind not in _KINDS:
        raise BadRecord(f"unknown kind {kind!r}")
    if change is None or record["status_code"] != 0:
        return None
    if kind == Kind.SETATTR and record["attribute"] != "size":
        return None
    # A directory that moves takes its files along.
    moves = record["type"] == FileType.DIR and change is MOVED
    return change if moves or record["type"] == FileType.REGULAR else None


class Replication:
    """Where file contents are: added, moved, removed, lost."""

    name: ClassVar[str] = "replication"
    description: ClassVar[str] = (
        "A replica of a file was added to, moved within, removed from or lost by a storage."
    )
    topic: ClassVar[Topic] = Topic("replication", "replication", 7 * DAYS)
    watches_namespace: ClassVar[bool] = True
    selector_schema: ClassVar[Mapping[str, Any]] = selectors.schema(
        "http://storage-events/replicationSelectors#",
        "Where to watch replicas",
        {name: selectors.PROPERTIES[name] for name in _MEMBERS},
    )
    event_schema: ClassVar[Mapping[str, Any]] = {
        "$schema": "http://json-schema.org/draft-06/schema#",
        "type": "object",
        "properties": {
            "change": {"enum": list(_TOLD)},
            "storage": {"type": "string", "description": "The storage instance."},
            "path": {"type": "string"},
            "size": {"type": "integer", "description": "Bytes."},
            "checksums": {"type": "array", "items": {"type": "string"}},
            "directory": {"type": "boolean", "description": "A directory moved, with its files."},
        },
        "required": ["change", "storage", "path"],
        "additionalProperties": False,
    }

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:
        """Return the message that follows from a record, if it changed where content is."""
        change = _change(record)
        if change is None:
            return ()
        source, overwritten = record["source"], record["overwritten"]
        told = [] if record["half"] == Half.FROM else _told(record)
        if source is not None and record["half"] != Half.TO:
            told.append(
                (
                    source["ancestors"][-FILE_ID_BYTES:],
                    scope.named_scope(source["permissions"]),
                )
            )
        return (
            {
                "shard": record["shard"],
                "number": record["number"],
                "watched": b"".join(inode for inode, _ in told),
                "ancestors": record["ancestors"],
                "source_ancestors": b"" if source is None else source["ancestors"],
                "scopes": tuple([who for _, who in told]),
                "unlisted": scope.unlisted(record["permissions"]),
                "source_unlisted": scope.unlisted(source["permissions"]) if source else "",
                "time_us": record["time_us"],
                "change": change,
                "half": record["half"],
                "storage": record["storage"],
                "inode": record["inode"],
                "is_directory": record["type"] == FileType.DIR,
                "path": record["path"],
                "source_path": None if source is None else source["path"],
                "overwritten": None if overwritten is None else overwritten["inode"],
                "size_bytes": record["size_bytes"],
                "checksums": record["checksums"],
                "user": record["user"],
            },
        )

    def parse(self, selector: Any) -> Watch:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: it is not an object of the selector schema.
        """
        members = selectors.Members(selector, _MEMBERS)
        return Watch(path=members.path(), recursive=members.boolean("recursive"))

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on inode `watched`."""
        tellings = []
        to, from_ = _places(message)
        if to is not None and (who := _scope(message, watch, watched)) is not None:
            change = "MOVED_TO" if message["change"] == MOVED else message["change"]
            tellings.append(Telling(0, who, to, _payload(message, watch, change, to)))
        if from_ is not None and (who := _source_scope(message, watch, watched)) is not None:
            tellings.append(Telling(1, who, from_, _payload(message, watch, "MOVED_FROM", from_)))
        return tellings


def _told(record: BillingRecord) -> list[tuple[bytes, str]]:
    """Return the inodes whose watchers are told where it is, with who may see it."""
    parent = record["ancestors"][-FILE_ID_BYTES:]
    return [
        (parent, scope.named_scope(record["permissions"])),
        (record["inode"], scope.own_scope(record["permissions"])),
    ]


def _places(message: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return where it is and where it was, as far as this half of a move tells it."""
    to = None if message["half"] == Half.FROM else message["path"]
    from_ = None if message["half"] == Half.TO else message["source_path"]
    return to, from_


def _scope(message: Mapping[str, Any], watch: Watch, watched: bytes) -> str | None:
    """Return who of the watchers of `watched` may know where it is; None: it is elsewhere."""
    named, own = message["scopes"][:2]
    if watched == message["inode"]:
        return str(own)
    return _named_scope(watch, watched, message["ancestors"], named, message["unlisted"])


def _source_scope(message: Mapping[str, Any], watch: Watch, watched: bytes) -> str | None:
    """Return who of the watchers of `watched` may know where it was; None: it was elsewhere."""
    above, named = message["source_ancestors"], message["scopes"][-1]
    return _named_scope(watch, watched, above, named, message["source_unlisted"])


def _named_scope(
    watch: Watch, watched: bytes, ancestors: bytes, named: str, unlisted: str
) -> str | None:
    if watched == ancestors[-FILE_ID_BYTES:]:
        return named
    depth = subtree.depth(watched, ancestors) if watch.recursive else None
    return None if depth is None else scope.recursive_scope(named, unlisted, depth)


def _payload(message: Mapping[str, Any], watch: Watch, change: str, path: str) -> str:
    shown = path
    if watch.root != "/" and is_below(path, watch.root):
        shown = path[len(watch.root) :] or "/"
    event: dict[str, Any] = {"change": change, "storage": message["storage"], "path": shown}
    if change == ADDED:
        event["size"] = message["size_bytes"] or 0
        event["checksums"] = message["checksums"]
    if message["is_directory"]:
        event["directory"] = True
    return json.dumps(event, separators=(",", ":"))


EVENT_TYPE: Final = Replication()
