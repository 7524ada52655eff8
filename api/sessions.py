"""Signed-in pages: a browser's EventSource cannot send an Authorization header, a cookie it can.

The cookie holds the credential and when it ends, enciphered and authenticated under a key that all
nodes share; no state is kept. It is HttpOnly and SameSite=Strict, counts only for reading streams,
and only when the browser says that the page is our own: no other site can use it.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from api.credentials import Credential

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from api.origin import Origin

COOKIE: Final = "storage-events-session"
PATH: Final = "/api/v1/events"
_NONCE_BYTES: Final = 12


class Sessions:
    """Seals credentials into cookies and opens them again.

    Args:
        server_key: asked for the key that all nodes share.
        origin: knows our own address.
        lifetime_s: how long a session lasts, in seconds.
        clock: epoch seconds.
    """

    def __init__(
        self,
        server_key: Callable[[], Awaitable[bytes]],
        origin: Origin,
        *,
        lifetime_s: int,
        clock: Callable[[], float],
    ) -> None:
        self._server_key = server_key
        self._origin = origin
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._cipher: AESGCM | None = None

    async def begin(self, response: Response, credential: Credential, *, is_secure: bool) -> None:
        """Put the cookie into an answer.

        Args:
            response: the answer.
            credential: what the user signed in with.
            is_secure: whether the client came by HTTPS.
        """
        content = {
            "header": credential.header,
            "user": credential.user,
            "token": credential.token,
            "ends": self._clock() + self._lifetime_s,
        }
        nonce = os.urandom(_NONCE_BYTES)
        sealed = (await self._key()).encrypt(nonce, json.dumps(content).encode(), COOKIE.encode())
        response.set_cookie(
            COOKIE,
            base64.urlsafe_b64encode(nonce + sealed).decode(),
            max_age=self._lifetime_s,
            path=PATH,
            secure=is_secure,
            httponly=True,
            samesite="strict",
        )

    @staticmethod
    def end(response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")

    async def read(self, request: Request) -> Credential | None:
        """Return the credential of a request from our own page; None without a valid cookie."""
        cookie = request.cookies.get(COOKIE)
        if not cookie or not self._is_own_page(request):
            return None
        try:
            raw = base64.urlsafe_b64decode(cookie)
            nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            content = json.loads((await self._key()).decrypt(nonce, sealed, COOKIE.encode()))
        except (ValueError, InvalidTag):
            return None
        if content["ends"] <= self._clock():
            return None
        return Credential(content["header"], content["user"], content["token"])

    def _is_own_page(self, request: Request) -> bool:
        site = request.headers.get("sec-fetch-site", "same-origin")
        own = self._origin.base_url(request.scope, request.headers)
        return site == "same-origin" and request.headers.get("origin", own) == own

    async def _key(self) -> AESGCM:
        if self._cipher is None:
            secret = await self._server_key()
            derive = HKDF(hashes.SHA256(), length=32, salt=None, info=b"storage-events session")
            self._cipher = AESGCM(derive.derive(secret))
        return self._cipher
