"""Processing on ingest: a function that an upload started began, finished or failed.

Nothing here follows from billing: the runner of `pipeline.ingest` makes these messages and counts
them itself, in a shard of its own. Whoever may see the uploaded file sees what became of it, and
nothing of what was computed or where it went: that is for those who may see the outputs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipeline.authz import scope
from pipeline.authz.paths import is_below
from pipeline.event_types import selectors, subtree
from pipeline.event_types.base import Telling, Watch
from schemas.topics import DAYS, Topic
from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.records import BillingRecord

STARTED: Final = "STARTED"
DONE: Final = "DONE"
FAILED: Final = "FAILED"
STATES: Final = (STARTED, DONE, FAILED)
_MEMBERS: Final = ("path", "recursive")


class Ingest:
    """What functions that uploads start are doing."""

    name: ClassVar[str] = "ingest"
    description: ClassVar[str] = (
        "A function that the upload of a file started began, finished or failed."
    )
    topic: ClassVar[Topic] = Topic("ingest-jobs", "ingest", 7 * DAYS, key="the runner's shard")
    watches_namespace: ClassVar[bool] = True
    own_shards: ClassVar[bool] = True
    selector_schema: ClassVar[Mapping[str, Any]] = selectors.schema(
        "http://storage-events/ingestSelectors#",
        "Whose processing to watch",
        {name: selectors.PROPERTIES[name] for name in _MEMBERS},
    )
    event_schema: ClassVar[Mapping[str, Any]] = {
        "$schema": "http://json-schema.org/draft-06/schema#",
        "type": "object",
        "properties": {
            "state": {"enum": list(STATES)},
            "rule": {"type": "string"},
            "function": {"type": "string"},
            "path": {"type": "string", "description": "The uploaded file."},
            "attempt": {"type": "integer"},
            "reason": {"type": "string"},
        },
        "required": ["state", "rule", "function", "path", "attempt"],
        "additionalProperties": False,
    }

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        """Return nothing: the runner makes these messages."""
        return ()

    def parse(self, selector: Any) -> Watch:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: it is not an object of the selector schema.
        """
        members = selectors.Members(selector, _MEMBERS)
        return Watch(path=members.path(), recursive=members.boolean("recursive"))

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on inode `watched`."""
        who = _scope(message, watch, watched)
        if who is None:
            return ()
        return (Telling(0, who, message["path"], _payload(message, watch)),)


def message(
    *,
    shard: str,
    number: int,
    time_us: int,
    state: str,
    inode: bytes,
    ancestors: bytes,
    permissions: str,
    **about: Any,
) -> Mapping[str, Any]:
    """Return a message, ready to encode.

    Args:
        shard: the runner's own.
        number: the runner's count.
        time_us: when, epoch microseconds.
        state: STARTED, DONE or FAILED.
        inode: the uploaded file.
        ancestors: the directories above it, as in billing.
        permissions: who could see it, as in billing.
        **about: id, rule, function, storage, path, attempt, and reason for FAILED.
    """
    return {
        "shard": shard,
        "number": number,
        "watched": ancestors[-FILE_ID_BYTES:] + inode,
        "ancestors": ancestors,
        "source_ancestors": b"",
        "scopes": [scope.named_scope(permissions), scope.own_scope(permissions)],
        "unlisted": scope.unlisted(permissions),
        "time_us": time_us,
        "state": state,
        "inode": inode,
        **about,
    }


def _scope(message: Mapping[str, Any], watch: Watch, watched: bytes) -> str | None:
    """Return who of the watchers of `watched` may be told; None: it does not concern them."""
    named, own = message["scopes"]
    if watched == message["inode"]:
        return str(own)
    if watched == message["ancestors"][-FILE_ID_BYTES:]:
        return str(named)
    depth = subtree.depth(watched, message["ancestors"]) if watch.recursive else None
    if depth is None:
        return None
    return scope.recursive_scope(named, message["unlisted"], depth)


def _shown(path: str, watch: Watch) -> str:
    if watch.root != "/" and is_below(path, watch.root):
        return path[len(watch.root) :] or "/"
    return path


def _payload(message: Mapping[str, Any], watch: Watch) -> str:
    event: dict[str, Any] = {
        "state": message["state"],
        "rule": message["rule"],
        "function": message["function"],
        "path": _shown(message["path"], watch),
        "attempt": message["attempt"],
    }
    if message["state"] == FAILED:
        event["reason"] = message["reason"]
    return json.dumps(event, separators=(",", ":"))


EVENT_TYPE: Final = Ingest()
