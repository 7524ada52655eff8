"""Conditional requests and ranges as RFC 9110 (13.2.2 and 14.2) has them, before WsgiDAV decides.

WsgiDAV 4.4 looks at no condition on what is not there, sends again what was not modified since the
very second it is asked about, and makes something of ranges that are none, or are several.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wsgidav.util import parse_time_string

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

NOT_MODIFIED: Final = 304
FAILED: Final = 412

EXCLUSIVE: Final = "storage.exclusive"
"""In the WSGI environment: the request makes its object, or fails."""

HOLDS: Final = "storage.holds"
"""In the WSGI environment of a conditional request: says of what is there (`There`, or None) now
whether the conditions hold."""

_CONDITIONS: Final = (
    "HTTP_IF_MATCH",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
)
_READING: Final = frozenset({"GET", "HEAD"})
_MAKING: Final = frozenset({"PUT", "MKCOL", "LOCK"})
_JUDGED: Final = _READING | _MAKING | {"DELETE", "COPY", "MOVE", "PROPPATCH"}
_ONE_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(?:(\d+)-(\d*)|-0*[1-9]\d*)\s*", re.IGNORECASE)


class There(NamedTuple):
    """What is known of the object that a request is for.

    Attributes:
        etag: its entity tag, without quotes; None: it has none.
        modified_s: when it was last modified, epoch seconds; None: not to be compared.
    """

    etag: str | None
    modified_s: int | None


def is_conditional(environ: Mapping[str, Any]) -> bool:
    """Whether a request has conditions that count for its method."""
    return environ["REQUEST_METHOD"] in _JUDGED and any(name in environ for name in _CONDITIONS)


def refusal(environ: Mapping[str, Any], there: There | None) -> int:
    """Return the status with which a request's conditions end it; 0: they hold.

    Args:
        environ: the WSGI environment.
        there: the object; None: there is none.
    """
    reads = environ["REQUEST_METHOD"] in _READING
    if there is None and environ["REQUEST_METHOD"] not in _MAKING:
        return 0  # it is not found, whatever the conditions
    if "HTTP_IF_MATCH" in environ:
        if not _matches(environ["HTTP_IF_MATCH"], there, strongly=True):
            return FAILED
    elif there and _compare(environ.get("HTTP_IF_UNMODIFIED_SINCE"), there) is False:
        return FAILED
    if "HTTP_IF_NONE_MATCH" in environ:
        if _matches(environ["HTTP_IF_NONE_MATCH"], there, strongly=False):
            return NOT_MODIFIED if reads else FAILED
    elif reads and there and _compare(environ.get("HTTP_IF_MODIFIED_SINCE"), there):
        return NOT_MODIFIED
    return 0


def settle(environ: MutableMapping[str, Any]) -> None:
    """Leave WsgiDAV no condition to judge again, and only a range that it understands."""
    if is_conditional(environ):
        asked = {name: environ[name] for name in _CONDITIONS if name in environ}
        asked["REQUEST_METHOD"] = environ["REQUEST_METHOD"]
        environ[HOLDS] = lambda there: not refusal(asked, there)
    if environ.get("HTTP_IF_NONE_MATCH", "").strip() == "*":
        environ[EXCLUSIVE] = True
    for name in _CONDITIONS:
        environ.pop(name, None)
    if environ["REQUEST_METHOD"] != "GET" or not _is_one_range(environ.get("HTTP_RANGE", "")):
        environ.pop("HTTP_RANGE", None)


def _is_one_range(header: str) -> bool:
    """Whether a `Range` is one that a server should follow; it may ignore any other."""
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        return False
    first, last = found.groups()
    return not (first and last) or int(first) <= int(last)


def _matches(header: str, there: There | None, *, strongly: bool) -> bool:
    if there is None:
        return False
    if header.strip() == "*":
        return True
    tags = (tag.strip() for tag in header.split(","))
    if strongly:
        tags = (tag for tag in tags if not tag.startswith("W/"))
    return there.etag in {tag.removeprefix("W/").strip('"') for tag in tags}


def _compare(date: str | None, there: There) -> bool | None:
    """Whether an object was not modified after a date; None: it cannot be said."""
    asked_s: int | None = None if date is None else parse_time_string(date)
    if asked_s is None or there.modified_s is None:
        return None
    return there.modified_s <= asked_s
