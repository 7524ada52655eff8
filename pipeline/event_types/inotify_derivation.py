"""Which inotify(7) events follow from an operation, in the kernel's order, and who is told.

Where the order or the presence of a flag was in doubt the Linux kernel was asked:
`tests/conformance/kernel`. Some of its answers surprise: an object's own IN_DELETE_SELF comes
before the parent's IN_DELETE; IN_DELETE_SELF and IN_MOVE_SELF never carry IN_ISDIR.

A move across shards is two records. The FROM half, in the old shard, tells the old parent and the
object itself (IN_MOVE_SELF): a watch on the object lives in the old shard until then, and finds
in the message which number of which shard it goes on after. The TO half tells the new parent and
what was overwritten.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.authz import scope
from schemas import vocabulary
from schemas.vocabulary import FILE_ID_BYTES, FileType, Half, Kind, Role

if TYPE_CHECKING:
    from schemas.records import BillingRecord, InotifyMessage

_PARENT, _SOURCE_PARENT, _SELF, _OVERWRITTEN = Role
_BOTH = (_PARENT, _SELF)

# inotify(7): these two never carry IN_ISDIR
_WITHOUT_ISDIR: Final = vocabulary.IN_MOVE_SELF | vocabulary.IN_DELETE_SELF
_ACCESS_ATTRIBUTES: Final = frozenset({"mode", "owner", "group", "acl"})

_Steps = tuple[tuple[int, tuple[Role, ...]], ...]

_STEPS: Final[dict[str, _Steps]] = {
    Kind.CREATE: ((vocabulary.IN_CREATE, (_PARENT,)),),
    Kind.MKDIR: ((vocabulary.IN_CREATE, (_PARENT,)),),
    Kind.SYMLINK: ((vocabulary.IN_CREATE, (_PARENT,)),),
    Kind.UPLOAD: (
        (vocabulary.IN_OPEN, _BOTH),
        (vocabulary.IN_MODIFY, _BOTH),
        (vocabulary.IN_CLOSE_WRITE, _BOTH),
    ),
    Kind.READ: (
        (vocabulary.IN_OPEN, _BOTH),
        (vocabulary.IN_ACCESS, _BOTH),
        (vocabulary.IN_CLOSE_NOWRITE, _BOTH),
    ),
    Kind.LIST: (
        (vocabulary.IN_OPEN, _BOTH),
        (vocabulary.IN_ACCESS, _BOTH),
        (vocabulary.IN_CLOSE_NOWRITE, _BOTH),
    ),
    Kind.DELETE: (
        (vocabulary.IN_ATTRIB, (_SELF,)),
        (vocabulary.IN_DELETE_SELF, (_SELF,)),
        (vocabulary.IN_DELETE, (_PARENT,)),
    ),
    Kind.RMDIR: (
        (vocabulary.IN_DELETE_SELF, (_SELF,)),
        (vocabulary.IN_DELETE, (_PARENT,)),
    ),
    **dict.fromkeys(
        (Kind.SETATTR, Kind.FLUSH, Kind.STAGE, Kind.EVICT, Kind.QOS, Kind.LOST),
        ((vocabulary.IN_ATTRIB, _BOTH),),
    ),
}
"""What each kind of operation but RENAME tells, and to whom, in order."""

_RENAME: Final[_Steps] = (
    (vocabulary.IN_MOVED_FROM, (_SOURCE_PARENT,)),
    (vocabulary.IN_MOVED_TO, (_PARENT,)),
    (vocabulary.IN_ATTRIB, (_OVERWRITTEN,)),
    (vocabulary.IN_MOVE_SELF, (_SELF,)),
    (vocabulary.IN_DELETE_SELF, (_OVERWRITTEN,)),
)
_HALVES: Final[dict[str, frozenset[Role]]] = {
    Half.WHOLE: frozenset(Role),
    # a watch on the object lives in the old shard: there it is told, and sent on to the twin
    Half.FROM: frozenset({_SOURCE_PARENT, _SELF}),
    Half.TO: frozenset({_PARENT, _OVERWRITTEN}),
}
_MODIFY: Final[_Steps] = ((vocabulary.IN_MODIFY, _BOTH),)
_REMEMBERED_AUDIENCES: Final = 16_384
_TRANSFERS: Final = frozenset({Kind.UPLOAD, Kind.READ})
_TRANSFER_EVENTS: Final = vocabulary.IN_MODIFY | vocabulary.IN_ACCESS


@dataclass(frozen=True, eq=False, slots=True)
class _Pattern:
    """The events of one sort of operation, and the roles told, parents first."""

    roles: tuple[Role, ...]
    role_numbers: tuple[int, ...]
    masks: tuple[int, ...]
    to: tuple[int, ...]


class _Sort(NamedTuple):
    """What of a record decides which events follow; most records are of a few sorts.

    Attributes:
        kind: the operation.
        failed: whether it failed.
        touches: whether it moved a byte, or cut what was there before (as O_TRUNC does).
        resizes: whether it cut or filled a file to a size.
        half: which part of a rename it is.
        type: what the object is.
        overwritten: what the object is that a rename replaced; None: it replaced nothing.
        has_parent: whether the object is not the root.
    """

    kind: str
    failed: bool
    touches: bool
    resizes: bool
    half: str
    type: str
    overwritten: str | None
    has_parent: bool


def _steps(sort: _Sort) -> _Steps:
    """Return what an operation tells, and to whom; nothing, if nothing."""
    kind = sort.kind
    if sort.failed and kind != Kind.READ:
        # what failed changed nothing; a read that failed half-way has still been one
        return ()
    if kind == Kind.RENAME:
        return _RENAME
    if kind == Kind.SETATTR and sort.resizes:
        return _MODIFY
    steps = _STEPS.get(kind, ())
    if kind in _TRANSFERS and not sort.touches:
        return tuple(step for step in steps if not step[0] & _TRANSFER_EVENTS)
    return steps


def _mask(mask: int, file_type: str | None) -> int:
    if file_type == FileType.DIR and not mask & _WITHOUT_ISDIR:
        return mask | vocabulary.IN_ISDIR
    return mask


@functools.cache
def _pattern(*decides: Any) -> _Pattern:
    """Return the pattern of records for which these, the members of `_Sort`, are as given."""
    sort = _Sort(*decides)
    told = set(_HALVES[sort.half])
    if not sort.has_parent:
        told.discard(_PARENT)
    if sort.overwritten is None:
        told.discard(_OVERWRITTEN)
    chosen = [(mask, role) for mask, roles in _steps(sort) for role in roles if role in told]
    # a rename's source comes first, so that the order of `watched` is the order of telling
    order = (_SOURCE_PARENT, _PARENT, _SELF, _OVERWRITTEN)
    roles = tuple(role for role in order if any(role is other for _, other in chosen))
    masks = tuple(
        _mask(mask, sort.overwritten if role is _OVERWRITTEN else sort.type)
        for mask, role in chosen
    )
    return _Pattern(
        roles, tuple(map(int, roles)), masks, tuple(roles.index(role) for _, role in chosen)
    )


def _pattern_of(record: BillingRecord) -> _Pattern:
    moved, attribute = record["transferred_bytes"], record["attribute"]
    overwritten = record["overwritten"]
    return _pattern(
        record["kind"],
        record["status_code"] != 0,
        bool(record["size_bytes"] if moved is None else moved) or attribute == "overwrite",
        attribute == "size",
        record["half"],
        record["type"],
        overwritten["type"] if overwritten else None,
        bool(record["ancestors"]),
    )


class _Audience(NamedTuple):
    """Who may see what is told in each role, and who owns the object.

    Attributes:
        scopes: for each role.
        unlisted: for each role, the directories above that not everybody may list.
        owner_uid: the object's owner.
    """

    scopes: tuple[str, ...]
    unlisted: tuple[str, ...]
    owner_uid: int


@functools.lru_cache(maxsize=_REMEMBERED_AUDIENCES)
def _audience(
    pattern: _Pattern, permissions: str, source: str | None, overwritten: str | None
) -> _Audience:
    """Return who may see an event.

    Args:
        pattern: who is told.
        permissions: of the object, from the root down.
        source: those of where it was before, if it moved.
        overwritten: the permission of what it replaced, if it did.
    """
    above, _, own = permissions.rpartition(" ")
    scopes, unlisted = [], []
    for role in pattern.roles:
        if role is _PARENT or role is _SOURCE_PARENT:
            of = permissions if role is _PARENT else source
            assert of is not None
            scopes.append(scope.named_scope(of))
            unlisted.append(scope.unlisted(of))
        else:
            of = permissions if role is _SELF else f"{above} {overwritten}"
            scopes.append(scope.own_scope(of))
            unlisted.append("")
    return _Audience(tuple(scopes), tuple(unlisted), scope.owner(own))


def _audience_of(record: BillingRecord, pattern: _Pattern) -> _Audience:
    source, overwritten = record["source"], record["overwritten"]
    return _audience(
        pattern,
        record["permissions"],
        source["permissions"] if source else None,
        overwritten["permission"] if overwritten else None,
    )


def _told(record: BillingRecord, role: Role) -> tuple[bytes, str | None]:
    """Return who is told in a role: the inode, and the name it is told."""
    if role is _PARENT:
        return record["ancestors"][-FILE_ID_BYTES:], record["name"]
    if role is _SELF:
        return record["inode"], None
    if role is _SOURCE_PARENT:
        source = record["source"]
        assert source is not None
        return source["ancestors"][-FILE_ID_BYTES:], source["name"]
    overwritten = record["overwritten"]
    assert overwritten is not None
    return overwritten["inode"], None


def _rechecks(record: BillingRecord) -> str:
    """Return the permissions that readers check their subscriptions again with, if need be."""
    changed = record["kind"] == Kind.SETATTR and record["attribute"] in _ACCESS_ATTRIBUTES
    return record["permissions"] if changed or record["kind"] == Kind.RENAME else ""


def derive(record: BillingRecord) -> list[InotifyMessage]:
    """Return the one message that follows from a record, or none."""
    pattern = _pattern_of(record)
    if not pattern.masks:
        return []
    inodes, names = zip(*[_told(record, role) for role in pattern.roles], strict=True)
    audience = _audience_of(record, pattern)
    source, twin = record["source"], record["twin"]
    return [
        {
            "shard": record["shard"],
            "number": record["number"],
            "watched": b"".join(inodes),
            "ancestors": record["ancestors"],
            "source_ancestors": source["ancestors"] if source else b"",
            "time_us": record["time_us"],
            "kind": record["kind"],
            "inode": record["inode"],
            "names": list(names),
            "scopes": audience.scopes,
            "unlisted": audience.unlisted,
            "roles": pattern.role_numbers,
            "masks": pattern.masks,
            "to": pattern.to,
            "cookie": record["cookie"],
            "is_directory": record["type"] == FileType.DIR,
            "path": record["path"],
            "source_path": source["path"] if source else None,
            "permissions": _rechecks(record),
            "twin_shard": twin["shard"] if twin else None,
            "twin_number": twin["number"] if twin else None,
            "size_bytes": record["size_bytes"],
            "checksums": record["checksums"],
            "locality": record["locality"],
            "owner_uid": audience.owner_uid,
            "user": record["user"],
        }
    ]
