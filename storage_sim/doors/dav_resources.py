"""The storage's objects as WsgiDAV wants them. Dead properties are extended attributes.

Deleting, moving and copying are done by the storage, not by WsgiDAV's walk over descendants: a
rename stays one operation, and a symlink to a directory is removed and not what it leads to.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from wsgidav import xml_tools
from wsgidav.dav_error import (
    HTTP_BAD_REQUEST,
    HTTP_CONFLICT,
    HTTP_FORBIDDEN,
    HTTP_METHOD_NOT_ALLOWED,
    HTTP_NOT_FOUND,
    DAVError,
    PRECONDITION_CODE_PropfindFiniteDepth,
)
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider
from wsgidav.util import etree

from storage_sim import namespace
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.authz.principal import Principal
    from storage_sim.billing import Origin
    from storage_sim.inodes import Inode
    from storage_sim.reading import Download, Seen
    from storage_sim.storage import Storage
    from storage_sim.uploads import Upload
    from storage_sim.walk import Place

PRINCIPAL: Final = "storage.principal"
ORIGIN: Final = "storage.origin"
CREATED: Final = "storage.created"
"""Where the WSGI environment holds them."""

_LIVE: Final = "{DAV:}"
_LOCKS: Final = "{DAV:}lockdiscovery"
_INFINITE_MAX: Final = 10_000

_STATUSES: Final = {
    errno.ENOENT: HTTP_NOT_FOUND,
    errno.EACCES: HTTP_FORBIDDEN,
    errno.EPERM: HTTP_FORBIDDEN,
    errno.EEXIST: HTTP_METHOD_NOT_ALLOWED,
    errno.EINVAL: HTTP_BAD_REQUEST,
    errno.ENAMETOOLONG: HTTP_BAD_REQUEST,
    errno.EFBIG: 413,
    errno.ENOSPC: 507,
    errno.ECONNABORTED: HTTP_BAD_REQUEST,
}


def dav_error(error: OperationFailed) -> Any:
    """Return WsgiDAV's error for one of the storage."""
    return DAVError(_STATUSES.get(error.code, HTTP_CONFLICT), str(error))


@contextlib.contextmanager
def as_dav_errors() -> Iterator[None]:
    """Raise the storage's errors as WsgiDAV's."""
    try:
        yield
    except OperationFailed as error:
        raise dav_error(error) from error


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
        try:
            place = self.storage.stat(environ[PRINCIPAL], path)
        except OperationFailed as error:
            if error.code in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise dav_error(error) from error
        return _resource(path, environ, self.storage, place)

    def custom_request_handler(
        self, environ: dict[str, Any], start_response: Any, default_handler: Any
    ) -> Any:
        """Answer 201 where a copy or move made a new object; WsgiDAV says 204 of ours."""

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if environ.get(CREATED) and status.startswith("204"):
                status = "201 Created"
            return start_response(status, headers, exc_info)

        return default_handler(environ, start)


def _resource(path: str, environ: dict[str, Any], storage: Storage, place: Place) -> Any:
    kind = Collection if place.found.is_directory else File
    return kind(path, environ, storage, place.found, place.path)


