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
_TRANSFER_EVENTS: Final = vocabulary.IN_MODIFY | vocabulary.IN_ACCESS


class _Pattern(NamedTuple):
    """The events of one sort of operation, and the roles told, parents first."""

    roles: tuple[Role, ...]
    role_numbers: list[int]
    masks: list[int]
    to: list[int]


@functools.cache
def _pattern(
    steps: _Steps, told: frozenset[Role], *, is_directory: bool, replaced_directory: bool
) -> _Pattern:
    chosen = [(mask, role) for mask, roles in steps for role in roles if role in told]
    # a rename's source comes first, so that the order of `watched` is the order of telling
    order = (_SOURCE_PARENT, _PARENT, _SELF, _OVERWRITTEN)
    roles = tuple(role for role in order if any(role is other for _, other in chosen))
    masks = []
    for mask, role in chosen:
        of_directory = replaced_directory if role is _OVERWRITTEN else is_directory
        masks.append(
            mask | vocabulary.IN_ISDIR if of_directory and not mask & _WITHOUT_ISDIR else mask
        )
    return _Pattern(
        roles, [int(role) for role in roles], masks, [roles.index(role) for _, role in chosen]
    )


def _touches_content(record: BillingRecord) -> bool:
    """Whether a transfer moved a byte, or cut what was there before (as O_TRUNC does)."""
    moved = record["transferred_bytes"]
    return bool(record["size_bytes"] if moved is None else moved) or (
        record["kind"] == Kind.UPLOAD and record["attribute"] == "overwrite"
    )


@functools.cache
def _without_transfer(steps: _Steps) -> _Steps:
    return tuple(step for step in steps if not step[0] & _TRANSFER_EVENTS)


def _record_pattern(record: BillingRecord) -> _Pattern | None:
    """Choose the events of a record; None: it tells nothing."""
    kind = record["kind"]
    roles = _HALVES[Half.WHOLE]
    is_directory = record["type"] == FileType.DIR
    overwritten = record["overwritten"]
    if kind == Kind.RENAME:
        steps = _RENAME
        roles = _HALVES[record["half"]]
        if overwritten is None:
            roles = roles - {_OVERWRITTEN}
    elif kind not in _STEPS or (record["status_code"] and kind != Kind.READ):
        # what failed changed nothing; a read that failed half-way has still been one
        return None
    elif kind == Kind.SETATTR and record["attribute"] == "size":
        steps = _MODIFY
    else:
        steps = _STEPS[kind]
        if kind in {Kind.UPLOAD, Kind.READ} and not _touches_content(record):
            steps = _without_transfer(steps)
    if not record["ancestors"]:
        roles = roles - {_PARENT}
    return _pattern(
        steps,
        roles,
        is_directory=is_directory,
        replaced_directory=overwritten is not None and overwritten["type"] == FileType.DIR,
    )


class _Told(NamedTuple):
    """Those who are told in one role."""

    inode: bytes
    name: str | None
    scope: str
    unlisted: str


def _told_in(parent_ancestors: bytes, name: str, permissions: str) -> _Told:
    return _Told(
        parent_ancestors[-FILE_ID_BYTES:],
        name,
        scope.named_scope(permissions),
        scope.unlisted(permissions),
    )


def _told(record: BillingRecord, role: Role) -> _Told:
    source, overwritten = record["source"], record["overwritten"]
    if role is _PARENT:
        return _told_in(record["ancestors"], record["name"], record["permissions"])
    if role is _SELF:
        return _Told(record["inode"], None, scope.own_scope(record["permissions"]), "")
    if role is _SOURCE_PARENT:
        assert source is not None
        return _told_in(source["ancestors"], source["name"], source["permissions"])
    assert overwritten is not None
    above, _, _ = record["permissions"].rpartition(" ")
    needed = scope.own_scope(f"{above} {overwritten['permission']}")
    return _Told(overwritten["inode"], None, needed, "")


def _rechecks(record: BillingRecord) -> str:
    """Return the permissions that readers check their subscriptions again with, if need be."""
    changed = record["kind"] == Kind.SETATTR and record["attribute"] in _ACCESS_ATTRIBUTES
    return record["permissions"] if changed or record["kind"] == Kind.RENAME else ""


def derive(record: BillingRecord) -> list[InotifyMessage]:
    """Return the one message that follows from a record, or none."""
    pattern = _record_pattern(record)
    if pattern is None or not pattern.masks:
        return []
    told = [_told(record, role) for role in pattern.roles]
    source, twin = record["source"], record["twin"]
    own_permission = record["permissions"].rpartition(" ")[2]
    return [
        {
            "shard": record["shard"],
            "number": record["number"],
            "watched": b"".join([those.inode for those in told]),
            "ancestors": record["ancestors"],
            "source_ancestors": source["ancestors"] if source else b"",
            "time_us": record["time_us"],
            "kind": record["kind"],
            "inode": record["inode"],
            "names": [those.name for those in told],
            "scopes": [those.scope for those in told],
            "unlisted": [those.unlisted for those in told],
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
            "owner_uid": int(own_permission.partition(":")[0]),
            "user": record["user"],
        }
    ]
