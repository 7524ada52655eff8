"""URLs with a macaroon of their own, for thousands of triggers a second.

The storage's door is asked for one root macaroon for each set of activities; it is kept, renewed
before it ends, and never leaves this process. A trigger's macaroon is made from it offline, by two
more caveats: the one path it is for, and when it ends. Nobody can widen it again.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx

from pipeline.authz import caveat_values, macaroons
from pipeline.rules import durations
from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.rules.storages import Storage

ROOT_LIFETIME_S: Final = 24 * 60 * 60.0
_SPARE_S: Final = 60.0
_KNOWN_DIRECTORY_S: Final = 60.0
_KNOWN_DIRECTORIES: Final = 10_000
_PATH_SAFE: Final = "/~!$&'()*+,;=:@"


def address(base: str, path: str) -> str:
    """Return the URL of a path below a storage's door."""
    return base.rstrip("/") + quote(path, safe=_PATH_SAFE)


class SignedUrls:
    """The URLs of one storage.

    Args:
        storage: its door and the account whose macaroons are handed out.
        client: what speaks HTTP.
        clock: epoch seconds.
    """

    def __init__(
        self, storage: Storage, client: httpx.AsyncClient, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._client = client
        self._clock = clock
        self._roots: dict[tuple[str, ...], tuple[str, float, float]] = {}
        self._lock = asyncio.Lock()
        self._directories: dict[str, float] = {}

    async def url(self, activities: tuple[str, ...], path: str, *, lifetime_s: float) -> str:
        """Return the URL of `path`, with a macaroon for these activities, if there are any.

        Raises:
            Unavailable: a root macaroon is needed and the storage does not give it.
        """
        where = address(self._storage.url, path)
        if not activities:
            return where
        token = await self.token(activities, path, lifetime_s=lifetime_s)
        return f"{where}?authz={token}"

    async def token(self, activities: tuple[str, ...], path: str, *, lifetime_s: float) -> str:
        """Return a macaroon for these activities on `path` alone.

        Raises:
            Unavailable: a root macaroon is needed and the storage does not give it.
        """
        now = self._clock()
        root, root_ends_s = await self._root(activities, now + lifetime_s)
        ends_s = min(now + lifetime_s, root_ends_s)
        until = datetime.fromtimestamp(math.ceil(ends_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return macaroons.attenuate(root, [f"path:{path}", f"before:{until}"])

    async def _root(self, activities: tuple[str, ...], until_s: float) -> tuple[str, float]:
        """Return a macaroon for everything with these activities, and when it ends."""
        async with self._lock:
            root, ends_s, asked_s = self._roots.get(activities, ("", 0.0, 0.0))
            now = self._clock()
            if ends_s < until_s + _SPARE_S and now - asked_s > (ends_s - asked_s) / 2:
                root, ends_s = await self._request(activities)
                self._roots[activities] = (root, ends_s, now)
            return root, ends_s

    async def _request(self, activities: tuple[str, ...]) -> tuple[str, float]:
        asked_s = self._clock()
        response = await self._ask(
            "POST",
            self._storage.url,
            headers={"Content-Type": "application/macaroon-request"},
            json={
                "caveats": [f"activity:{','.join(activities)}"],
                "validity": durations.iso(ROOT_LIFETIME_S),
            },
        )
        try:
            root = str(response.json()["macaroon"]).strip()
            said = macaroons.caveats_of(root)
        except (ValueError, KeyError, TypeError, BadRecord) as error:
            raise Unavailable(
                f"{self._storage.url} gives no macaroon to {self._storage.user!r}: "
                f"HTTP {response.status_code} {response.reason_phrase}"
            ) from error
        ends = [
            caveat_values.parse_instant(caveat.removeprefix("before:"))
            for caveat in said
            if caveat.startswith("before:")
        ]
        return root, min([asked_s + ROOT_LIFETIME_S, *ends])

    async def make_parents(self, path: str) -> None:
        """Make the directories above `path` that are missing.

        Raises:
            Unavailable: the storage is away.
            Refused: it will not make one.
        """
        await self._make(path.rpartition("/")[0])

    async def _make(self, directory: str) -> None:
        now = self._clock()
        if not directory or self._directories.get(directory, 0.0) > now:
            return
        response = await self._ask("MKCOL", address(self._storage.url, directory))
        if response.status_code == httpx.codes.CONFLICT:
            await self._make(directory.rpartition("/")[0])
            response = await self._ask("MKCOL", address(self._storage.url, directory))
        # 405: it is there already (RFC 4918, 9.3.1).
        if response.status_code not in {httpx.codes.CREATED, httpx.codes.METHOD_NOT_ALLOWED}:
            raise Refused(
                f"cannot make {directory}: HTTP {response.status_code} {response.reason_phrase}"
            )
        if len(self._directories) >= _KNOWN_DIRECTORIES:
            self._directories.clear()
        self._directories[directory] = now + _KNOWN_DIRECTORY_S

    async def _ask(self, method: str, url: str, **arguments: object) -> httpx.Response:
        login = httpx.BasicAuth(self._storage.user, self._storage.password)
        try:
            response = await self._client.request(method, url, auth=login, **arguments)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self._storage.url} does not answer {method}: {type(error).__name__}: {error}"
            ) from error
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"{self._storage.url} answers {method} with {response.status_code}")
        return response
