"""The storage's files and directories as WsgiDAV wants them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from wsgidav.dav_error import (
    HTTP_BAD_REQUEST,
    HTTP_FORBIDDEN,
    HTTP_METHOD_NOT_ALLOWED,
    HTTP_PRECONDITION_FAILED,
    DAVError,
    PRECONDITION_CODE_PropfindFiniteDepth,
)
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider

from storage_sim import namespace
from storage_sim.doors import destinations, listing, locks, preconditions
from storage_sim.doors.dav_resource import (
    CREATED,
    ORIGIN,
    PRINCIPAL,
    Resource,
    as_dav_errors,
)
from storage_sim.doors.preconditions import EXCLUSIVE, HOLDS
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from storage_sim.inodes import Inode
    from storage_sim.reading import Seen
    from storage_sim.storage import Storage
    from storage_sim.transfers import Condition, Download, Upload
    from storage_sim.walk import Place

_NOT_OF_ROOT: Final = frozenset({"PUT", "DELETE", "MOVE", "COPY"})
_INFINITE_MAX: Final = 10_000
_READING: Final = frozenset({"GET", "HEAD"})
_PAGE: Final = "text/html; charset=utf-8"
_OF_A_BODY: Final = ("Content-Type", "Content-Length")
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class StorageProvider(DAVProvider):  # type: ignore[misc] # WsgiDAV has no types
    """What WsgiDAV asks for the object at a path.

    Args:
        storage: where the objects are.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> Any:
        """Return the object at a path; None when it is absent or not to be known of."""
        path = destinations.show(path)
        with as_dav_errors():
            try:
                place = self.storage.stat(environ[PRINCIPAL], path)
            except OperationFailed as error:
                if error.code in _NOT_THERE:
                    return None
                raise
        return _resource(path, environ, self.storage, place)

    def custom_request_handler(
        self, environ: dict[str, Any], start_response: Any, default_handler: Any
    ) -> Any:
        """Judge conditions; show a directory as a page; leave all else to WsgiDAV."""
        path = environ["PATH_INFO"]
        if path == "/" and environ["REQUEST_METHOD"] in _NOT_OF_ROOT:
            raise DAVError(HTTP_FORBIDDEN, "The root stays as it is.")
        if preconditions.is_conditional(environ):
            there = self._there(path, environ)
            status = preconditions.refusal(environ, there)
            if status == preconditions.NOT_MODIFIED:
                tag = [("ETag", f'"{there.etag}"')] if there and there.etag else []
                start_response("304 Not Modified", tag)
                return [b""]
            if status:
                raise DAVError(status)
        preconditions.settle(environ)
        if "HTTP_DESTINATION" in environ:
            environ["HTTP_DESTINATION"] = destinations.hide(environ["HTTP_DESTINATION"])
        if environ["REQUEST_METHOD"] in _READING and self.is_collection(path, environ):
            return self._show(path, environ, start_response)
        return self._handle(environ, start_response, default_handler)

    @staticmethod
    def _handle(environ: dict[str, Any], start_response: Any, default_handler: Any) -> Any:
        """Let WsgiDAV answer; what it says on a page with version and time is said in a line."""
        line: bytes | None = None

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            nonlocal line
            if environ.get(CREATED) and status.startswith("204"):
                status = "201 Created"
            is_content = environ["REQUEST_METHOD"] in _READING and status.startswith("2")
            if ("Content-Type", _PAGE) in headers and not is_content:
                line = b"" if status.startswith("2") else f"{status}\n".encode()
                kept = [pair for pair in headers if pair[0] not in _OF_A_BODY]
                type_ = [("Content-Type", "text/plain; charset=utf-8")] if line else []
                headers = [*kept, *type_, ("Content-Length", str(len(line)))]
            return start_response(status, headers, exc_info)

        with locks.asked_by(environ[PRINCIPAL]):
            answer = default_handler(environ, start)
        return answer if line is None else [line]

    def _there(self, path: str, environ: dict[str, Any]) -> preconditions.There | None:
        """Return what a request's conditions are about."""
        found = self.get_resource_inst(path, environ)
        if found is None:
            return None
        if found.is_collection:  # its page shows more than its own times tell
            return preconditions.There(found.get_etag(), None)
        return _there(found.inode)

    def _show(self, path: str, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with as_dav_errors():
            entries = self.storage.listing(environ[PRINCIPAL], path, environ[ORIGIN])
        body = listing.page(path, entries)
        headers = [
            ("Content-Type", listing.CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", "default-src 'none'"),
        ]
        start_response("200 OK", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _resource(path: str, environ: dict[str, Any], storage: Storage, place: Place) -> Any:
    kind = Collection if place.found.is_directory else File
    return kind(path, environ, storage, place.found, place.path)


def _there(file: Inode) -> preconditions.There:
    return preconditions.There(_etag(file), file.modified_us // 1_000_000)


def _etag(file: Inode) -> str:
    return file.content or f"{file.id.hex()}-{file.modified_us:x}"


class Collection(Resource, DAVCollection):  # type: ignore[misc] # WsgiDAV has no types
    """A directory."""

    def __init__(
        self, path: str, environ: dict[str, Any], storage: Storage, inode: Inode, real_path: str
    ) -> None:
        DAVCollection.__init__(self, path, environ)
        self.storage = storage
        self.inode: Inode | None = inode
        self.real_path = real_path

    def get_member_names(self) -> list[str]:
        """Return the names in it."""
        with as_dav_errors():
            return [entry.name for entry in self.storage.listing(self._who, self.path)]

    def get_descendants(self, *, depth: str = "infinity", add_self: bool = False, **_: Any) -> Any:
        """Return what PROPFIND shows, seen at one instant."""
        found: list[Any] = [self] if add_self else []
        if depth == "0":
            return found
        deep = depth == "infinity"
        with as_dav_errors():
            entries = self.storage.snapshot(
                self._who,
                self.path,
                children=True,
                recursive=deep,
                attributes=False,
                limit=_INFINITE_MAX + 1 if deep else -1,
                origin=self._origin,
            ).entries
        if deep and len(entries) > _INFINITE_MAX:
            raise DAVError(HTTP_FORBIDDEN, err_condition=PRECONDITION_CODE_PropfindFiniteDepth)
        for entry in entries:
            resource = self._member(entry)
            if resource is not None:
                found.append(resource)
        return found

    def _member(self, entry: Seen) -> Any:
        path = f"{self.path.rstrip('/')}/{entry.name}"
        if entry.inode.is_link:
            return self.provider.get_resource_inst(path, self.environ)
        kind = Collection if entry.inode.is_directory else File
        real_path = namespace.join_path(self.real_path, entry.name)
        return kind(path, self.environ, self.storage, entry.inode, real_path)

    def create_empty_resource(self, name: str) -> Any:
        """Make an empty file (LOCK), or prepare one that is about to be uploaded (PUT)."""
        path = f"{self.path.rstrip('/')}/{name}"
        if self.environ["REQUEST_METHOD"] == "PUT":
            real_path = namespace.join_path(self.real_path, name)
            return File(path, self.environ, self.storage, None, real_path)
        with as_dav_errors():
            self.storage.write(self._who, path, b"", self._origin, exclusive=True)
        return self.provider.get_resource_inst(path, self.environ)

    def create_collection(self, name: str) -> None:
        """Make a directory in it."""
        with as_dav_errors():
            self.storage.mkdir(self._who, f"{self.path.rstrip('/')}/{name}", self._origin)


class File(Resource, DAVNonCollection):  # type: ignore[misc] # WsgiDAV has no types
    """A file."""

    def __init__(
        self,
        path: str,
        environ: dict[str, Any],
        storage: Storage,
        inode: Inode | None,
        real_path: str,
    ) -> None:
        DAVNonCollection.__init__(self, path, environ)
        self.storage = storage
        self.inode = inode
        self.real_path = real_path
        self._upload: Upload | None = None

    def get_content_length(self) -> int:
        """Return the size in bytes."""
        return self.inode.size if self.inode else 0

    def get_etag(self) -> str | None:
        """Return what changes with each content."""
        return None if self.inode is None else _etag(self.inode)

    def support_etag(self) -> bool:
        """Say that there is one."""
        return True

    def support_ranges(self) -> bool:
        """Say that parts can be read."""
        return True

    def get_content(self) -> Download:
        """Open the file."""
        with as_dav_errors():
            download = self.storage.open(self._who, self.path, self._origin)
        if "HTTP_RANGE" not in self.environ:
            download.expected_bytes = download.inode.size
        return download

    def begin_write(self, *, content_type: str | None = None) -> File:  # noqa: ARG002 - WsgiDAV's
        """Begin an upload; WsgiDAV writes to the file itself."""
        announced = int(self.environ.get("CONTENT_LENGTH") or 0)
        try:
            with as_dav_errors():
                self._upload = self.storage.upload(
                    self._who,
                    self.path,
                    self._origin,
                    announced_bytes=announced,
                    exclusive=EXCLUSIVE in self.environ,
                    only_if=self._condition(),
                )
        except DAVError as error:
            if error.value == HTTP_METHOD_NOT_ALLOWED:  # somebody else was first
                raise DAVError(HTTP_PRECONDITION_FAILED, "there is one now") from error
            raise
        return self

    def _condition(self) -> Condition | None:
        """Return what must still hold when the upload ends."""
        holds = self.environ.get(HOLDS)
        if holds is None:
            return None
        return lambda file: bool(holds(None if file is None else _there(file)))

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        assert self._upload is not None, "WsgiDAV calls begin_write first"
        with as_dav_errors():
            self._upload.write(chunk)

    def close(self) -> None:
        """End the upload, if all bytes that were announced have come."""
        assert self._upload is not None, "WsgiDAV calls begin_write first"
        announced = int(self.environ.get("CONTENT_LENGTH") or 0)
        if self._upload.received_bytes < announced:
            message = f"{self._upload.received_bytes} of {announced} bytes came"
            self._upload.abort(errno.ECONNABORTED, message)
            raise DAVError(HTTP_BAD_REQUEST, message)
        with as_dav_errors():
            self.inode = self._upload.commit()

    def end_write(self, *, with_errors: bool) -> None:
        """End an upload that failed."""
        if with_errors and self._upload is not None:
            self._upload.abort(errno.ECONNABORTED, "the client went away")
