"""Copies by HTTP third-party copy: the storages move the bytes, with a macaroon for each file.

The target is asked to pull. Checksums are compared with those that the event of the original told:
the source's before, the target's afterwards, and both once more before an original is freed. While
it pulls, the target compares its own with the source's.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

from pipeline.authz import caveats
from pipeline.replication.executors.base import Away, Hopeless
from pipeline.replication.jobs import Content, Place
from pipeline.signed_urls import SignedUrls, address
from schemas import digests
from schemas.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from pipeline.rules.storages import Storage

_DOWNLOAD: Final = (caveats.DOWNLOAD,)
_UPLOAD: Final = (caveats.UPLOAD, caveats.DELETE)
_DELETE: Final = (caveats.DELETE,)
_STARTED: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
_HOPELESS: Final = frozenset({HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.NOT_IMPLEMENTED})
_NOT_REACHED: Final = (httpx.ConnectError, httpx.ConnectTimeout)
_MAX_REASON: Final = 500


class ThirdPartyCopies:
    """The executor `tpc`.

    Args:
        storages: where storages are, by name, and whose macaroons are used there.
        lifetime_s: how long the macaroon of a transfer lives, in seconds.
        idle_s: a transfer of which nothing is heard for so long has failed, in seconds.
        verify: whether copies must be compared by checksum; only off for storages without any.
        client: what speaks HTTP; None: one with these limits.
    """

    def __init__(
        self,
        storages: Mapping[str, Storage],
        *,
        lifetime_s: float = 3600.0,
        idle_s: float = 60.0,
        verify: bool = True,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._storages = storages
        self._lifetime_s = lifetime_s
        self._verify = verify
        self._client = client or httpx.AsyncClient(
            timeout=httpx.Timeout(idle_s, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )
        self._signed = {
            name: SignedUrls(storage, self._client) for name, storage in storages.items()
        }

    async def close(self) -> None:
        """Give back connections."""
        await self._client.aclose()

    async def copy(
        self, sources: Sequence[Place], target: Place, content: Content, *, replaces: bool
    ) -> None:
        """Have the target pull a copy, and verify it."""
        failures = []
        for source in sources:
            try:
                await self._verify_at(source, content)
                await self._pull(source, target, content, replaces=replaces)
            except Away as error:
                if error.storage == target.storage or len(sources) == 1:
                    raise
                failures.append(str(error))
            except Unavailable as error:
                failures.append(f"{source.storage}: {error}")
            else:
                return
        raise Unavailable("; ".join(failures)[:_MAX_REASON] or "there is nothing to copy from")

    async def _pull(
        self, source: Place, target: Place, content: Content, *, replaces: bool
    ) -> None:
        try:
            await self._of(target).make_parents(target.path)
        except Refused as error:
            raise Unavailable(str(error)) from error
        except Unavailable as error:
            raise _perhaps_away(target, error) from error
        headers = {
            "Source": self._address(source),
            "Overwrite": "T" if replaces else "F",
            "Credential": "none",
            "RequireChecksumVerification": "true" if self._verify else "false",
            "TransferHeaderAuthorization": await self._bearer(source, _DOWNLOAD),
            "Authorization": await self._bearer(target, _UPLOAD),
        }
        async with self._stream("COPY", target, headers) as answer:
            if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
                await self._check_what_is_there(target, content)
                return
            if answer.status_code not in _STARTED:
                raise _failure(answer.status_code, await _text(answer))
            last = ""
            async for line in answer.aiter_lines():
                last = line.strip() or last
        if not last.lower().startswith("success"):
            reason = last.partition(":")[2].strip() if ":" in last else "it ended without a result"
            raise Unavailable(reason[:_MAX_REASON])
        await self._verify_at(target, content)

    async def _check_what_is_there(self, target: Place, content: Content) -> None:
        """A file is at the target: it is the copy, or half of one, or another file."""
        there = await self._content(target)
        if there is None or there.size_bytes == 0 != content.size_bytes:
            raise Unavailable("an upload to the target is still running")
        if not there.is_like(content):
            raise Hopeless("another file is at the target")

    async def _verify_at(self, place: Place, content: Content) -> None:
        there = await self._content(place)
        if there is None:
            raise Unavailable(f"{place.storage} does not have it")
        if not there.is_like(content):
            raise Unavailable(f"{place.storage} has another content of this name")
        if self._verify and not there.checksums:
            raise Unavailable(f"{place.storage} tells no checksum of it")

    async def remove(self, place: Place, content: Content, *, safe_at: Sequence[Place]) -> None:
        """Remove a file that holds `content`, once it is verified elsewhere."""
        for copy in safe_at:
            await self._verify_at(copy, content)
        answer = await self._ask("HEAD", place, _DOWNLOAD, {"Want-Digest": digests.WANT_ALL})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return
        there = _content_of(answer)
        if not there.is_like(content):
            raise Hopeless("it was written again since it was copied")
        tag = answer.headers.get("ETag")
        condition = {"If-Match": tag} if tag and not tag.startswith("W/") else {}
        answer = await self._ask("DELETE", place, _DELETE, condition)
        if answer.status_code == HTTPStatus.PRECONDITION_FAILED:
            raise Hopeless("it was written again since it was copied")
        if answer.status_code not in (
            HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND,
        ):  # fmt: skip
            raise _failure(answer.status_code, answer.text)

    async def _content(self, place: Place) -> Content | None:
        answer = await self._ask("HEAD", place, _DOWNLOAD, {"Want-Digest": digests.WANT_ALL})
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _content_of(answer)

    async def _ask(
        self, method: str, place: Place, activities: tuple[str, ...], headers: Mapping[str, str]
    ) -> httpx.Response:
        bearer = await self._bearer(place, activities)
        try:
            return await self._client.request(
                method, self._address(place), headers={**headers, "Authorization": bearer}
            )
        except httpx.HTTPError as error:
            raise _away(place, error) from error

    @asynccontextmanager
    async def _stream(
        self, method: str, place: Place, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(
                method, self._address(place), headers=dict(headers)
            ) as answer:
                yield answer
        except httpx.HTTPError as error:
            raise _away(place, error) from error

    async def _bearer(self, place: Place, activities: tuple[str, ...]) -> str:
        try:
            token = await self._of(place).token(
                activities, place.path, lifetime_s=self._lifetime_s
            )
        except Unavailable as error:
            raise _perhaps_away(place, error) from error
        return f"Bearer {token}"

    def _of(self, place: Place) -> SignedUrls:
        signed = self._signed.get(place.storage)
        if signed is None:
            raise Hopeless(f"the rules file does not say where storage {place.storage} is")
        return signed

    def _address(self, place: Place) -> str:
        return address(self._storages[place.storage].url, place.path)


def _content_of(answer: httpx.Response) -> Content:
    if answer.status_code != HTTPStatus.OK:
        raise _failure(answer.status_code, answer.reason_phrase)
    known = digests.decode(answer.headers.get("Digest", ""))
    written = " ".join(f"{algorithm}:{value}" for algorithm, value in known.items())
    return Content(int(answer.headers.get("Content-Length", "0")), written)


def _failure(status: int, text: str) -> Hopeless | Unavailable:
    said = " ".join(text.split())[:_MAX_REASON]
    reason = f"HTTP {status} {said}".strip()
    return Hopeless(reason) if status in _HOPELESS else Unavailable(reason)


def _away(place: Place, error: httpx.HTTPError) -> Unavailable:
    said = f"{place.storage} does not answer: {type(error).__name__} {error}".strip()
    return Away(place.storage, said) if isinstance(error, _NOT_REACHED) else Unavailable(said)


def _perhaps_away(place: Place, error: Unavailable) -> Unavailable:
    is_away = isinstance(error.__cause__, _NOT_REACHED)
    return Away(place.storage, str(error)) if is_away else error


async def _text(answer: httpx.Response) -> str:
    await answer.aread()
    return answer.text
