"""From a macaroon to who is asking and what is left to them, and back; pure."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pipeline.authz import caveats, macaroons
from pipeline.authz.caveat_values import BadCaveat, Identity
from pipeline.authz.paths import is_below
from pipeline.authz.principal import Principal, Restrictions
from schemas.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

_DENIED: Final = "macaroon login denied: Invalid macaroon"


def reader(
    key_lookup: Callable[[str], bytes | None], *, clock_s: Callable[[], float] = time.time
) -> Callable[[str], Principal | None]:
    """Return what reads macaroons for `storage_sim.authentication`.

    It gives None for what is no macaroon by its form. That the client's address fits is checked
    there, as for all tokens.

    Args:
        key_lookup: the storage's secrets.
        clock_s: epoch seconds.
    """

    def read(token: str) -> Principal | None:
        if not macaroons.looks_like_macaroon(token):
            return None
        return principal(token, key_lookup, now_s=clock_s())

    return read


def principal(token: str, key_lookup: Callable[[str], bytes | None], *, now_s: float) -> Principal:
    """Return who a macaroon speaks for, with what it leaves them.

    Who holds a macaroon of ours is told what is wrong with it: they can read it anyway.

    Args:
        token: as the client sent it.
        key_lookup: the storage's secrets.
        now_s: epoch seconds.

    Raises:
        Refused: not ours, changed, expired, or with caveats that make no sense.
    """
    try:
        written = macaroons.verify(token, key_lookup)
    except Refused as error:
        raise Refused(_DENIED) from error
    try:
        context = caveats.combine(written)
    except BadCaveat as error:
        raise Refused(f"{_DENIED}: {error}") from error
    if caveats.is_expired(context.restrictions, now_s):
        raise Refused(f"{_DENIED}: expired: before:{instant(context.restrictions.expires_s or 0)}")
    identity = context.identity
    if identity is None:
        raise Refused(_DENIED)
    return Principal(
        identity.user,
        identity.uid,
        identity.gids,
        restrictions=context.restrictions,
        home=context.home or "/",
    )


def instant(epoch_s: float) -> str:
    """Write epoch seconds as the instant of a `before` caveat, in milliseconds."""
    text = datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def below(root: str, path: str) -> str:
    """Return a storage path as it is seen by who sees `root` as `/`."""
    return path if root == "/" else path[len(root) :] or "/"


def written(who: Principal, restrictions: Restrictions) -> list[str]:
    """Write who somebody is and what is left to them as the caveats of a new macaroon.

    Returns:
        In dCache's order; `iid`, the first, is made when minting.

    Raises:
        BadCaveat: a restriction that caveats cannot say.
    """
    if restrictions.granted:
        raise BadCaveat("Cannot serialise restriction granted")
    root = restrictions.root
    lines = [Identity(who.uid, who.gids, who.user).caveat()]
    if restrictions.expires_s is not None:
        lines.append(f"before:{instant(restrictions.expires_s)}")
    if root != "/":
        lines.append(f"root:{root}")
    if who.home != "/" and is_below(who.home, root):
        lines.append(f"home:{below(root, who.home)}")
    if restrictions.path != root:
        lines.append(f"path:{below(root, restrictions.path)}")
    if restrictions.max_upload_bytes is not None:
        lines.append(f"max-upload:{restrictions.max_upload_bytes}")
    if restrictions.activities is not None:
        lines.append(f"activity:{','.join(sorted(restrictions.activities))}")
    lines.extend(f"ip:{','.join(networks)}" for networks in restrictions.addresses)
    return lines
