"""Selectors on the namespace: what is common to all event types that watch a path.

The error texts are dCache's where it has one: they follow `Bad selector: ` in the answer.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from pipeline.event_types import globs
from pipeline.event_types.base import BadSelector, Watch
from schemas import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_PATH_LENGTH: Final = 4096
MAX_SIZE_BYTES: Final = 2**63 - 1
DRAFT: Final = "http://json-schema.org/draft-06/schema#"

FLAGS: Final = {**vocabulary.EVENT_FLAGS, **vocabulary.MACRO_FLAGS, **vocabulary.MODIFIER_FLAGS}

_EVENTS: Final = vocabulary.IN_ALL_EVENTS
_ABSENT: Final = object()


def _globs_schema(title: str, description: str) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "type": "array",
        "maxItems": globs.MAX_PATTERNS,
        "items": {"type": "string", "minLength": 1, "maxLength": globs.MAX_PATTERN_LENGTH},
    }


PROPERTIES: Final[dict[str, Any]] = {
    "path": {
        "title": "The path of the file or directory to watch",
        "description": "Absolute, below the user's root directory; symbolic links are followed.",
        "type": "string",
        "pattern": "^/(.*[^/])?$",
        "maxLength": MAX_PATH_LENGTH,
    },
    "recursive": {
        "title": "Whether everything below is watched, too",
        "description": "The name in an event is then the path below the watched directory.",
        "type": "boolean",
        "default": False,
    },
    "include": _globs_schema(
        "Which names to tell",
        "Globs. Without a slash: for the last component; with one: for the path below the watch, "
        "where ** stands for any number of directories. Events of the watched object itself are "
        "always told.",
    ),
    "exclude": _globs_schema("Which names not to tell", "Globs, as in include; they win over it."),
    "details": {
        "title": "Whether to tell more about each event",
        "description": "Adds a member details: path, size, checksums, locality, owner, time.",
        "type": "boolean",
        "default": False,
    },
}
"""JSON Schema of the members that all selectors on the namespace have."""


def schema(identity: str, title: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema (draft 06) of a selector with these members."""
    return {
        "$id": identity,
        "$schema": DRAFT,
        "title": title,
        "type": "object",
        "properties": dict(properties),
        "required": ["path"],
        "additionalProperties": False,
    }


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


class Members:
    """A selector's members, taken out one by one; null counts as absent.

    Raises:
        BadSelector: not a JSON object, or a member that is not known.
    """

    def __init__(self, selector: Any, known: Iterable[str]) -> None:
        if not isinstance(selector, dict):
            raise BadSelector("Bad selector: a JSON object is expected")
        known = list(known)
        for name in selector:
            if name not in known:
                raise BadSelector(
                    f'Bad selector: Unrecognized field "{name[:100]}"{_near(name, known)}'
                )
        self._selector = {name: value for name, value in selector.items() if value is not None}

    def path(self) -> str:
        """Take `path`, which must be there."""
        value = self._selector.get("path", _ABSENT)
        if value is _ABSENT:
            raise BadSelector('Bad selector: Missing "path"')
        if not isinstance(value, str):
            raise BadSelector('Bad selector: "path" must be a string')
        if len(value) > MAX_PATH_LENGTH:
            raise BadSelector(f'Bad selector: "path" is longer than {MAX_PATH_LENGTH} characters')
        if "\0" in value:
            raise BadSelector('Bad selector: "path" contains a NUL character')
        return value

    def boolean(self, name: str) -> bool:
        """Take a true or false; absent: false."""
        value = self._selector.get(name, False)
        if not isinstance(value, bool):
            raise BadSelector(f'Bad selector: "{name}" must be true or false')
        return value

    def size(self, name: str) -> int | None:
        """Take a number of bytes, if it is there."""
        value = self._selector.get(name)
        if value is None:
            return None
        # to Python, true is an int
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadSelector(f'Bad selector: "{name}" must be a whole number of bytes')
        if not 0 <= value <= MAX_SIZE_BYTES:
            raise BadSelector(f'Bad selector: "{name}" must be between 0 and 2^63-1')
        return value

    def strings(self, name: str) -> tuple[str, ...]:
        """Take an array of strings; absent: none."""
        value = self._selector.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadSelector(f'Bad selector: "{name}" must be an array of strings')
        return tuple(value)

    def globs(self, name: str) -> tuple[str, ...]:
        """Take an array of globs; absent: none."""
        value = self.strings(name)
        if len(value) > globs.MAX_PATTERNS:
            raise BadSelector(
                f'Bad selector: "{name}" has more than {globs.MAX_PATTERNS} patterns'
            )
        for item in value:
            if not 0 < len(item) <= globs.MAX_PATTERN_LENGTH:
                raise BadSelector(
                    f'Bad selector: a pattern in "{name}" must have 1 to '
                    f"{globs.MAX_PATTERN_LENGTH} characters"
                )
        return value

    def flags(self) -> tuple[int, int]:
        """Take inotify flags (an array, or one string with commas) as (events, modifiers)."""
        value = self._selector.get("flags")
        if value is None:
            return _EVENTS, 0
        if isinstance(value, str):
            value = [name for part in value.split(",") if (name := part.strip())]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadSelector('Bad selector: "flags" must be an array of strings')
        bits = 0
        for name in value:
            if name not in FLAGS:
                raise BadSelector(f'Bad selector: Unknown flag "{name[:100]}"{_near(name, FLAGS)}')
            bits |= FLAGS[name]
        return bits & _EVENTS, bits & ~_EVENTS


def namespace_watch(members: Members) -> Watch:
    """Return the watch that the members common to all namespace selectors ask for."""
    return Watch(
        path=members.path(),
        recursive=members.boolean("recursive"),
        include=members.globs("include"),
        exclude=members.globs("exclude"),
        details=members.boolean("details"),
    )
