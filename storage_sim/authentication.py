"""From what a request carries to a principal: Basic passwords here, bearer tokens by plug-ins.

A wrong password and an unknown user get the same answer after the same work. Wrong passwords slow
down their user at their address alone, and very many of whatever users their address; trying many
at once does not help. A right one is remembered for some minutes under a key that
dies with the process, since argon2 is slow on purpose.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pipeline.authz import caveats
from pipeline.authz.addresses import client_of
from pipeline.authz.principal import Principal
from schemas.errors import Refused
from storage_sim import users as known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storage_sim.users import User, Users

    TokenReader = Callable[[str], Principal | None]
    """Reads a bearer token: its principal; None when it is not its kind; `Refused` when bad."""

_REMEMBERED: Final = 4096
_REMEMBER_S: Final = 300.0
_FAILURES: Final = 16_384
_FREE_FAILURES: Final = 5
_FREE_AT_ADDRESS: Final = 50
_SLOWEST_S: Final = 60.0
_FORGET_S: Final = 900.0
_AT_ONCE: Final = 2
_LONGEST: Final = 65_536

_NOBODY: Final = known.hash_password(secrets.token_hex(8))
"""What an unknown user's password is compared with."""


class BadCredentials(Refused):
    """Who somebody is could not be established: 401."""


class TooManyAttempts(Refused):
    """Too many wrong passwords for this user from this address: 429.

    Args:
        retry_after_s: when to try again, in seconds.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many wrong passwords, try again later")
        self.retry_after_s = retry_after_s


class Authenticator:
    """Tells who makes a request. Thread-safe.

    Args:
        users: whose passwords are known.
        token_readers: asked in turn about a bearer token.
        clock_s: epoch seconds.
    """

    def __init__(
        self,
        users: Users,
        *,
        token_readers: Sequence[TokenReader] = (),
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._users = users
        self._token_readers = token_readers
        self._clock_s = clock_s
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._hashing = threading.BoundedSemaphore(_AT_ONCE)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def authenticate(
        self, authorization: str | None, authz: Sequence[str], address: str
    ) -> Principal | None:
        """Return who makes a request; None when it carries no credentials.

        Args:
            authorization: the header, if there is one.
            authz: the values of the query parameter `authz`.
            address: the client's address.

        Raises:
            BadCredentials: wrong or malformed ones, or more than one.
            TooManyAttempts: too many wrong passwords.
        """
        given = [text for text in (authorization, *authz) if text]
        if not given:
            return None
        if len(given) > 1:
            raise BadCredentials("more than one token in one request")
        if len(given[0]) > _LONGEST:
            raise BadCredentials("the credentials are too long")
        if not authorization:
            return self._bearer(given[0], address)
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(value.strip(), address)
        if scheme.lower() == "basic":
            return self._basic(value.strip(), address)
        raise BadCredentials("use Basic or Bearer authentication")

    def _bearer(self, token: str, address: str) -> Principal:
        for read in self._token_readers:
            try:
                principal = read(token)
            except Refused as error:
                raise BadCredentials(str(error)) from error
            if principal is None:
                continue
            if caveats.is_expired(principal.restrictions, self._clock_s()):
                raise BadCredentials("the token has expired")
            if not caveats.from_address_allowed(principal.restrictions, address):
                raise BadCredentials("the token is not for this address")
            return principal
        raise BadCredentials("not a token that is known here")

    def _basic(self, value: str, address: str) -> Principal:
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            raise BadCredentials("malformed Basic authentication") from None
        login, colon, password = text.partition(":")
        if not colon:
            raise BadCredentials("malformed Basic authentication")
        name, _, role = login.rpartition("#") if "#" in login else (login, "", "")
        user = self._users.find(name)
        self._check_password(user, name, password, address)
        if user is None:
            raise BadCredentials("wrong user name or password")
        return Principal(user.name, user.uid, user.gids, roles=user.roles & {role}, home=user.home)

    def _check_password(self, user: User | None, name: str, password: str, address: str) -> None:
        password_hash = _NOBODY if user is None else user.password_hash
        address = client_of(address)
        text = f"{name}\0{password}\0{password_hash}"
        mark = hmac.digest(self._key, text.encode(), hashlib.sha256)
        now_s = self._clock_s()
        if self._is_remembered(mark, address, name, now_s):
            return
        with self._hashing:
            # what waited here with many others knows now how they fared
            if self._is_remembered(mark, address, name, self._clock_s()):
                return
            fits = known.password_fits(password_hash, password) and user is not None
            self._remember(mark, address, name, fits=fits)
        if not fits:
            raise BadCredentials("wrong user name or password")

    def _is_remembered(self, mark: bytes, address: str, name: str, now_s: float) -> bool:
        """Whether a password was right lately; if not, whether one may be tried now.

        Raises:
            TooManyAttempts: none may.
        """
        with self._lock:
            if self._right.get(mark, 0.0) > now_s:
                return True
            self._check_pace((address, name), now_s)
            self._check_pace((address, ""), now_s, _FREE_AT_ADDRESS)
            return False

    def _remember(self, mark: bytes, address: str, name: str, *, fits: bool) -> None:
        now_s = self._clock_s()
        with self._lock:
            if fits:
                self._right[mark] = now_s + _REMEMBER_S
                self._wrong.pop((address, name), None)
                _bound(self._right, _REMEMBERED)
                return
            for key in ((address, name), (address, "")):
                count, _ = self._wrong.pop(key, (0, 0.0))
                self._wrong[key] = (count + 1, now_s)
            _bound(self._wrong, _FAILURES)

    def _check_pace(self, key: tuple[str, str], now_s: float, free: int = _FREE_FAILURES) -> None:
        """Let the first few failures pass, then wait twice as long after each."""
        count, last_s = self._wrong.get(key, (0, 0.0))
        if now_s - last_s > _FORGET_S:
            self._wrong.pop(key, None)
            return
        if count < free:
            return
        wait_s = min(2.0 ** min(count - free, 30), _SLOWEST_S) - (now_s - last_s)
        if wait_s > 0:
            raise TooManyAttempts(max(1, round(wait_s)))


def for_known_users(read: TokenReader, users: Users) -> TokenReader:
    """Return a token reader for tokens that say themselves who somebody is, as macaroons do.

    What was true when such a token was made may be so no more: a user who is gone is refused, and
    groups they have left are left out.
    """

    def read_for_known(token: str) -> Principal | None:
        principal = read(token)
        if principal is None:
            return None
        user = users.find(principal.user)
        if user is None or user.uid != principal.uid:
            raise Refused("the token's user is not known any more")
        gids = tuple(gid for gid in principal.gids if gid in user.gids)
        return replace(principal, gids=gids)

    return read_for_known


def _bound(remembered: OrderedDict[Any, Any], most: int) -> None:
    """Forget the oldest beyond a number."""
    while len(remembered) > most:
        remembered.popitem(last=False)
