"""Permissions and scopes: who may see what, as pure functions of text.

A *permission* is what one object says about who may do what with it (`uid:gid:mode`, then
`|ACL`). A *scope* is what an event asks of its readers: for each object on the way, the rights
needed and its permission (`x=1000:1000:750 rx=0:0:700`); the empty scope is open to everybody.
The text of both is described on the page "The seams".

The rule is POSIX's: owner, else any group, else others; the first class that fits decides, also
if a later one would allow more. ACL entries come first. Root is asked nothing. What everybody
passes is left out of a scope, so most scopes are short and few, and decisions are remembered for
each scope and principal: a warm `may_see` is a dictionary look-up.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.authz import acl as acls
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.authz.principal import Principal

OPEN: Final = ""
"""The scope of what everybody may see."""

STICKY: Final = 0o1000

_BITS: Final = {"r": 4, "w": 2, "x": 1}
_REMEMBERED_TEXTS: Final = 16_384
_REMEMBERED_DECISIONS: Final = 1024


class Permission(NamedTuple):
    """A permission, read.

    Attributes:
        uid: owner.
        gid: owning group.
        mode: POSIX mode bits, with set-id and sticky bits.
        acl: the ACL's entries that speak about the object itself.
    """

    uid: int
    gid: int
    mode: int
    acl: tuple[acls.Entry, ...]


def permission(uid: int, gid: int, mode: int, acl: str = "") -> str:
    """Write a permission; of `mode` the file type is left out, `acl` may be empty."""
    text = f"{uid}:{gid}:{mode & 0o7777:o}"
    return f"{text}|{acl}" if acl else text


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def parse(text: str) -> Permission:
    """Read a permission.

    Raises:
        BadRecord: it is none.
    """
    numbers, _, acl = text.partition("|")
    try:
        uid, gid, mode = numbers.split(":")
        return Permission(
            int(uid),
            int(gid),
            int(mode, 8),
            tuple(entry for entry in acls.parse_acl(acl) if not entry.inherit_only),
        )
    except ValueError:
        raise BadRecord(f"not a permission (uid:gid:mode|acl): {text!r}") from None


def split(permissions: str) -> list[str]:
    """Split the permissions of a path into those of its objects, from the root down."""
    return permissions.split(" ")


def join(permissions: Iterable[str]) -> str:
    """Join the permissions of the objects on a path, from the root down."""
    return " ".join(permissions)


def _names(entry: acls.Entry, of: Permission, principal: Principal) -> bool:
    who = entry.who
    if who == "EVERYONE@":
        return True
    if who == "OWNER@":
        return principal.uid == of.uid
    if who == "GROUP@":
        return of.gid in principal.gids
    number = int(who[2:])
    return principal.uid == number if who[0] == "u" else number in principal.gids


def _class_bits(of: Permission, principal: Principal) -> int:
    if principal.uid == of.uid:
        return of.mode >> 6
    if of.gid in principal.gids:
        return of.mode >> 3
    return of.mode


def _decide(of: Permission, right: str, principal: Principal) -> bool:
    for entry in of.acl:
        if right in entry.rights and _names(entry, of, principal):
            return entry.allows
    return bool(_class_bits(of, principal) & _BITS[right])


def allows(principal: Principal, permission: str, needs: str) -> bool:
    """Whether a permission gives a principal all the rights in `needs` (of `rwx`).

    Raises:
        BadRecord: the text is not a permission.
    """
    if principal.is_root:
        return True
    of = parse(permission)
    return all(_decide(of, right, principal) for right in needs)


def may_remove(principal: Principal, directory: str, entry: str) -> bool:
    """Whether a principal may remove or rename away an entry of a directory.

    It needs write and execute on the directory and, where that is sticky, to own one of the two.

    Args:
        principal: who.
        directory: the directory's permission.
        entry: the permission of what is removed.
    """
    if not allows(principal, directory, "wx"):
        return False
    of = parse(directory)
    return (
        not of.mode & STICKY
        or principal.is_root
        or principal.uid in {of.uid, parse(entry).uid}
    )  # fmt: skip


def _open_to_everybody(of: Permission, right: str) -> bool:
    """Whether no principal at all can be refused a right: true only if each outcome grants it."""
    for entry in of.acl:
        if right in entry.rights:
            if not entry.allows:
                return False
            if entry.who == "EVERYONE@":
                return True
    bit = _BITS[right]
    return of.mode & (bit << 6 | bit << 3 | bit) == bit << 6 | bit << 3 | bit


def _scope(needed: Iterable[tuple[str, str]]) -> str:
    """Make the scope that needs these (rights, permission): without open ones, each once."""
    merged: dict[str, str] = {}
    for needs, text in needed:
        of = parse(text)
        closed = {right for right in needs if not _open_to_everybody(of, right)}
        if closed:
            closed.update(merged.get(text, ""))
            merged[text] = "".join(right for right in "rwx" if right in closed)
    return " ".join(f"{needs}={text}" for text, needs in merged.items())


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def named_scope(permissions: str) -> str:
    """Return the scope of an event with a name, told to the watchers of the parent.

    Args:
        permissions: from the root to the object; its own, the last, is not asked.

    Raises:
        BadRecord: not permissions, or of the root alone, which has no parent.
    """
    if " " not in permissions:
        raise BadRecord(f"permissions of a parent and an object expected, not {permissions!r}")
    *above, parent, _ = split(permissions)
    return _scope([*(("x", text) for text in above), ("rx", parent)])


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def own_scope(permissions: str) -> str:
    """Return the scope of an event of the object itself.

    Args:
        permissions: from the root to the object.

    Raises:
        BadRecord: not permissions.
    """
    *above, own = split(permissions)
    return _scope([*(("x", text) for text in above), ("r", own)])


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def unlisted(permissions: str) -> str:
    """Return the directories above the parent that not everybody may list.

    Args:
        permissions: from the root to the object.

    Returns:
        For each such directory `index=permission` (the root's index is 0), joined by one space:
        what `recursive_scope` takes.
    """
    return " ".join(
        f"{index}={text}"
        for index, text in enumerate(split(permissions)[:-2])
        if not _open_to_everybody(parse(text), "r")
    )


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def recursive_scope(scope: str, unlisted: str, depth: int) -> str:
    """Return the scope of an event with a name for a recursive watch on a directory above.

    Such an event tells the names of the directories between, so they must be readable, too.

    Args:
        scope: the event's `named_scope`.
        unlisted: its `unlisted` directories.
        depth: the index of the watched directory, counted from the root's 0.
    """
    between = [("r", text) for index, text in _entries(unlisted) if int(index) >= depth]
    return _scope([*_entries(scope), *between]) if between else scope


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def _entries(scope: str) -> tuple[tuple[str, str], ...]:
    parts = (entry.partition("=") for entry in scope.split(" ") if entry)
    return tuple((needs, text) for needs, _, text in parts)


def may_see(principal: Principal, scope: str) -> bool:
    """Whether a principal may see what has this scope.

    What a token takes away is not looked at here (`pipeline.authz.caveats`).

    Raises:
        BadRecord: the text is not a scope.
    """
    if not scope:
        return True
    decisions = principal.decisions
    decision = decisions.get(scope)
    if decision is None:
        decision = all(allows(principal, text, needs) for needs, text in _entries(scope))
        if len(decisions) >= _REMEMBERED_DECISIONS:
            decisions.clear()
        decisions[scope] = decision
    return decision
