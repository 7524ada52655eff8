"""Compares the catalogue with what storages list: dark data and dangling links.

Files come and go while a storage is listed. So the catalogue is read before and after, and only
what is wrong against both, and still wrong when it is looked at alone, is reported.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import httpx

from pipeline.replication import queries
from pipeline.signed_urls import address
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pipeline.replication.database import Database
    from pipeline.replication.queries import Found
    from pipeline.rules.storages import Storage

_DAV: Final = "{DAV:}"
_PROPERTIES: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/>'
    b"<getcontentlength/></prop></propfind>"
)

DARK: Final = "dark"
DANGLING: Final = "dangling"
SIZE: Final = "size"


class Finding(NamedTuple):
    """Where catalogue and storage differ.

    Attributes:
        kind: `dark` (only the storage has it), `dangling` (only the catalogue has it) or `size`.
        storage: which storage.
        path: the file.
        detail: in a sentence.
    """

    kind: str
    storage: str
    path: str
    detail: str


class Lister:
    """Lists a storage by WebDAV.

    Args:
        storage: its door, and who looks.
        client: what speaks HTTP.
    """

    def __init__(self, storage: Storage, client: httpx.AsyncClient) -> None:
        self._storage = storage
        self._client = client
        self._login = httpx.BasicAuth(storage.user, storage.password)

    async def files(self, directory: str) -> AsyncIterator[tuple[str, int]]:
        """Yield path and size of every file below a directory.

        Raises:
            Unavailable: the storage is away, or shows a directory that it does not list.
        """
        left = [directory.rstrip("/") or "/"]
        while left:
            inside = await self._entries(left.pop())
            for path, size in inside:
                if size is None:
                    left.append(path)
                else:
                    yield path, size

    async def size(self, path: str) -> int | None:
        """Return the size of a file; None if it is absent.

        Raises:
            Unavailable: the storage is away.
        """
        answer = await self._ask("HEAD", path)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return int(answer.headers.get("Content-Length", "0"))

    async def _entries(self, directory: str) -> list[tuple[str, int | None]]:
        """Return what is in a directory; of a directory the size is None."""
        answer = await self._ask("PROPFIND", directory, depth="1", content=_PROPERTIES)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return []  # it was removed since its parent was listed
        if answer.status_code != HTTPStatus.MULTI_STATUS:
            raise Unavailable(f"{directory} cannot be listed: HTTP {answer.status_code}")
        found = []
        # expat itself bounds what entities may grow to (since 2.4)
        tree = ET.fromstring(answer.content)  # noqa: S314
        for response in tree.iter(f"{_DAV}response"):
            path = _path_of(response)
            if path != directory:
                found.append((path, _size_of(response)))
        return found

    async def _ask(
        self, method: str, path: str, *, depth: str = "0", content: bytes = b""
    ) -> httpx.Response:
        try:
            return await self._client.request(
                method,
                address(self._storage.url, path),
                auth=self._login,
                headers={"Depth": depth, "Content-Type": "application/xml"},
                content=content,
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._storage.url}: {type(error).__name__}: {error}") from error


def _path_of(response: ET.Element) -> str:
    return unquote(urlsplit(response.findtext(f"{_DAV}href", "")).path).rstrip("/") or "/"


def _size_of(response: ET.Element) -> int | None:
    if response.find(f".//{_DAV}collection") is not None:
        return None
    return int(response.findtext(f".//{_DAV}getcontentlength") or 0)


async def reconcile(
    database: Database, name: str, lister: Lister, directory: str = "/"
) -> list[Finding]:
    """Compare what the catalogue and a storage say about everything below a directory.

    Args:
        database: the catalogue's.
        name: the storage's.
        lister: lists it.
        directory: where to look.

    Raises:
        Unavailable: the storage cannot be listed whole.
    """
    before = await _known(database, name, directory)
    listed = {path: size async for path, size in lister.files(directory)}
    after = await _known(database, name, directory)
    findings = []
    for path in sorted({*listed, *before, *after}):
        size = listed.get(path)
        wrong = difference(before.get(path), size, after.get(path))
        if wrong is not None and await lister.size(path) == size:
            findings.append(Finding(wrong[0], name, path, wrong[1]))
    return findings


def difference(
    before: Found | None, listed_bytes: int | None, after: Found | None
) -> tuple[str, str] | None:
    """Return what is wrong with a path, as kind and detail; None: nothing, or it is changing.

    Args:
        before: what the catalogue had before the storage was listed.
        listed_bytes: the size in the storage's listing; None: it is not there.
        after: what the catalogue had afterwards.
    """
    if listed_bytes is not None and before is None and after is None:
        return DARK, f"{listed_bytes} bytes that no event told of"
    if before is None or before != after:
        return None
    if listed_bytes is None:
        return DANGLING, "the storage does not have it"
    if listed_bytes != before.size_bytes:
        return SIZE, f"{listed_bytes} bytes, and {before.size_bytes} in the catalogue"
    return None


async def _known(database: Database, name: str, directory: str) -> dict[str, Found]:
    def read() -> dict[str, Found]:
        with database.reading() as db:
            return queries.listing(db, name, directory)

    return await asyncio.to_thread(read)
