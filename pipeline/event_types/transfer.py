"""Transfers: each upload and read of a file, what it moved, how long it took, how it ended.

Failed ones too: a failed upload never shows as IN_CLOSE_WRITE, here it says why.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.authz import scope
from pipeline.event_types import details, globs, selectors, subtree
from pipeline.event_types.base import BadSelector, Telling, Watch
from schemas import topics
from schemas.vocabulary import FILE_ID_BYTES, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.records import BillingRecord

UPLOAD: Final = 1
DOWNLOAD: Final = 2
"""Bits of a watch's mask."""

_DIRECTIONS: Final = {"upload": UPLOAD, "download": DOWNLOAD}
_NAMES: Final = {bit: name for name, bit in _DIRECTIONS.items()}
_KINDS: Final[dict[str, int]] = {Kind.UPLOAD: UPLOAD, Kind.READ: DOWNLOAD}
_REMEMBERED_AUDIENCES: Final = 16_384
_COMMON: Final = ("path", "recursive", "include", "exclude")
_DETAILS: Final = {
    "title": "Whether to tell who moved a file, and from where",
    "description": "Only to them, to the file's owner and to administrators.",
    "type": "boolean",
    "default": False,
}
_WHOLE: Final = {"type": "integer", "minimum": 0}


def _direction(members: selectors.Members) -> int:
    names = members.strings("direction") or tuple(_DIRECTIONS)
    unknown = [name for name in names if name not in _DIRECTIONS]
    if unknown:
        raise BadSelector(
            f'Bad selector: Unknown direction "{unknown[0][:100]}"; known: upload, download'
        )
    mask = 0
    for name in names:
        mask |= _DIRECTIONS[name]
    return mask


def _place(
    message: Mapping[str, Any], watch: Watch, watched: bytes
) -> tuple[str | None, str] | None:
    """Return the name that a watch is told, and the scope; None: it is not told."""
    parent, own = message["watched"][:-FILE_ID_BYTES], message["watched"][-FILE_ID_BYTES:]
    parent_scope, own_scope = message["scopes"]
    if watched == own:
        return None, own_scope
    depth = subtree.depth(watched, message["ancestors"])
    if depth is None or not (watch.recursive or watched == parent):
        return None
    needed = scope.recursive_scope(parent_scope, message["unlisted"], depth)
    return subtree.below(message["path"], depth), needed


@functools.lru_cache(_REMEMBERED_AUDIENCES)
def _audience(permissions: str) -> tuple[tuple[str, str], str, int]:
    """Return the scopes of the parent's and the file's watchers, `unlisted`, and the owner."""
    scopes = (scope.named_scope(permissions), scope.own_scope(permissions))
    own_permission = permissions.rpartition(" ")[2]
    return scopes, scope.unlisted(permissions), scope.owner(own_permission)


class Transfer:
    """The event type; see the module."""

    name: ClassVar[str] = "transfer"
    description: ClassVar[str] = (
        "Uploads and reads of files: what was moved, how long, how it ended."
    )
    topic: ClassVar[topics.Topic] = topics.Topic("transfer", "transfer", 7 * topics.DAYS)
    selector_schema: ClassVar[Mapping[str, Any]] = selectors.schema(
        "https://storage-events.invalid/schemas/transferSelectors#",
        "Whose transfers to tell",
        {
            **{name: selectors.PROPERTIES[name] for name in _COMMON},
            "details": _DETAILS,
            "direction": {
                "title": "Which transfers to tell",
                "description": "Absent: both.",
                "type": "array",
                "items": {"type": "string", "enum": list(_DIRECTIONS)},
            },
        },
    )
    event_schema: ClassVar[Mapping[str, Any]] = {
        "$id": "https://storage-events.invalid/schemas/transferEvents#",
        "$schema": selectors.DRAFT,
        "title": "A transfer that has ended",
        "type": "object",
        "properties": {
            "path": {"title": "The file, as its watcher names it", "type": "string"},
            "direction": {"type": "string", "enum": list(_DIRECTIONS)},
            "time": {"type": "string", "format": "date-time"},
            "size": {"title": "Bytes of the file", **_WHOLE},
            "transferred": {"title": "Bytes that were moved", **_WHOLE},
            "durationMs": {"title": "Milliseconds it took", **_WHOLE},
            "checksums": {"type": "array", "items": {"type": "string"}},
            "locality": {"type": "string"},
            "protocol": {"type": "string"},
            "status": {
                "type": "object",
                "properties": {"code": {"type": "integer"}, "msg": {"type": "string"}},
                "required": ["code", "msg"],
                "additionalProperties": False,
            },
            "owner": {"title": "Numeric user id", "type": "integer"},
            "user": {
                "title": "Who moved it",
                "description": "Told to them, to the file's owner and to administrators.",
                "type": "string",
            },
            "client": {
                "title": "The address it was moved to or from",
                "description": "Told as user is.",
                "type": "string",
            },
        },
        "required": ["path", "direction", "time", "status"],
        "additionalProperties": False,
    }
    watches_namespace: ClassVar[bool] = True

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:
        """Return the message that follows from the record of a transfer."""
        direction = _KINDS.get(record["kind"])
        if direction is None:
            return ()
        scopes, unlisted, owner_uid = _audience(record["permissions"])
        return (
            {
                "shard": record["shard"],
                "number": record["number"],
                "watched": record["ancestors"][-FILE_ID_BYTES:] + record["inode"],
                "ancestors": record["ancestors"],
                "source_ancestors": b"",
                "time_us": record["time_us"],
                "direction": direction,
                "scopes": scopes,
                "unlisted": unlisted,
                "path": record["path"],
                "size_bytes": record["size_bytes"],
                "transferred_bytes": record["transferred_bytes"],
                "duration_ms": record["duration_ms"],
                "checksums": record["checksums"],
                "locality": record["locality"],
                "protocol": record["protocol"],
                "status_code": record["status_code"],
                "status_message": record["status_message"],
                "owner_uid": owner_uid,
                "user": record["user"],
                "client": record["client"],
            },
        )

    def parse(self, selector: Any) -> Watch:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: with a text in dCache's manner.
        """
        members = selectors.Members(selector, self.selector_schema["properties"])
        return selectors.namespace_watch(members).replace(mask=_direction(members))

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on inode `watched`: the transfer, or nothing."""
        if not message["direction"] & watch.mask:
            return ()
        place = _place(message, watch, watched)
        if place is None:
            return ()
        name, needed = place
        if name is not None and not globs.selects(watch.include, watch.exclude, name):
            return ()
        return (Telling(0, needed, message["path"], _payload(message, watch, name)),)


def _payload(message: Mapping[str, Any], watch: Watch, name: str | None) -> str:
    owner_uid, user = message["owner_uid"], message["user"]
    told_who = details.may_know_who(watch, owner_uid, user)
    return details.write(
        {
            "path": details.clients_path(watch, name),
            "direction": _NAMES[message["direction"]],
            "time": details.timestamp(message["time_us"]),
            "size": message["size_bytes"],
            "transferred": message["transferred_bytes"],
            "durationMs": message["duration_ms"],
            "checksums": message["checksums"],
            "locality": message["locality"],
            "protocol": message["protocol"],
            "status": {"code": message["status_code"], "msg": message["status_message"]},
            "owner": owner_uid,
            "user": user if told_who else None,
            "client": message["client"] if told_who else None,
        }
    )


EVENT_TYPE: Final = Transfer()
