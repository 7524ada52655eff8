"""Access control lists in NFSv4's manner: text, meaning, what a new object inherits.

An ACL is entries joined by commas, each `type:flags:who:rights` (`A::g=1000:rx`). Entries are
tried in order; for each right the first entry that names the principal and has the right decides.
What no entry decides falls to the mode (`pipeline.authz.scope`).

* type: `A` allow, `D` deny.
* flags: `f` inherited by files, `d` by directories, `i` only inherited (says nothing about the
  directory it stands on), `n` not further than one level; or none.
* who: `u=UID`, `g=GID`, `OWNER@`, `GROUP@`, `EVERYONE@`.
* rights: of `r`, `w`, `x`.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from schemas.errors import BadRecord

MAX_ENTRIES: Final = 64
"""The most entries an ACL may have: they travel in every record of what is below."""

_TYPES: Final = frozenset("AD")
_FLAGS: Final = "fdin"
_RIGHTS: Final = "rwx"
_SPECIAL: Final = frozenset({"OWNER@", "GROUP@", "EVERYONE@"})


class Entry(NamedTuple):
    """One entry of an ACL.

    Attributes:
        allows: whether it allows or denies.
        flags: of `fdin`, in that order.
        who: whom it names, as in the text.
        rights: of `rwx`, in that order.
    """

    allows: bool
    flags: str
    who: str
    rights: str

    @property
    def inherit_only(self) -> bool:
        """Whether it says nothing about the object it stands on."""
        return "i" in self.flags

    def text(self) -> str:
        """Return the entry as it is written."""
        return f"{'A' if self.allows else 'D'}:{self.flags}:{self.who}:{self.rights}"


def _ordered(letters: str, alphabet: str, what: str, entry: str) -> str:
    if set(letters) - set(alphabet) or len(set(letters)) != len(letters):
        raise BadRecord(f"ACL entry {entry!r}: {what} must be different letters of {alphabet!r}")
    return "".join(letter for letter in alphabet if letter in letters)


def _who(who: str, entry: str) -> str:
    if who in _SPECIAL:
        return who
    kind, equals, number = who.partition("=")
    # isdigit alone would take digits of other scripts
    if kind in {"u", "g"} and equals and number.isascii() and number.isdigit():
        return f"{kind}={int(number)}"
    raise BadRecord(
        f"ACL entry {entry!r}: who must be u=UID, g=GID, OWNER@, GROUP@ or EVERYONE@, not {who!r}"
    )


def _parse_entry(text: str) -> Entry:
    parts = text.split(":")
    if len(parts) != 4:
        raise BadRecord(f"ACL entry {text!r} must be type:flags:who:rights")
    kind, flags, who, rights = parts
    if kind not in _TYPES:
        raise BadRecord(f"ACL entry {text!r}: type must be A or D, not {kind!r}")
    flags = _ordered(flags, _FLAGS, "flags", text)
    if not rights:
        raise BadRecord(f"ACL entry {text!r} has no rights")
    if ("i" in flags or "n" in flags) and not ("f" in flags or "d" in flags):
        raise BadRecord(f"ACL entry {text!r}: flags i and n need f or d")
    return Entry(kind == "A", flags, _who(who, text), _ordered(rights, _RIGHTS, "rights", text))


@functools.lru_cache(maxsize=4096)
def parse_acl(text: str) -> tuple[Entry, ...]:
    """Read an ACL; the empty text is the ACL without entries.

    Raises:
        BadRecord: the text is not an ACL; the message names the entry and what is wrong with it.
    """
    if not text:
        return ()
    entries = text.split(",")
    if len(entries) > MAX_ENTRIES:
        raise BadRecord(f"an ACL has at most {MAX_ENTRIES} entries, not {len(entries)}")
    return tuple(_parse_entry(entry) for entry in entries)


def acl_text(entries: tuple[Entry, ...]) -> str:
    """Write an ACL in its one canonical form."""
    return ",".join(entry.text() for entry in entries)


def inherit(parent_acl: str, *, is_directory: bool) -> str:
    """Return the ACL of a new object in a directory that has `parent_acl`.

    A file takes the entries with `f`, without flags. A directory takes those with `d` (which then
    hold for it) and those with `f` alone (to hand on, so only inherited); with `n` it takes what
    holds for it and hands nothing on.
    """
    inherited = []
    for entry in parse_acl(parent_acl):
        to_files, to_directories, last = (letter in entry.flags for letter in "fdn")
        if not is_directory:
            if to_files:
                inherited.append(entry._replace(flags=""))
        elif to_directories:
            flags = "" if last else entry.flags.replace("i", "")
            inherited.append(entry._replace(flags=flags))
        elif to_files and not last:
            inherited.append(entry._replace(flags="fi"))
    return acl_text(tuple(inherited))
