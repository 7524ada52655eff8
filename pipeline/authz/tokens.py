"""JSON Web Tokens of OpenID Connect issuers: who they speak for, and what they leave of it; pure.

A token is accepted only with an asymmetric signature by a key of the issuer it names, for an
audience of ours, between `nbf` and `exp`. Its subject is one of our users by a table; its groups
add to theirs by another. Scopes in the manner of WLCG (`storage.read:/path`) or SciTokens
(`read:/path`) are capabilities: with any of them, whatever profile it names, the token allows
these and nothing else, as far as its user may. A token without speaks for its user whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import jwt

from pipeline.authz import caveats
from pipeline.authz.paths import resolve
from pipeline.authz.principal import Principal, Restrictions
from schemas.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""What a token may be signed with: never a shared secret, never nothing."""

CLOCK_SKEW_S: Final = 30.0
"""How much an issuer's clock may be ahead of ours, for `nbf`."""

_READ: Final = frozenset({caveats.LIST, caveats.READ_METADATA, caveats.DOWNLOAD})
_CREATE: Final = frozenset(
    {caveats.READ_METADATA, caveats.UPLOAD, caveats.MANAGE, caveats.UPDATE_METADATA}
)
_MODIFY: Final = _CREATE | {caveats.LIST, caveats.DELETE}
_WLCG: Final = {
    "storage.read": _READ,
    "storage.create": _CREATE,
    "storage.modify": _MODIFY,
    "storage.stage": _READ | {caveats.STAGE},
}
_SCITOKENS: Final = {"read": _READ, "write": _MODIFY}
_CAPABILITIES: Final = _WLCG | _SCITOKENS


class Account(Protocol):
    """A user that a token's subject can be."""

    @property
    def name(self) -> str:
        """User name."""

    @property
    def uid(self) -> int:
        """Numeric user id."""

    @property
    def gids(self) -> tuple[int, ...]:
        """Group ids, the primary one first."""

    @property
    def home(self) -> str:
        """Home directory."""


