"""Files from and to a storage by a URL that carries its own macaroon.

A macaroon stands in the URL, so no message here tells more of a URL than its path. Whatever the
storage can tell of a checksum (`Want-Digest`, RFC 3230) is compared with what was moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import httpx

from schemas.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_CHUNK_BYTES: Final = 1 << 18
_WANT_DIGEST: Final = {"Want-Digest": "adler32"}
_REDIRECTS: Final = 4
_ONWARD: Final = {307, 308}
# Conflict and locked: another upload of the same path is going on; it ends.
_PASSING: Final = {408, 409, 423, 425, 429, 507}


def path_of(url: str) -> str:
    """Return the path in a URL: all of it that may be told."""
    return unquote(urlsplit(url).path)


class Transfers:
    """Moves files.

    Args:
        client: what speaks HTTP; its timeouts say how long nothing may move.
        longest_s: a transfer that takes longer has failed.
    """

    def __init__(self, client: httpx.AsyncClient, longest_s: float) -> None:
        self._client = client
        self._longest_s = longest_s

    async def download(self, url: str, file: Path) -> None:
        """Fetch a file.

        Raises:
            Unavailable: the storage is away, slow, or what arrived is not what it says it sent.
            Refused: it is gone, or the URL is not valid (any more).
        """
        about = f"downloading {path_of(url)}"
        async with self._guarded(about):
            request = self._client.stream("GET", url, headers=_WANT_DIGEST, follow_redirects=True)
            async with request as response:
                _check(response, about)
                sums = 1
                with file.open("wb") as sink:
                    async for chunk in response.aiter_bytes(_CHUNK_BYTES):
                        sink.write(chunk)
                        sums = zlib.adler32(chunk, sums)
                _compare(response, sums, about)

    async def upload(self, file: Path, url: str) -> None:
        """Store a file, and ask the storage whether it is the same there.

        Raises:
            Unavailable: the storage is away, slow, full, or what it has is not what was sent.
            Refused: the URL is not valid (any more), or nothing may be written there.
        """
        about = f"uploading {path_of(url)}"
        sums = _Adler32(file)
        async with self._guarded(about):
            _check(await self._put(url, sums), about)
            told = await self._client.head(url, headers=_WANT_DIGEST)
            if told.is_success:
                _compare(told, sums.value, about)

    async def _put(self, url: str, sums: _Adler32) -> httpx.Response:
        """Send a file; where a door sends it on to a pool, send it there."""
        headers = {"Content-Length": str(sums.size_bytes)}
        where = httpx.URL(url)
        for _ in range(_REDIRECTS):
            response = await self._client.put(where, content=sums.chunks(), headers=headers)
            if response.status_code not in _ONWARD or "Location" not in response.headers:
                break
            where = where.join(response.headers["Location"])
        return response

    @contextlib.asynccontextmanager
    async def _guarded(self, about: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._longest_s):
                yield
        except TimeoutError as error:
            raise Unavailable(f"{about} took longer than {self._longest_s:g} s") from error
        except httpx.HTTPError as error:
            # Its own text may hold the URL, and with it the macaroon.
            raise Unavailable(f"{about}: {type(error).__name__}") from error


class _Adler32:
    """Reads a file in chunks and keeps its checksum."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.size_bytes = file.stat().st_size
        self.value = 1

    async def chunks(self) -> AsyncIterator[bytes]:
        self.value = 1
        for chunk in self._read():
            self.value = zlib.adler32(chunk, self.value)
            yield chunk

    def _read(self) -> Iterator[bytes]:
        with self._file.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                yield chunk


def _check(response: httpx.Response, about: str) -> None:
    status = response.status_code
    if response.is_success:
        return
    said = f"{about}: HTTP {status} {response.reason_phrase}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        raise Unavailable(said)
    raise Refused(said)


def _compare(response: httpx.Response, value: int, about: str) -> None:
    for digest in response.headers.get("Digest", "").split(","):
        algorithm, _, told = digest.strip().partition("=")
        if algorithm.lower() == "adler32" and told.lower().zfill(8) != f"{value:08x}":
            raise Unavailable(f"{about}: adler32 is {value:08x}, the storage says {told}")
