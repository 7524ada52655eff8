"""The storage's REST interface as this service asks it: who is this, and what is there.

There is one authority: every question is put with the user's own credentials, and the storage's
answer counts. Answers about users are kept briefly, under a keyed hash of the credential, so that
a memory dump of the cache shows no password. What is absent and what is forbidden are one answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http
import secrets
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httpx

from api import limits, places, problems
from pipeline.authz.principal import Principal
from schemas.errors import Unavailable
from schemas.vocabulary import FileType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from api.credentials import Credential
    from pipeline.authz.tokens import Issuer

SERVICE_KEY: Final = "Storage-Events-Key"
_ABSENT: Final = {400, 403, 404}


class NotVisible(Exception):  # noqa: N818 - a finding, not a failure
    """There is nothing at this path, or nothing that this user may know of."""


class StorageClient:
    """Asks the storage.

    Args:
        client: pooled, with the storage's base address and timeouts.
        service_key: known to both sides; "" when the storage is not ours.
        cache_s: how long an answer about a user is kept, in seconds.
        clock: monotonic seconds.
        issuers: of JSON Web Tokens, by their `iss` claim.
        users: how many users' answers are kept.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        service_key: str,
        cache_s: float,
        clock: Callable[[], float],
        issuers: Mapping[str, Issuer] | None = None,
        users: int = 10_000,
    ) -> None:
        self._client = client
        self._service_key = service_key
        self._cache_s = cache_s
        self._clock = clock
        self._issuers = issuers or {}
        self._hash_key = secrets.token_bytes(32)
        self._known: limits.Recent[tuple[float, Principal]] = limits.Recent(users)
        self._asking: dict[str, asyncio.Task[Principal]] = {}

    async def close(self) -> None:
        """Give back connections."""
        await self._client.aclose()

    async def is_there(self) -> bool:
        """Whether the storage answers at all."""
        try:
            await self._client.get("/api/v1/user")
        except httpx.HTTPError:
            return False
        return True

    async def user(
        self, credential: Credential, address: str, *, fresh_s: float | None = None
    ) -> Principal:
        """Say who somebody is.

        Args:
            credential: what they came with.
            address: where from; tokens may be bound to it.
            fresh_s: take no answer older than this, in seconds; by default the cache's time.

        Raises:
            Problem: 401 when the storage does not let them in.
            Unavailable: the storage is away.
        """
        key = self._key(credential, address)
        oldest_s = self._cache_s if fresh_s is None else min(fresh_s, self._cache_s)
        known = self._known.get(key)
        if known is not None and self._clock() - known[0] < oldest_s:
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._ask_user(key, credential, address))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _ask_user(self, key: str, credential: Credential, address: str) -> Principal:
        started = self._clock()
        answer = await self._get("/api/v1/user", {}, credential, address)
        content = self._content(answer)
        if answer.status_code != 200 or content.get("status") != "AUTHENTICATED":
            self._known.drop(key)
            if answer.status_code == 429:
                wait_s = answer.headers.get("retry-after", "")
                raise problems.limited(
                    "login-failures", 0, retry_after_s=int(wait_s) if wait_s.isdecimal() else 5
                )
            if answer.status_code >= 500:
                raise Unavailable(f"the storage answered {answer.status_code} to /api/v1/user")
            raise problems.unauthenticated(f"storage: {answer.status_code} {answer.reason_phrase}")
        principal = Principal(
            user=str(content["username"]),
            uid=int(content["uid"]),
            gids=tuple(int(gid) for gid in content.get("gids", ())),
            roles=frozenset(str(role) for role in content.get("roles", ())),
            restrictions=credential.restrictions(
                str(content.get("rootDirectory", "/")), self._issuers
            ),
            home=str(content.get("homeDirectory", "/")),
        )
        self._known.put(key, (started, principal))
        return principal

    async def look_up(
        self,
        credential: Credential,
        address: str,
        path: str,
        *,
        follow: bool = True,
        children: bool = False,
        recursive: bool = False,
    ) -> places.Found:
        """Say what stands at a path, with what a watch needs to know about it.

        Args:
            credential: the user's own.
            address: the client's.
            path: absolute, as the user sees it below their root, without `.` and `..`.
            follow: whether a symlink at the end is followed.
            children: with a directory's entries, read at the same instant.
            recursive: with everything below that this user may see.

        Raises:
            NotVisible: absent or forbidden; nobody is told which.
            Problem: 401.
            Unavailable: the storage is away.
        """
        asked = {"follow": follow, "children": children, "recursive": recursive}
        parameters = {"optional": "true"} | {
            name: str(value).lower() for name, value in asked.items() if value or name == "follow"
        }
        content = await self._namespace(credential, address, path, parameters)
        if "watch" in content:
            return places.told(content)
        return await self._walk(credential, address, path, content)

    async def path_of(self, inode: bytes) -> places.Whereabouts:
        """Say where an object is now, whoever may see it: asked in our own name, told to nobody.

        Raises:
            Unavailable: the storage is away.
        """
        if not self._service_key:
            return places.UNTOLD
        headers = {SERVICE_KEY: self._service_key, "Accept": "application/json"}
        answer = await self._send(f"/api/v1/id/{inode.hex().upper()}", {}, headers)
        if answer.status_code >= 500:
            raise Unavailable(f"the storage answered {answer.status_code} to a look-up by id")
        content = self._content(answer)
        return places.Whereabouts(is_told="path" in content, path=content.get("path"))

    async def _namespace(
        self, credential: Credential, address: str, path: str, parameters: Mapping[str, str]
    ) -> dict[str, Any]:
        try:
            quoted = urllib.parse.quote(path.lstrip("/"), safe="/")
        except UnicodeEncodeError as error:
            raise NotVisible(path) from error
        answer = await self._get(f"/api/v1/namespace/{quoted}", parameters, credential, address)
        if answer.status_code == 401:
            raise problems.unauthenticated(f"storage: 401 {answer.reason_phrase}")
        if answer.status_code in _ABSENT:
            raise NotVisible(path)
        if answer.status_code != 200:
            raise Unavailable(f"the storage answered {answer.status_code} to a look-up")
        return self._content(answer)

    async def _walk(
        self, credential: Credential, address: str, path: str, content: Mapping[str, Any]
    ) -> places.Found:
        """Find ancestors and permissions one component at a time: a storage without `watch`."""
        above: list[dict[str, Any]] = []
        names = [name for name in path.split("/") if name]
        for depth in range(len(names)):
            directory = "/" + "/".join(names[:depth])
            parameters = {"optional": "true"}
            above.append(await self._namespace(credential, address, directory, parameters))
        if content["fileType"] == FileType.DIR and "children" not in content:
            # Whoever may list it may watch it, and only the storage knows.
            await self._namespace(credential, address, path, {"children": "true", "limit": "1"})
        return places.walked("/" + "/".join(names), above, content)

    async def _get(
        self, path: str, parameters: Mapping[str, str], credential: Credential, address: str
    ) -> httpx.Response:
        headers = {
            "Authorization": credential.header,
            "X-Forwarded-For": address,
            "Accept": "application/json",
            problems.SUPPRESS: "suppress",
        }
        if self._service_key:
            headers[SERVICE_KEY] = self._service_key
        return await self._send(path, parameters, headers)

    async def _send(
        self, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> httpx.Response:
        try:
            try:
                return await self._client.get(path, params=parameters, headers=headers)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A connection from before a restart of the storage: once more, on a new one.
                return await self._client.get(path, params=parameters, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(f"the storage is away: {type(error).__name__}") from error

    @staticmethod
    def _content(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code != http.HTTPStatus.OK:
            return {}
        try:
            content = answer.json()
        except ValueError as error:
            raise Unavailable("the storage's answer is not JSON") from error
        if not isinstance(content, dict):
            raise Unavailable("the storage's answer is not a JSON object")
        return content

    def _key(self, credential: Credential, address: str) -> str:
        text = f"{address}\0{credential.header}".encode("utf-8", "surrogateescape")
        return hmac.new(self._hash_key, text, hashlib.sha256).hexdigest()
