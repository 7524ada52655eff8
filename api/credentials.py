"""What a request came with to say who it is: read, never kept, never shown.

Basic, `Authorization: Bearer`, or `?authz=` for clients that cannot send headers (a browser's
EventSource). More than one at once is refused: which of them counts would be a guess.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from api import problems
from pipeline.authz import caveats, macaroons, tokens
from pipeline.authz.principal import UNRESTRICTED, Restrictions
from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import Headers, QueryParams

    from pipeline.authz.tokens import Issuer

MAX_CHARACTERS = 32 * 1024


@dataclass(frozen=True, slots=True)
class Credential:
    """Basic user and password, or a bearer token.

    Attributes:
        header: the value of the Authorization header that the storage is asked with.
        user: the user name of Basic, with its role; "" for tokens.
        token: the bearer token; "" for Basic.
    """

    header: str = field(repr=False)
    user: str = ""
    token: str = field(default="", repr=False)

    def restrictions(self, root: str, issuers: Mapping[str, Issuer]) -> Restrictions:
        """Read what the token takes away; the storage has accepted it already.

        Args:
            root: the user's root as the storage tells it, for those who come without a token.
            issuers: of JSON Web Tokens, for the paths that their scopes are below.

        Raises:
            Problem: 401 when the token cannot be read.
        """
        if not self.token:
            return replace(UNRESTRICTED, root=root, path=root)
        try:
            if macaroons.looks_like_macaroon(self.token):
                return caveats.combine(macaroons.caveats_of(self.token)).restrictions
            if tokens.looks_like_token(self.token):
                return tokens.accepted_restrictions(self.token, issuers)
        except StorageEventsError as error:
            raise problems.unauthenticated(f"token: {error}") from error
        raise problems.unauthenticated("token: of no known kind")


def _basic(value: str) -> Credential:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError) as error:
        raise problems.unauthenticated("Basic credentials are not base64") from error
    user, colon, _ = text.partition(":")
    if not colon or not user:
        raise problems.unauthenticated("Basic credentials without a user name or a colon")
    return Credential(f"Basic {value}", user=user)


def _bearer(token: str) -> Credential:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise problems.unauthenticated("malformed bearer token")
    return Credential(f"Bearer {token}", token=token)


def _authorization(value: str) -> Credential:
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "basic":
            return _basic(rest.strip())
        case "bearer":
            return _bearer(rest.strip())
        case _:
            raise problems.unauthenticated("unknown authentication scheme")


def read(headers: Headers, query: QueryParams) -> Credential | None:
    """Return the request's credential, or None if it has none.

    Raises:
        Problem: 400 for more than one, 401 for one that cannot be read.
    """
    in_headers: Sequence[str] = headers.getlist("authorization")
    in_query: Sequence[str] = query.getlist("authz")
    if len(in_headers) + len(in_query) > 1:
        raise problems.bad_request("More than one credential in the request")
    if any(len(value) > MAX_CHARACTERS for value in (*in_headers, *in_query)):
        raise problems.unauthenticated("credential too long")
    if in_headers:
        return _authorization(in_headers[0])
    if in_query:
        return _bearer(in_query[0].removeprefix("Bearer ").strip())
    return None
