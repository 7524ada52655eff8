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
from typing import TYPE_CHECKING, Final, NamedTuple

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
_TRANSFERS: Final = frozenset({Kind.UPLOAD, Kind.READ})
_TRANSFER_EVENTS: Final = vocabulary.IN_MODIFY | vocabulary.IN_ACCESS


class _Pattern(NamedTuple):
    """The events of one sort of operation, and the roles told, parents first."""

    roles: tuple[Role, ...]
    role_numbers: list[int]
    masks: list[int]
    to: list[int]


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


def _sort(record: BillingRecord) -> _Sort:
    moved, attribute = record["transferred_bytes"], record["attribute"]
    overwritten = record["overwritten"]
    return _Sort(
        record["kind"],
        record["status_code"] != 0,
        bool(record["size_bytes"] if moved is None else moved) or attribute == "overwrite",
        attribute == "size",
        record["half"],
        record["type"],
        overwritten["type"] if overwritten else None,
        bool(record["ancestors"]),
    )


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
def _pattern(sort: _Sort) -> _Pattern:
    told = set(_HALVES[sort.half])
    if not sort.has_parent:
        told.discard(_PARENT)
    if sort.overwritten is None:
        told.discard(_OVERWRITTEN)
    chosen = [(mask, role) for mask, roles in _steps(sort) for role in roles if role in told]
    # a rename's source comes first, so that the order of `watched` is the order of telling
    order = (_SOURCE_PARENT, _PARENT, _SELF, _OVERWRITTEN)
    roles = tuple(role for role in order if any(role is other for _, other in chosen))
    masks = [
        _mask(mask, sort.overwritten if role is _OVERWRITTEN else sort.type)
        for mask, role in chosen
    ]
    return _Pattern(
        roles, [int(role) for role in roles], masks, [roles.index(role) for _, role in chosen]
    )


_Told = tuple[bytes, str | None, str, str]
"""Those who are told in one role: inode, name, scope, unlisted directories."""


def _told(record: BillingRecord, role: Role) -> _Told:
    permissions = record["permissions"]
    if role is _PARENT:
        parent = record["ancestors"][-FILE_ID_BYTES:]
        named = scope.named_scope(permissions)
        return parent, record["name"], named, scope.unlisted(permissions)
    if role is _SELF:
        return record["inode"], None, scope.own_scope(permissions), ""
    if role is _SOURCE_PARENT:
        source = record["source"]
        assert source is not None
        parent, permissions = source["ancestors"][-FILE_ID_BYTES:], source["permissions"]
        named = scope.named_scope(permissions)
        return parent, source["name"], named, scope.unlisted(permissions)
    overwritten = record["overwritten"]
    assert overwritten is not None
    above, _, _ = permissions.rpartition(" ")
    own = scope.own_scope(f"{above} {overwritten['permission']}")
    return overwritten["inode"], None, own, ""


def _rechecks(record: BillingRecord) -> str:
    """Return the permissions that readers check their subscriptions again with, if need be."""
    changed = record["kind"] == Kind.SETATTR and record["attribute"] in _ACCESS_ATTRIBUTES
    return record["permissions"] if changed or record["kind"] == Kind.RENAME else ""


def derive(record: BillingRecord) -> list[InotifyMessage]:
    """Return the one message that follows from a record, or none."""
    pattern = _pattern(_sort(record))
    if not pattern.masks:
        return []
    told = [_told(record, role) for role in pattern.roles]
    inodes, names, scopes, unlisted = zip(*told, strict=True)
    source, twin = record["source"], record["twin"]
    own_permission = record["permissions"].rpartition(" ")[2]
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
            "scopes": list(scopes),
            "unlisted": list(unlisted),
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
            "owner_uid": scope.owner(own_permission),
            "user": record["user"],
        }
    ]
