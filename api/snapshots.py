"""A snapshot: what is there when a subscription begins, told as events before all others.

Each entry is one event with the mask IN_CREATE (and IN_ISDIR), as if it had just been made, marked
by `"snapshot": true`. The filters of the selector count; a recursive snapshot tells the path below
the watch.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.event_types import details, globs
from schemas import vocabulary
from schemas.vocabulary import FileType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.places import Child
    from pipeline.event_types.base import Watch


def payloads(children: Sequence[Child], watch: Watch) -> list[str]:
    """Return the `event` members, ASCII JSON, in the order of the names."""
    told = []
    for child in sorted(children, key=lambda child: child.name):
        if not globs.selects(watch.include, watch.exclude, child.name):
            continue
        is_directory = child.attributes.get("fileType") == FileType.DIR
        if not is_directory and not _fits(child, watch):
            continue
        mask = vocabulary.IN_CREATE | (vocabulary.IN_ISDIR if is_directory else 0)
        event: dict[str, Any] = {
            "name": child.name,
            "mask": vocabulary.mask_names(mask),
            "snapshot": True,
        }
        if watch.details:
            event["details"] = {"path": details.clients_path(watch, child.name)}
            if not is_directory and "size" in child.attributes:
                event["details"]["size"] = child.attributes["size"]
        told.append(json.dumps(event, separators=(",", ":")))
    return told


def _fits(child: Child, watch: Watch) -> bool:
    size_bytes = child.attributes.get("size")
    if size_bytes is None:
        return True
    smallest = watch.min_size_bytes or 0
    return smallest <= size_bytes and (
        watch.max_size_bytes is None or size_bytes <= watch.max_size_bytes
    )