class _Resource:
    """What files and collections have in common.

    Attributes:
        inode: the object; None for a file that a PUT will make.
        real_path: its path in the storage, free of links.
    """

    path: str
    environ: dict[str, Any]
    provider: Any
    storage: Storage
    inode: Inode | None
    real_path: str

    @property
    def _who(self) -> Principal:
        principal: Principal = self.environ[PRINCIPAL]
        return principal

    @property
    def _origin(self) -> Origin:
        origin: Origin = self.environ[ORIGIN]
        return origin

    def get_ref_url(self) -> str:
        """Return what locks are kept under: one key for all paths to an object."""
        return quote(self.real_path)

    def get_creation_date(self) -> float:
        """Return the creation time, epoch seconds."""
        return self.inode.created_us / 1e6 if self.inode else 0.0

    def get_last_modified(self) -> float:
        """Return the time of the last change, epoch seconds."""
        return self.inode.modified_us / 1e6 if self.inode else 0.0

    def set_last_modified(self, _path: str, stamp: Any, *, dry_run: bool) -> bool:
        """Set the time of the last change, epoch seconds."""
        if not dry_run:
            with as_dav_errors():
                self.storage.set_modified(
                    self._who, self.path, int(float(stamp) * 1e6), self._origin
                )
        return True

    def _xattrs(self) -> dict[str, str]:
        with as_dav_errors():
            return self.storage.snapshot(self._who, self.path).seen.xattrs

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        """Return the names of live and dead properties."""
        names: list[str] = super().get_property_names(is_allprop=is_allprop)  # type: ignore[misc]
        return names + [name for name in self._xattrs() if name.startswith("{")]

    def get_property_value(self, name: str) -> Any:
        """Return a live property, or a dead one from the extended attributes."""
        if name == _LOCKS and self._who.restrictions.root != "/":
            return etree.Element(name)  # paths of locks are not this user's paths
        if not name.startswith(_LIVE):
            value = self._xattrs().get(name)
            if value is not None:
                return xml_tools.string_to_xml(value)
        return super().get_property_value(name)  # type: ignore[misc]

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> None:
        """Set a dead property, or remove it if the value is None."""
        if name.startswith(_LIVE):
            super().set_property_value(name, value, dry_run=dry_run)  # type: ignore[misc]
            return
        if dry_run:
            return
        with as_dav_errors():
            if value is not None:
                text = etree.tostring(value, encoding="unicode")
                self.storage.set_xattr(self._who, self.path, name, text, self._origin)
                return
            try:
                self.storage.rm_xattr(self._who, self.path, name, self._origin)
            except OperationFailed as error:
                if error.code != errno.ENODATA:
                    raise

    def handle_delete(self) -> bool:
        """Remove the object and all in it, unless something there is locked."""
        if self.provider.lock_manager:
            self.provider.lock_manager.check_write_permission(
                url=self.get_ref_url(),
                depth="infinity",
                token_list=self.environ["wsgidav.ifLockTokenList"],
                principal=self.environ["wsgidav.user_name"],
            )
        with as_dav_errors():
            self.storage.delete_tree(self._who, self.path, self._origin)
        self.remove_all_locks(recursive=True)  # type: ignore[attr-defined] # WsgiDAV's
        return True

    def handle_move(self, dest_path: str) -> bool:
        """Rename the object; a directory that is in the way goes first, as WebDAV wants it."""
        with as_dav_errors():
            self._clear(dest_path, keep_files=True)
            self.storage.rename(self._who, self.path, dest_path, self._origin)
        self.remove_all_locks(recursive=True)  # type: ignore[attr-defined] # WsgiDAV's
        return True

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> bool:
        """Copy the object, and with infinite depth all in it."""
        with as_dav_errors():
            self._clear(dest_path, keep_files=not self.inode or not self.inode.is_directory)
            assert self.inode is not None, "only what is there is copied"
            self._copy(self.inode, self.path, dest_path, depth_infinity=depth_infinity)
        return True

    def _clear(self, target: str, *, keep_files: bool) -> None:
        """Note whether the target is new; remove what cannot be replaced in one step."""
        try:
            there = self.storage.stat(self._who, target, follow=False).found
        except OperationFailed as error:
            if error.code != errno.ENOENT:
                raise
            self.environ[CREATED] = True
            return
        is_directory = self.inode is not None and self.inode.is_directory
        if there.is_directory or is_directory or not keep_files:
            self.storage.delete_tree(self._who, target, self._origin)

    def _copy(self, inode: Inode, source: str, target: str, *, depth_infinity: bool) -> None:
        if inode.is_link:
            self.storage.symlink(self._who, inode.target, target, self._origin)
        elif not inode.is_directory:
            self.storage.copy(self._who, source, target, self._origin)
        else:
            snapshot = self.storage.snapshot(self._who, source, children=depth_infinity)
            self.storage.mkdir(self._who, target, self._origin)
            for name, value in snapshot.seen.xattrs.items():
                self.storage.set_xattr(self._who, target, name, value, self._origin)
            for entry in snapshot.entries:
                self._copy(
                    entry.inode,
                    f"{source.rstrip('/')}/{entry.name}",
                    f"{target.rstrip('/')}/{entry.name}",
                    depth_infinity=True,
                )


class Collection(_Resource, DAVCollection):  # type: ignore[misc] # WsgiDAV has no types
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


class File(_Resource, DAVNonCollection):  # type: ignore[misc] # WsgiDAV has no types
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
        if self.inode is None:
            return None
        return self.inode.content or f"{self.inode.id.hex()}-{self.inode.modified_us:x}"

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
        with as_dav_errors():
            self._upload = self.storage.upload(self._who, self.path, self._origin)
        return self

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
