"""Whether a subscription is still allowed, and what a change of a directory means for it; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pipeline.authz import caveats, scope
from schemas.vocabulary import FILE_ID_BYTES, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.channels import Subscription
    from pipeline.authz.principal import Principal

CHANGES: Final = frozenset({Kind.SETATTR, Kind.RENAME})
"""The kinds of operations that may take a subscription's ground away."""

_ANY_ENTRY: Final = " 0:0:0"


def is_allowed(principal: Principal, subscription: Subscription) -> bool:
    """Whether a principal may watch what the subscription watches, as far as is known now."""
    if not subscription.inode:
        return True
    activity = caveats.LIST if subscription.is_directory else caveats.DOWNLOAD
    if not caveats.may_act(principal.restrictions, activity, subscription.path):
        return False
    if not subscription.permissions:
        return True  # a storage that does not tell: it was asked, and every event has its scope
    if subscription.is_directory:
        needed = scope.named_scope(subscription.permissions + _ANY_ENTRY)
    else:
        needed = scope.own_scope(subscription.permissions)
    return scope.may_see(principal, needed)


def after_change(subscription: Subscription, record: Mapping[str, Any]) -> Subscription:
    """Return the subscription after an inotify message about it or a directory above it.

    Args:
        subscription: as it was.
        record: a message of kind SETATTR or RENAME.
    """
    changed = record["inode"]
    line = subscription.ancestors + subscription.inode
    depth = _index(line, changed)
    if depth < 0:
        return subscription
    permissions = subscription.permissions
    if record["permissions"]:
        kept = permissions.split(" ")[depth + 1 :]
        permissions = " ".join([record["permissions"], *kept])
    if record["kind"] != Kind.RENAME:
        return subscription.replace(permissions=permissions)
    if not record["permissions"]:
        permissions = ""  # a file: its new directories are not told; its events have their scope
    below = line[(depth + 1) * FILE_ID_BYTES :]
    names = [name for name in subscription.path.split("/") if name][depth:]
    return subscription.replace(
        permissions=permissions,
        ancestors=(record["ancestors"] + changed + below)[:-FILE_ID_BYTES],
        path="/".join([record["path"].rstrip("/"), *names]) or "/",
    )


def _index(inodes: bytes, inode: bytes) -> int:
    for at in range(0, len(inodes), FILE_ID_BYTES):
        if inodes[at : at + FILE_ID_BYTES] == inode:
            return at // FILE_ID_BYTES
    return -1
