"""Permissions and scopes: who may see what, as pure functions of text.

A *permission* is what one object says about who may do what with it (`uid:gid:mode`, then
`|ACL`). A *scope* is what an event asks of its readers: for each object on the way, the rights
needed and its permission (`x=1000:1000:750 rx=0:0:700`); the empty scope is open to everybody.
The text of both is described on the page "The seams".

Root is asked nothing. What everybody passes is left out of a scope, so most scopes are short and
few, and decisions are remembered for each scope and principal: a warm `may_see` is a dictionary
look-up.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from pipeline.authz import checks
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.authz.principal import Principal

OPEN: Final = ""
"""The scope of what everybody may see."""

STICKY: Final = 0o1000

_REMEMBERED_TEXTS: Final = 16_384
_REMEMBERED_DECISIONS: Final = 1024


def permission(uid: int, gid: int, mode: int, acl: str = "") -> str:
    """Write a permission; of `mode` the file type is left out, `acl` may be empty."""
    text = f"{uid}:{gid}:{mode & 0o7777:o}"
    return f"{text}|{acl}" if acl else text


def owner(permission: str) -> int:
    """Return the owner's user id.

    Raises:
        BadRecord: the text is not a permission.
    """
    return checks.parse(permission).uid


def split(permissions: str) -> list[str]:
    """Split the permissions of a path into those of its objects, from the root down."""
    return permissions.split(" ")


def join(permissions: Iterable[str]) -> str:
    """Join the permissions of the objects on a path, from the root down."""
    return " ".join(permissions)


def allows(principal: Principal, permission: str, needs: str) -> bool:
    """Whether a permission gives a principal all the rights in `needs` (of `rwx`).

    Raises:
        BadRecord: the text is not a permission.
    """
    return principal.is_root or checks.passes(principal, checks.check(permission, needs))


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
    of = checks.parse(directory)
    return (
        not of.mode & STICKY
        or principal.is_root
        or principal.uid in {of.uid, checks.parse(entry).uid}
    )  # fmt: skip


def _scope(needed: Iterable[tuple[str, str]]) -> str:
    """Make the scope that needs these (rights, permission): without open ones, each once."""
    merged: dict[str, str] = {}
    for needs, text in needed:
        of = checks.parse(text)
        closed = {right for right in needs if not checks.open_to_everybody(of, right)}
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
        if not checks.open_to_everybody(checks.parse(text), "r")
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


@functools.lru_cache(maxsize=_REMEMBERED_TEXTS)
def _compiled(scope: str) -> tuple[str, tuple[checks.Check, ...]]:
    """Return the one copy of a scope's text that is remembered, and what it compares."""
    return scope, tuple(checks.check(text, needs) for needs, text in _entries(scope))


def _decided(principal: Principal, scope: str) -> bool:
    """Decide, and remember it."""
    text, needed = _compiled(scope)
    decision = True
    if not principal.is_root:
        for check in needed:
            if not checks.passes(principal, check):
                decision = False
                break
    decisions = principal.decisions
    if len(decisions) >= _REMEMBERED_DECISIONS:
        decisions.clear()
    decisions[text] = decision
    return decision


def may_see(principal: Principal, scope: str) -> bool:
    """Whether a principal may see what has this scope.

    What a token takes away is not looked at here (`pipeline.authz.caveats`).

    Raises:
        BadRecord: the text is not a scope.
    """
    if not scope:
        return True
    decision = principal.decisions.get(scope)
    return _decided(principal, scope) if decision is None else decision