class Keys(Protocol):
    """The keys of an issuer."""

    def find(self, kid: str | None) -> jwt.PyJWK:
        """Return the key of that id; without one, the only key.

        Raises:
            Refused: there is none.
            Unavailable: the keys cannot be had now.
        """


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who may issue tokens for us.

    Attributes:
        url: the `iss` claim, compared exactly.
        audience: the `aud` values that mean us; a token needs one of them.
        keys: its keys.
        algorithms: what it signs with, of `ALGORITHMS`.
        base_path: the storage path that the paths in scopes are below.
        users: `sub` claim to user name.
        default_user: who all other subjects are; "": nobody.
        groups: group claim (`wlcg.groups` or `groups`) to group id.
    """

    url: str
    audience: tuple[str, ...]
    keys: Keys = field(repr=False, compare=False)
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    base_path: str = "/"
    users: Mapping[str, str] = field(default_factory=dict)
    default_user: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)


def looks_like_token(text: str) -> bool:
    """Whether a bearer token has the form of a JSON Web Token."""
    return text.count(".") == 2 and text.startswith("eyJ")


def _unverified(token: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise Refused("token: it cannot be read") from error
    return claims


def _strings(value: Any) -> list[str]:
    """Read a claim that is an array of strings, or one string with spaces."""
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _groups(claims: Mapping[str, Any]) -> list[str]:
    return _strings(claims.get("wlcg.groups")) + _strings(claims.get("groups"))


def _capabilities(claims: Mapping[str, Any]) -> list[str]:
    """Return the token's scopes that are capabilities, also those of no use here.

    SciTokens of version 1 do not say that they are such: a scope that could be one is one.
    """
    scopes = _strings(claims.get("scope")) + _strings(claims.get("scp"))
    if str(claims.get("ver", "")).lower().startswith("scitoken"):
        return scopes or ["none"]
    return [
        scope
        for scope in scopes
        if scope.startswith(("storage.", "compute.")) or scope.partition(":")[0] in _SCITOKENS
    ]


def restrictions_of(claims: Mapping[str, Any], base_path: str) -> Restrictions:
    """Return what a token's claims take away.

    Args:
        claims: of a token that was accepted.
        base_path: the storage path that the paths in its scopes are below.

    Raises:
        Refused: it has capabilities, and none that can be used.
    """
    expires_s = _seconds(claims, "exp")
    capabilities = _capabilities(claims)
    granted = []
    for scope in capabilities:
        name, colon, path = scope.partition(":")
        if name in _CAPABILITIES and colon and path.startswith("/"):
            granted.append((_CAPABILITIES[name], resolve(base_path, path)))
    if capabilities and not granted:
        raise Refused("token: none of its scopes can be used here")
    groups = tuple(sorted(set(_groups(claims))))
    return Restrictions(expires_s=expires_s, granted=tuple(granted), groups=groups)


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise Refused(f"token: {name} is not a time")
    return float(value)


def _checked_times(claims: Mapping[str, Any], now_s: float) -> None:
    expires_s, begins_s = _seconds(claims, "exp"), _seconds(claims, "nbf")
    if expires_s is None or now_s >= expires_s:
        raise Refused("token: it has expired")
    if begins_s is not None and begins_s > now_s + CLOCK_SKEW_S:
        raise Refused("token: it is not valid yet")


def verify(token: str, issuer: Issuer, *, now_s: float) -> dict[str, Any]:
    """Check a token; return its claims.

    Args:
        token: the token.
        issuer: the issuer it names.
        now_s: epoch seconds.

    Raises:
        Refused: it is not signed by this issuer, not for us, or not valid now.
        Unavailable: the issuer's keys cannot be had now.
    """
    try:
        header = jwt.get_unverified_header(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        if algorithm not in issuer.algorithms or algorithm not in ALGORITHMS:
            raise Refused("token: signed in a way that is not accepted")
        claims: dict[str, Any] = jwt.decode(
            token,
            issuer.keys.find(kid),
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.url,
            options={
                "require": ["exp", "iss", "sub", "aud"],
                # times are compared below, with the clock that was given
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidAudienceError as error:
        raise Refused("token: it is not for this service") from error
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Refused("token: it is not valid") from error
    _checked_times(claims, now_s)
    return claims


def principal(
    token: str,
    issuers: Mapping[str, Issuer],
    find: Callable[[str], Account | None],
    *,
    now_s: float,
) -> Principal | None:
    """Return who a token speaks for, with what it leaves them.

    Args:
        token: a bearer token.
        issuers: by their `iss` claim.
        find: the account of a user name.
        now_s: epoch seconds.

    Returns:
        None when it is no JSON Web Token, or of an issuer that is not ours.

    Raises:
        Refused: it is not accepted; the message says why.
        Unavailable: the issuer's keys cannot be had now.
    """
    if not looks_like_token(token):
        return None
    issuer = issuers.get(str(_unverified(token).get("iss")))
    if issuer is None:
        return None
    claims = verify(token, issuer, now_s=now_s)
    name = issuer.users.get(str(claims["sub"]), issuer.default_user)
    account = find(name) if name else None
    if account is None:
        raise Refused("token: its subject is nobody here")
    mapped = [issuer.groups[group] for group in _groups(claims) if group in issuer.groups]
    return Principal(
        account.name,
        account.uid,
        tuple(dict.fromkeys((*account.gids, *mapped))),
        restrictions=restrictions_of(claims, issuer.base_path),
        home=account.home,
    )


def reader(
    issuers: Iterable[Issuer],
    find: Callable[[str], Account | None],
    clock_s: Callable[[], float],
) -> Callable[[str], Principal | None]:
    """Return `principal` with its surroundings filled in: what an authenticator asks."""
    by_url = {issuer.url: issuer for issuer in issuers}

    def read(token: str) -> Principal | None:
        return principal(token, by_url, find, now_s=clock_s())

    return read


def accepted_restrictions(token: str, issuers: Mapping[str, Issuer]) -> Restrictions:
    """Read what a token takes away that the storage has accepted a moment ago.

    The signature is not looked at: who cannot ask the storage with it gets nowhere.

    Args:
        token: the token.
        issuers: by their `iss` claim, for their base paths; one that is not there has `/`.

    Raises:
        Refused: it cannot be read.
    """
    claims = _unverified(token)
    issuer = issuers.get(str(claims.get("iss")))
    return restrictions_of(claims, "/" if issuer is None else issuer.base_path)
