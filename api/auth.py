"""From a request to a caller: who, with which rights, from where.

The storage decides who somebody is; this module adds what a token's own words take away (its end,
the addresses it may be used from) and slows down guessing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api import credentials, problems
from pipeline.authz import caveats

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import Headers, QueryParams

    from api.credentials import Credential
    from api.limits import Limits
    from api.storage_client import StorageClient
    from pipeline.authz.principal import Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody the storage knows.

    Attributes:
        principal: who, and what their token leaves of what they may.
        credential: what they came with, to ask the storage in their name.
        address: the client's address.
        base_url: scheme and host under which the client knows us.
    """

    principal: Principal
    credential: Credential = field(repr=False)
    address: str
    base_url: str


class Authenticator:
    """Finds out who a request is from.

    Args:
        storage: the one authority.
        limits: rates and wrong passwords.
        now: epoch seconds, for the end of tokens.
    """

    def __init__(
        self, storage: StorageClient, limits: Limits, *, now: Callable[[], float]
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._now = now

    async def caller(
        self,
        headers: Headers,
        query: QueryParams,
        address: str,
        *,
        base_url: str,
        session: Credential | None = None,
    ) -> Caller:
        """Say who asks.

        Args:
            headers: the request's.
            query: the request's.
            address: where it came from.
            base_url: scheme and host under which the client knows us.
            session: the credential of a signed-in page, where the endpoint accepts one.

        Raises:
            Problem: 401 for nobody or somebody unknown, 400 for two credentials, 429.
            Unavailable: the storage is away.
        """
        credential = credentials.read(headers, query) or session
        if credential is None:
            raise problems.unauthenticated("no credentials")
        principal = await self.identify(credential, address)
        self._limits.requests_per_user.spend(str(principal.uid))
        return Caller(principal, credential, address, base_url)

    async def again(self, caller: Caller, *, fresh_s: float) -> Principal:
        """Ask once more who this is, for a connection that lasts: groups and passwords change.

        That is no try of a password: it neither counts as one nor has to wait because of others.

        Args:
            caller: as they were when they connected.
            fresh_s: an answer that is not older than this may be taken, in seconds.

        Raises:
            Problem: 401 when the storage does not let them in any more, or the token has ended.
            Unavailable: the storage is away.
        """
        principal = await self._storage.user(caller.credential, caller.address, fresh_s=fresh_s)
        self._check_token(principal, caller.address)
        return principal

    async def identify(self, credential: Credential, address: str) -> Principal:
        """Return the credential's owner.

        Raises:
            Problem: 401, 429.
            Unavailable: the storage is away.
        """
        if credential.user:
            principal = await self._by_password(credential, address)
        else:
            principal = await self._storage.user(credential, address)
        self._check_token(principal, address)
        return principal

    async def _by_password(self, credential: Credential, address: str) -> Principal:
        """Return a password's owner; tokens cannot be guessed, and are not counted."""
        guard = self._limits.wrong_passwords
        guard.check(address, credential.user)
        try:
            with guard.trying(address, credential.user, credential.header):
                principal = await self._storage.user(credential, address)
        except problems.Problem as problem:
            if problem.status == 401:
                guard.failed(address, credential.user)
            raise
        guard.succeeded(address, credential.user)
        return principal

    def _check_token(self, principal: Principal, address: str) -> None:
        """Check what a token's own words take away."""
        if caveats.is_expired(principal.restrictions, self._now()):
            raise problems.unauthenticated("token: expired")
        if not caveats.from_address_allowed(principal.restrictions, address):
            raise problems.unauthenticated("token: not to be used from this address")
