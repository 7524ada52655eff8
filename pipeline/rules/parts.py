"""What the forms of a rules file have in common: selections, lifetimes, patterns, storages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict
from urllib.parse import urlsplit

from pipeline.authz import caveats
from pipeline.rules import durations, patterns
from pipeline.rules.document import meant
from pipeline.rules.storages import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.rules.document import Section
    from pipeline.rules.patterns import Pattern, Substitution

_ACTIVITIES: Final = tuple(sorted(caveats.ACTIVITIES))


def activities(section: Section, default: str) -> tuple[str, ...]:
    """Read `activity`: dCache's words, joined by commas.

    Raises:
        RulesError: one of them is none.
    """
    words = tuple(
        word.strip().upper() for word in section.get("activity", str, default).split(",")
    )
    for word in words:
        if word not in _ACTIVITIES:
            message = f"activity {word!r} is not known{meant(word, _ACTIVITIES)}"
            raise section.error(message, "activity")
    return words


def lifetime(section: Section, key: str, default_s: float) -> float:
    """Read an ISO 8601 duration, in seconds.

    Raises:
        RulesError: it is none.
    """
    text = section.get(key, str, "")
    try:
        return durations.parse(text) if text else default_s
    except ValueError as error:
        raise section.error(f"{key}: {error}", key) from error


def pattern(
    section: Section, key: str, make: Callable[[str], Pattern] = patterns.regular
) -> Pattern | None:
    """Read a pattern, or None where the key is absent.

    Raises:
        RulesError: it cannot be used.
    """
    text = section.get(key, str, "")
    try:
        return make(text) if text else None
    except patterns.BadPattern as error:
        raise section.error(f"{key} {text!r}: {error}", key) from error


def derived_path(section: Section) -> Substitution | None:
    """Read `replacing` and `with`, which go together.

    Raises:
        RulesError: one is missing, or they cannot be used.
    """
    if "replacing" not in section.data and "with" not in section.data:
        return None
    replacing, template = section.need("replacing", str), section.need("with", str)
    try:
        return patterns.substitution(replacing, template)
    except patterns.BadPattern as error:
        raise section.error(f"replacing {replacing!r}: {error}", "replacing") from error


def web_address(section: Section, key: str) -> str:
    """Read an absolute http or https URL.

    Raises:
        RulesError: it is none, or names a user (passwords have keys of their own).
    """
    url = section.need(key, str)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise section.error(f"{key} {url!r} is not an absolute http or https URL", key)
    if parts.username or parts.query or parts.fragment:
        raise section.error(f"{key} must be an address only: no user, no query", key)
    return url


def password(section: Section) -> str:
    """Read `password`, or the first line of the file that `password_file` names.

    Raises:
        RulesError: neither or both are given, or the file cannot be read.
    """
    if ("password" in section.data) == ("password_file" in section.data):
        raise section.error("needs either password or password_file")
    if "password" in section.data:
        return section.get("password", str, "")
    file = Path(section.file).parent / section.get("password_file", str, "")
    try:
        return file.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError) as error:
        raise section.error(f"password_file {file}: cannot be read", "password_file") from error


def storages(top: Section) -> dict[str, Storage]:
    """Read the tables `storages.NAME`: `url`, `user` and the password of each.

    Raises:
        RulesError: something is missing or unknown.
    """
    return {name: _storage(part) for name, part in top.tables("storages", "storage")}


def _storage(section: Section) -> Storage:
    section.only("url", "user", "password", "password_file")
    return Storage(web_address(section, "url"), section.need("user", str), password(section))


SELECTING: Final = (
    "directories", "recursive", "matching", "ignoring", "min_size_bytes", "max_size_bytes",
    "owners",
)  # fmt: skip
"""The keys of `selection`."""


class Selecting(TypedDict):
    """The fields of a `Selection`."""

    directories: tuple[str, ...]
    recursive: bool
    matching: Pattern | None
    ignoring: Pattern | None
    min_size_bytes: int
    max_size_bytes: int | None
    owners: frozenset[str]


def selection(section: Section) -> Selecting:
    """Read which files a rule is about.

    Raises:
        RulesError: something in it cannot be used.
    """
    smallest, largest = (
        section.get("min_size_bytes", int, 0),
        section.get("max_size_bytes", int, -1),
    )
    if "max_size_bytes" in section.data and largest < smallest:
        raise section.error("max_size_bytes is below min_size_bytes", "max_size_bytes")
    return {
        "directories": tuple(_directories(section)),
        "recursive": section.get("recursive", bool, default=True),
        "matching": pattern(section, "matching", _path_pattern),
        "ignoring": pattern(section, "ignoring"),
        "min_size_bytes": smallest,
        "max_size_bytes": None if largest < 0 else largest,
        "owners": frozenset(section.texts("owners")),
    }


def _directories(section: Section) -> Iterator[str]:
    for path in section.texts("directories"):
        if not path.startswith("/"):
            raise section.error(f"directory {path!r} must begin with a slash", "directories")
        yield path.rstrip("/")


def _path_pattern(text: str) -> Pattern:
    form, colon, rest = text.partition(":")
    if colon and form == "regex":
        return patterns.regular(rest)
    return patterns.glob(rest if colon and form == "glob" else text)
