"""Globs, regular expressions and substitutions on paths, in time linear in the path's length.

A rule's author writes the pattern and any user chooses the path, so an expression that backtracks
would let one upload stop the agent. RE2 never backtracks; what it cannot say (look-around,
back-references inside a pattern) is refused at start. This module alone imports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import re2

from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_PATTERN: Final = 1000
_REFERENCE: Final = re.compile(r"\\(\d{1,2}|\\)", re.ASCII)
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 8 << 20


class BadPattern(StorageEventsError):  # noqa: N818 - named after what it is about
    """A pattern that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled expression.

    Attributes:
        text: as it was written.
        compiled: RE2's object.
    """

    text: str
    compiled: Any

    def is_whole(self, path: str) -> bool:
        """Whether the expression describes the whole path."""
        return self.compiled.fullmatch(path) is not None

    def is_found_in(self, path: str) -> bool:
        """Whether the expression is found anywhere in the path."""
        return self.compiled.search(path) is not None


def regular(text: str) -> Pattern:
    """Compile a regular expression.

    Raises:
        BadPattern: it is too long, is not one, or needs what RE2 does not have.
    """
    return Pattern(text, _compile(text))


def glob(text: str) -> Pattern:
    """Compile a glob: `*` and `?` within a name, `**` across directories, `[a-z]`, `{a,b}`.

    Without a leading slash it may begin at any directory: `*.fits` is every FITS file.

    Raises:
        BadPattern: a bracket or brace is not closed, or it is too long.
    """
    body = _glob_expression(text)
    return Pattern(text, _compile(body if text.startswith("/") else f"(?s:.*/)?{body}"))


def _compile(expression: str) -> Any:
    if len(expression) > _LONGEST_PATTERN:
        raise BadPattern(f"longer than {_LONGEST_PATTERN} characters")
    try:
        return re2.compile(expression, _OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        hint = "; look-around and back-references are not supported" if "(?" in said else ""
        raise BadPattern(f"not a regular expression: {said}{hint}") from error


def _glob_expression(text: str) -> str:
    out: list[str] = []
    braces = 0
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if text.startswith("**/", at - 1):
            out.append("(?s:.*/)?")
            at += 2
        elif text.startswith("**", at - 1):
            out.append("(?s:.*)")
            at += 1
        elif char == "[":
            end = text.find("]", at + 1)
            if end < 0:
                raise BadPattern("a [ is not closed")
            inside = text[at:end].replace("\\", "\\\\")
            out.append(f"[{'^/' + inside[1:] if inside.startswith('!') else inside}]")
            at = end + 1
        elif char == "{":
            braces += 1
            out.append("(?:")
        elif char == "}" and braces:
            braces -= 1
            out.append(")")
        elif char == "," and braces:
            out.append("|")
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re2.escape(char))
    if braces:
        raise BadPattern("a { is not closed")
    return "".join(out)


@dataclass(frozen=True, slots=True)
class Substitution:
    r"""How a derived path is made: what `replacing` finds first is replaced by `with`.

    In `with`, `\1` to `\99` are the groups of `replacing`, `\0` all that was found, and `\\` a
    backslash.

    Attributes:
        replacing: what is looked for.
        pieces: `with`, cut into text and group numbers.
        shape: is found in every path that `apply` can make, and maybe in others.
    """

    replacing: Pattern
    pieces: tuple[str | int, ...]
    shape: Pattern

    def apply(self, path: str) -> str | None:
        """Return the derived path, or None if `replacing` is not found in `path`."""
        found = self.replacing.compiled.search(path)
        if found is None:
            return None
        new = "".join(
            piece if isinstance(piece, str) else (found.group(piece) or "")
            for piece in self.pieces
        )
        return f"{path[: found.start()]}{new}{path[found.end() :]}"


def substitution(replacing: str, template: str) -> Substitution:
    """Compile a substitution.

    Args:
        replacing: a regular expression.
        template: what replaces it.

    Raises:
        BadPattern: `replacing` is no expression, or `template` names a group that it has not.
    """
    pattern = regular(replacing)
    pieces = tuple(_pieces(template, pattern.compiled.groups))
    return Substitution(pattern, pieces, _shape(replacing, pieces))


def _pieces(template: str, groups: int) -> Iterator[str | int]:
    at = 0
    for found in _REFERENCE.finditer(template):
        if found.start() > at:
            yield template[at : found.start()]
        at = found.end()
        digits = found.group(1)
        if digits == "\\":
            yield "\\"
        elif int(digits) <= groups:
            yield int(digits)
        elif int(digits[0]) <= groups:
            yield int(digits[0])
            yield digits[1:]
        else:
            raise BadPattern(f"\\{digits}: 'replacing' has {groups} groups")
    if at < len(template):
        yield template[at:]


def _shape(replacing: str, pieces: tuple[str | int, ...]) -> Pattern:
    body = "".join(re2.escape(piece) if isinstance(piece, str) else "(?s:.*)" for piece in pieces)
    is_one = "|" not in replacing
    begins = is_one and replacing.startswith("^")
    ends = is_one and replacing.endswith("$") and not replacing.endswith(r"\$")
    return Pattern(body, _compile(f"{'^' if begins else ''}{body}{'$' if ends else ''}"))
