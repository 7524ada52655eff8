"""An event type of one's own: files that were deleted, with the bytes that became free.

Install this package beside storage-events: its topic, its part in the worker, its replay and its
listing by the API follow by themselves.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.authz import scope
from pipeline.event_types import details, selectors, subtree
from pipeline.event_types.base import Telling, Watch
from schemas import registry
from schemas.topics import DAYS, Topic
from schemas.vocabulary import FILE_ID_BYTES, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schemas.records import BillingRecord

# The number is for ever; from a million on they are for packages such as this.
registry.add("deletion", 1_000_001, (resources.files(__name__) / "deletion.avsc").read_text())


class Deletion:
    """Files that were deleted."""

    name: ClassVar[str] = "deletion"
    description: ClassVar[str] = "Files that were deleted, and the bytes that became free."
    topic: ClassVar[Topic] = Topic("deletion", "deletion", 7 * DAYS)
    watches_namespace: ClassVar[bool] = True
    selector_schema: ClassVar[Mapping[str, Any]] = selectors.schema(
        "https://example.org/deletionSelectors#",
        "Where to watch",
        {name: selectors.PROPERTIES[name] for name in ("path", "recursive")},
    )
    event_schema: ClassVar[Mapping[str, Any]] = {
        "$schema": selectors.DRAFT,
        "type": "object",
        "properties": {"path": {"type": "string"}, "freed": {"type": "integer"}},
        "required": ["path", "freed"],
    }

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:
        """Return the message that follows from the deletion of a file."""
        if record["kind"] != Kind.DELETE or record["status_code"]:
            return []
        permissions = record["permissions"]
        return [
            {
                "shard": record["shard"],
                "number": record["number"],
                "watched": record["ancestors"][-FILE_ID_BYTES:],
                "ancestors": record["ancestors"],
                "source_ancestors": b"",
                "path": record["path"],
                "scope": scope.named_scope(permissions),
                "unlisted": scope.unlisted(permissions),
                "freed_bytes": record["size_bytes"] or 0,
            }
        ]

    def parse(self, selector: Any) -> Watch:
        """Check a selector."""
        members = selectors.Members(selector, self.selector_schema["properties"])
        return Watch(path=members.path(), recursive=members.boolean("recursive"))

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on a directory."""
        depth = subtree.depth(watched, message["ancestors"])
        if depth is None or not (watch.recursive or watched == message["watched"]):
            return []
        needed = scope.recursive_scope(message["scope"], message["unlisted"], depth)
        path = details.clients_path(watch, subtree.below(message["path"], depth))
        payload = details.write({"path": path, "freed": message["freed_bytes"]})
        return [Telling(0, needed, message["path"], payload)]


EVENT_TYPE = Deletion()
