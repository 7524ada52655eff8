"""What files and collections of the WebDAV door have in common.

Deleting, moving and copying are done by the storage, not by WsgiDAV's walk over descendants: a
rename stays one operation, and a symlink to a directory is removed and not what it leads to.
Dead properties are extended attributes.
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
    HTTP_PRECONDITION_FAILED,
    DAVError,
)
from wsgidav.util import etree

from pipeline.authz import paths
from schemas.errors import Unavailable
from storage_sim.doors import destinations, locks
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.authz.principal import Principal
    from storage_sim.billing import Origin
    from storage_sim.inodes import Inode
    from storage_sim.storage import Storage

PRINCIPAL: Final = "storage.principal"
ORIGIN: Final = "storage.origin"
CREATED: Final = "storage.created"
"""Where the WSGI environment holds them."""

_LIVE: Final = "{DAV:}"
_LOCKS: Final = "{DAV:}lockdiscovery"

_STATUSES: Final = {
    errno.ENOENT: HTTP_NOT_FOUND,
    errno.EACCES: HTTP_FORBIDDEN,
    errno.EPERM: HTTP_FORBIDDEN,
    errno.EEXIST: HTTP_METHOD_NOT_ALLOWED,
    errno.EINVAL: HTTP_BAD_REQUEST,
    errno.ENAMETOOLONG: HTTP_BAD_REQUEST,
    errno.EFBIG: 413,
    errno.E2BIG: 413,
    errno.ENOSPC: 507,
    errno.ESTALE: HTTP_PRECONDITION_FAILED,
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
    except Unavailable as error:
        headers = [("Retry-After", str(error.retry_after_s))]
        raise DAVError(503, str(error), add_headers=headers) from error


class Resource:
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

    def prevent_locking(self) -> bool:
        """Say whether the user may not lock it; WsgiDAV asks when somebody wants to."""
        if self.environ["REQUEST_METHOD"] != "LOCK":
            return False
        is_deep = self.environ.get("HTTP_DEPTH", "infinity") != "0"
        return not locks.may_lock(self.storage, self._who, self.path, is_deep=is_deep)

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
        target = destinations.show(dest_path)
        with as_dav_errors():
            self.storage.check_rename(self._who, self.path, target)
            self._clear(target, keep_files=True)
            self.storage.rename(self._who, self.path, target, self._origin)
        self.remove_all_locks(recursive=True)  # type: ignore[attr-defined] # WsgiDAV's
        return True

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> bool:
        """Copy the object, and with infinite depth all in it."""
        target = destinations.show(dest_path)
        with as_dav_errors():
            self.storage.check_readable(self._who, self.path)
            self._clear(target, keep_files=not self.inode or not self.inode.is_directory)
            assert self.inode is not None, "only what is there is copied"
            self._copy(self.inode, self.path, target, depth_infinity=depth_infinity)
        return True

    def _clear(self, target: str, *, keep_files: bool) -> None:
        """Note whether the target is new; remove what cannot be replaced in one step."""
        try:
            place = self.storage.stat(self._who, target, follow=False)
            there = place.found
        except OperationFailed as error:
            if error.code != errno.ENOENT:
                raise
            self.environ[CREATED] = True
            return
        own_path = self.storage.stat(self._who, self.path, follow=False).path
        if any(paths.is_below(path, place.path) for path in (own_path, self.real_path)):
            raise OperationFailed(errno.EPERM, "nothing replaces itself, or what it is in")
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
