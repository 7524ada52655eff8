"""Globs on names and on paths below a watch, as in `.gitignore` and the shell.

A pattern without a slash is compared with the last component, one with a slash with the whole path
below the watch. `*` and `?` stay inside one component, `**` as a component stands for any number
of them, `[a-z]` and `[!a-z]` are sets. Patterns come from users, so matching takes time
proportional to pattern times path, whatever they are.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_PATTERNS: Final = 64
MAX_PATTERN_LENGTH: Final = 1024


def _bracket(pattern: str, start: int) -> tuple[str, int]:
    """Translate the set that begins at `start`; return its expression and where it ends."""
    end = pattern.find("]", start + (3 if pattern[start + 1 : start + 2] in ("!", "^") else 2))
    if end < 0:
        return re.escape("["), start + 1
    inside = pattern[start + 1 : end]
    negated = inside[0] in "!^"
    letters = inside[1:] if negated else inside
    # a range such as z-a is an error to `re`, and empty to a shell
    ranges = re.sub(
        r"(.)-(.)", lambda m: m[0] if m[1] <= m[2] else "", letters.replace("\\", "\\\\")
    )
    if not ranges:
        return (r"[^/]" if negated else r"(?!)"), end + 1
    escaped = re.sub(r"([\[\]^&~|])", r"\\\1", ranges)
    return f"[{'^' if negated else ''}{escaped}]", end + 1


@functools.lru_cache(maxsize=4096)
def _component(pattern: str) -> re.Pattern[str]:
    """Compile the glob of one component.

    Each star is followed by the shortest match of what stands after it, without going back: for
    globs that is enough, and it cannot explode.
    """
    parts: list[str] = [""]
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "*":
            if parts[-1] or len(parts) == 1:
                parts.append("")
        elif letter == "?":
            parts[-1] += "."
        elif letter == "[":
            expression, position = _bracket(pattern, position - 1)
            parts[-1] += expression
        else:
            parts[-1] += re.escape(letter)
    first, *rest = parts
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    body = "".join(f"(?>.*?{part})" for part in middle)
    return re.compile(f"{first}{body}.*{last}", re.DOTALL)


def _components_match(patterns: Sequence[str], parts: Sequence[str]) -> bool:
    """Match components one by one; on a mismatch let the last `**` take one component more."""
    at, here, resume = 0, 0, None
    while here < len(parts):
        if at < len(patterns) and patterns[at] == "**":
            resume = (at, here)
            at += 1
        elif at < len(patterns) and _component(patterns[at]).fullmatch(parts[here]):
            at, here = at + 1, here + 1
        elif resume is not None:
            at, here = resume[0] + 1, resume[1] + 1
            resume = (resume[0], here)
        else:
            return False
    return all(pattern == "**" for pattern in patterns[at:])


def matches(pattern: str, path: str) -> bool:
    """Whether a path below a watch (a name, where it is directly in it) fits a pattern."""
    if "/" not in pattern:
        return _component(pattern).fullmatch(path.rpartition("/")[2]) is not None
    return _components_match(pattern.strip("/").split("/"), path.split("/"))


def selects(include: Iterable[str], exclude: Iterable[str], path: str) -> bool:
    """Whether a path passes the filters: some `include`, if there are any, and no `exclude`."""
    if any(matches(pattern, path) for pattern in exclude):
        return False
    included = tuple(include)
    return not included or any(matches(pattern, path) for pattern in included)
