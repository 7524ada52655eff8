"""JSON Schemas (draft 06) of inotify's selector and events: dCache's, and what is new here."""

from __future__ import annotations

from typing import Any, Final

from pipeline.event_types import selectors
from schemas import vocabulary

_FLAG_NAMES: Final = sorted(selectors.FLAGS)

SELECTOR: Final[dict[str, Any]] = selectors.schema(
    "http://dcache.org/frontend/events/namespaceSelectors#",
    "What to watch, and which events to tell",
    {
        **selectors.PROPERTIES,
        "flags": {
            "title": "Which events to tell, and how",
            "description": "Names of inotify(7); absent: all events. One string with commas "
            "between the names is accepted, too.",
            "oneOf": [
                {"type": "array", "items": {"type": "string", "enum": _FLAG_NAMES}},
                {"type": "string"},
            ],
        },
        "min_size": {
            "title": "Closes of smaller files are not told",
            "description": "In bytes; for IN_CLOSE_WRITE and IN_CLOSE_NOWRITE.",
            "type": "integer",
            "minimum": 0,
            "maximum": selectors.MAX_SIZE_BYTES,
        },
        "max_size": {
            "title": "Closes of larger files are not told",
            "description": "In bytes; for IN_CLOSE_WRITE and IN_CLOSE_NOWRITE.",
            "type": "integer",
            "minimum": 0,
            "maximum": selectors.MAX_SIZE_BYTES,
        },
        "snapshot": {
            "title": "Whether to tell first what is there now",
            "description": "Then follows exactly what has happened since.",
            "type": "boolean",
            "default": False,
        },
    },
)

_CHILD_EVENTS: Final = sorted(
    name
    for name, bit in vocabulary.EVENT_FLAGS.items()
    if not bit & (vocabulary.IN_MOVE | vocabulary.IN_DELETE_SELF | vocabulary.IN_MOVE_SELF)
)
_SELF_EVENTS: Final = sorted(
    name
    for name, bit in vocabulary.EVENT_FLAGS.items()
    if not bit & (vocabulary.IN_MOVE | vocabulary.IN_CREATE | vocabulary.IN_DELETE)
)
_NAME: Final = {
    "title": "The file or directory",
    "description": "Its name in the watched directory; with recursive its path below it.",
    "type": "string",
    "minLength": 1,
}
_COOKIE: Final = {
    "title": "What the two halves of a move have in common",
    "type": "string",
    "minLength": 1,
}
_DETAILS: Final = {
    "title": "More about the event, if the selector asked for it",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "operation": {"type": "string", "enum": [kind.value for kind in vocabulary.Kind]},
        "size": {"type": "integer", "minimum": 0},
        "checksums": {"type": "array", "items": {"type": "string"}},
        "locality": {"type": "string"},
        "owner": {"type": "integer"},
        "user": {"type": "string"},
    },
    "additionalProperties": False,
}


def _mask(names: list[str], *, may_be_directory: bool) -> dict[str, Any]:
    event = {"type": "string", "enum": names}
    items = [event, {"type": "string", "const": "IN_ISDIR"}] if may_be_directory else [event]
    return {
        "title": "What happened",
        "type": "array",
        "items": items,
        "minItems": 1,
        "maxItems": len(items),
    }


def _shape(title: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


EVENT: Final[dict[str, Any]] = {
    "$id": "http://dcache.org/frontend/events/namespaceEvents#",
    "$schema": selectors.DRAFT,
    "title": "What happened to a watched file or directory, or in a watched directory",
    "oneOf": [
        _shape(
            "in a watched directory",
            {"name": _NAME, "mask": _mask(_CHILD_EVENTS, may_be_directory=True)},
            details=_DETAILS,
        ),
        _shape(
            "moved from or to a watched directory",
            {
                "name": _NAME,
                "cookie": _COOKIE,
                "mask": _mask(["IN_MOVED_FROM", "IN_MOVED_TO"], may_be_directory=True),
            },
            details=_DETAILS,
        ),
        _shape(
            "the watched object itself",
            {"mask": _mask(_SELF_EVENTS, may_be_directory=True)},
            details=_DETAILS,
        ),
        _shape(
            "there when a subscription with a snapshot was made",
            {
                "name": _NAME,
                "mask": _mask(["IN_CREATE"], may_be_directory=True),
                "snapshot": {"type": "boolean", "const": True},
            },
            details=_DETAILS,
        ),
        _shape(
            "about the subscription",
            {"mask": _mask(["IN_IGNORED", "IN_Q_OVERFLOW", "IN_UNMOUNT"], may_be_directory=False)},
        ),
    ],
}
