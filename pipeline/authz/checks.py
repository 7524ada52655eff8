"""What one object's permission lets whom do: read once, compared often.

The rule is POSIX's: owner, else any group, else others; the first class that fits decides, also
if a later one would allow more. ACL entries come first.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.authz import acl as acls
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from pipeline.authz.principal import Principal

_BITS: Final = {"r": 4, "w": 2, "x": 1}
_REMEMBERED: Final = 16_384


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


@functools.lru_cache(maxsize=_REMEMBERED)
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


class _Rule(NamedTuple):
    """An ACL entry about one object: whom it names is a number, or everybody."""

    allows: bool
    uid: int | None
    gid: int | None
    rights: str


class Check(NamedTuple):
    """What has to be compared to decide about certain rights on an object.

    Attributes:
        uid: owner.
        gid: owning group.
        owner: whether the mode gives the owner all of them.
        group: whether it gives them to the group.
        others: whether it gives them to everybody else.
        rules: the ACL entries that speak about any of them; mostly none.
        needs: the rights.
        mode: the mode.
    """

    uid: int
    gid: int
    owner: bool
    group: bool
    others: bool
    rules: tuple[_Rule, ...]
    needs: str
    mode: int


def _rule(entry: acls.Entry, of: Permission) -> _Rule:
    uid = gid = None
    if entry.who == "OWNER@":
        uid = of.uid
    elif entry.who == "GROUP@":
        gid = of.gid
    elif entry.who[0] == "u":
        uid = int(entry.who[2:])
    elif entry.who[0] == "g":
        gid = int(entry.who[2:])
    return _Rule(entry.allows, uid, gid, entry.rights)


@functools.lru_cache(maxsize=_REMEMBERED)
def check(text: str, needs: str) -> Check:
    """Return what decides about the rights in `needs` on an object with that permission.

    Raises:
        BadRecord: the text is not a permission.
    """
    of = parse(text)
    bits = sum(_BITS[right] for right in needs)
    owner, group, others = (of.mode >> shift & bits == bits for shift in (6, 3, 0))
    rules = tuple(_rule(entry, of) for entry in of.acl if set(entry.rights) & set(needs))
    return Check(of.uid, of.gid, owner, group, others, rules, needs, of.mode)


def _names(rule: _Rule, principal: Principal) -> bool:
    if rule.uid is not None:
        return rule.uid == principal.uid
    return rule.gid is None or rule.gid in principal.gids


def _decide(check: Check, right: str, principal: Principal) -> bool:
    for rule in check.rules:
        if right in rule.rights and _names(rule, principal):
            return rule.allows
    in_group = check.gid in principal.gids
    shift = 6 if principal.uid == check.uid else 3 if in_group else 0
    return bool(check.mode >> shift & _BITS[right])


def passes(principal: Principal, check: Check) -> bool:
    """Whether a principal who is not root has all the rights."""
    if check.rules:
        return all(_decide(check, right, principal) for right in check.needs)
    if principal.uid == check.uid:
        return check.owner
    return check.group if check.gid in principal.gids else check.others


def open_to_everybody(of: Permission, right: str) -> bool:
    """Whether no principal at all can be refused a right: true only if each outcome grants it."""
    for entry in of.acl:
        if right in entry.rights:
            if not entry.allows:
                return False
            if entry.who == "EVERYONE@":
                return True
    bit = _BITS[right]
    return of.mode & (bit << 6 | bit << 3 | bit) == bit << 6 | bit << 3 | bit
