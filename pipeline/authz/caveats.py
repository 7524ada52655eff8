"""What a macaroon's caveats leave of what its user may: dCache's rules, pure.

Caveats are read in order, and each can only take away. What is not understood makes the macaroon
invalid, never wider: an unknown key, a malformed value, an activity that was not there before.

    root        the directory seen as `/`; each further one is below the previous
    path        all that is visible, below the root of that moment; each further one is appended
    activity    what may be done; each further one names a part of the previous
    before      the instant it ends; the earliest counts
    ip          networks to come from; each of the caveats must match
    max-upload  the largest upload in bytes; the smallest counts
    home        for information
    id, iid     who, and which macaroon: issued by the server, exactly one of each, iid first
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pipeline.authz.caveat_values import (
    BadCaveat,
    Identity,
    parse_bytes,
    parse_identity,
    parse_instant,
    parse_networks,
)
from pipeline.authz.paths import is_below, resolve
from pipeline.authz.principal import Restrictions

if TYPE_CHECKING:
    from collections.abc import Iterable

LIST: Final = "LIST"
DOWNLOAD: Final = "DOWNLOAD"
MANAGE: Final = "MANAGE"
UPLOAD: Final = "UPLOAD"
DELETE: Final = "DELETE"
READ_METADATA: Final = "READ_METADATA"
UPDATE_METADATA: Final = "UPDATE_METADATA"
STAGE: Final = "STAGE"

ACTIVITIES: Final = frozenset(
    {LIST, DOWNLOAD, MANAGE, UPLOAD, DELETE, READ_METADATA, UPDATE_METADATA, STAGE}
)
SERVER_KEYS: Final = frozenset({"id", "iid"})
_ON_PARENTS: Final = frozenset({LIST, READ_METADATA})


@dataclass(frozen=True, slots=True)
class Context:
    """What all caveats of a macaroon say together.

    Attributes:
        restrictions: what the macaroon takes away.
        identity: who it speaks for; None when no server has issued it yet.
        iid: the macaroon's own name; "" when no server has issued it yet.
        home: home directory as a storage path; None: not said, or out of reach.
    """

    restrictions: Restrictions = field(default_factory=Restrictions)
    identity: Identity | None = None
    iid: str = ""
    home: str | None = None


def parse_activities(text: str) -> frozenset[str]:
    """Read a comma list of activities; READ_METADATA goes with any of them.

    Raises:
        BadCaveat: an unknown one, or none.
    """
    named = [part.strip() for part in text.split(",")]
    for name in named:
        if name not in ACTIVITIES:
            raise BadCaveat(f"unknown activity: {name}")
    return frozenset(named) | {READ_METADATA}


def _root(context: Context, value: str) -> Context:
    """Narrow the root; a path seen until now must have something in common with it."""
    now = context.restrictions
    root = resolve(now.root, value)
    if is_below(now.path, root):
        path = now.path
    elif is_below(root, now.path):
        path = root
    else:
        raise BadCaveat("root is outside of path")
    home = context.home if context.home is not None and is_below(context.home, root) else None
    return replace(context, restrictions=replace(now, root=root, path=path), home=home)


def _path(context: Context, value: str) -> Context:
    now = context.restrictions
    return replace(context, restrictions=replace(now, path=resolve(now.path, value)))


def _activity(context: Context, value: str) -> Context:
    now = context.restrictions
    activities = parse_activities(value)
    if now.activities is not None and not activities <= now.activities:
        raise BadCaveat("activity must be a part of the activities before it")
    return replace(context, restrictions=replace(now, activities=activities))


def _before(context: Context, value: str) -> Context:
    now = context.restrictions
    ends = parse_instant(value)
    if now.expires_s is not None:
        ends = min(ends, now.expires_s)
    return replace(context, restrictions=replace(now, expires_s=ends))


def _ip(context: Context, value: str) -> Context:
    now = context.restrictions
    addresses = (*now.addresses, parse_networks(value))
    return replace(context, restrictions=replace(now, addresses=addresses))


def _max_upload(context: Context, value: str) -> Context:
    now = context.restrictions
    largest = parse_bytes(value)
    if now.max_upload_bytes is not None:
        largest = min(largest, now.max_upload_bytes)
    return replace(context, restrictions=replace(now, max_upload_bytes=largest))


def _home(context: Context, value: str) -> Context:
    return replace(context, home=resolve(context.restrictions.root, value))


def _id(context: Context, value: str) -> Context:
    if context.identity is not None:
        raise BadCaveat("more than one id")
    return replace(context, identity=parse_identity(value))


def _iid(context: Context, value: str) -> Context:
    if context != Context():
        raise BadCaveat("iid must be the first caveat")
    if not value:
        raise BadCaveat("iid must not be empty")
    return replace(context, iid=value)


_READERS: Final = {
    "root": _root,
    "path": _path,
    "activity": _activity,
    "before": _before,
    "ip": _ip,
    "max-upload": _max_upload,
    "home": _home,
    "id": _id,
    "iid": _iid,
}


def _read(context: Context, caveat: str) -> Context:
    key, colon, value = caveat.partition(":")
    reader = _READERS.get(key)
    if not colon or reader is None:
        raise BadCaveat(f"unknown caveat: {key}")
    if any(ord(character) < 0x20 for character in value):
        raise BadCaveat(f"control character in caveat: {key}")
    return reader(context, value)


def combine(caveats: Iterable[str]) -> Context:
    """Read the caveats of a macaroon that a server issued.

    Whether it has expired or the client's address fits is for the caller, who knows the time and
    the client: `is_expired`, `from_address_allowed`.

    Raises:
        BadCaveat: any caveat is invalid, or `iid` or `id` is absent.
    """
    context = Context()
    for caveat in caveats:
        context = _read(context, caveat)
    if not context.iid:
        raise BadCaveat("iid must be the first caveat")
    if context.identity is None:
        raise BadCaveat("no id")
    return context


def narrow(restrictions: Restrictions, caveats: Iterable[str]) -> Restrictions:
    """Return what further caveats, asked for by a user, leave of what they have.

    Raises:
        BadCaveat: one is invalid, would widen, or is the server's to issue.
    """
    context = Context(restrictions)
    for caveat in caveats:
        if caveat.partition(":")[0] in SERVER_KEYS:
            raise BadCaveat("only the server issues id and iid")
        context = _read(context, caveat)
    return context.restrictions


def is_expired(restrictions: Restrictions, now_s: float) -> bool:
    """Whether the token has ended at `now_s`, epoch seconds."""
    return restrictions.expires_s is not None and now_s >= restrictions.expires_s


def from_address_allowed(restrictions: Restrictions, address: str) -> bool:
    """Whether a client at `address` (IPv4 or IPv6, as text) may use the token."""
    if not restrictions.addresses:
        return True
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return all(
        any(client in ipaddress.ip_network(network) for network in networks)
        for networks in restrictions.addresses
    )


def _within(activities: frozenset[str] | None, activity: str) -> bool:
    if activities is None or activity in activities:
        return True
    return activity == READ_METADATA and bool(activities)


def _reaches(prefix: str, activity: str, path: str) -> bool:
    """Whether `path` is below `prefix` or, to look at, on the way down to it."""
    return is_below(path, prefix) or (activity in _ON_PARENTS and is_below(prefix, path))


def may_act(restrictions: Restrictions, activity: str, path: str) -> bool:
    """Whether the token leaves `activity` on `path`; the storage's permissions come on top.

    A directory above the visible path can be listed and looked at, and shows only what leads down:
    an entry is shown when `may_act(restrictions, READ_METADATA, entry)`.

    Args:
        restrictions: what the token takes away.
        activity: one of `ACTIVITIES`.
        path: absolute, normal storage path (not as the user sees it below their root).
    """
    if ".." in path and ".." in path.split("/"):
        return False
    if not (
        is_below(path, restrictions.root)
        and _reaches(restrictions.path, activity, path)
        and _within(restrictions.activities, activity)
    ):
        return False
    return not restrictions.granted or any(
        (is_below(path, prefix) and _within(activities, activity))
        or (activity in _ON_PARENTS and is_below(prefix, path))
        for activities, prefix in restrictions.granted
    )
