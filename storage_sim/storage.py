"""The storage: one object with all operations, used by every door and, directly, by tests."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from storage_sim.attributes import Attributes
from storage_sim.billing import INTERNAL, Origin
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from storage_sim.sight import Sight
from storage_sim.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode
    from storage_sim.users import Directory

_CHUNK_BYTES: Final = 1 << 20


class Storage(Sight, Writing, Attributes):
    """A storage system that behaves, and bills. Thread-safe; every method blocks.

    Each operation is one transaction: the namespace's change and its record, or neither.
    """

    def copy(
        self, principal: Principal, source: str, target: str, origin: Origin = INTERNAL
    ) -> Inode:
        """Copy a file's bytes and extended attributes, as a read and an upload."""
        with self.open(principal, source, origin) as old:
            attributes = self.snapshot(principal, source).seen.xattrs
            with self.upload(principal, target, origin) as upload:
                while chunk := old.read(_CHUNK_BYTES):
                    upload.write(chunk)
        for name, value in attributes.items():
            self.set_xattr(principal, target, name, value, origin)
        return upload.inode

    def delete_tree(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> None:
        """Remove an object with all that is in it, bottom up, each as an operation of its own.

        Raises:
            OperationFailed: one could not be removed; what was removed before stays so.
        """
        place = self.stat(principal, path, follow=False)
        if not place.found.is_directory:
            self.delete(principal, path, origin)
            return
        for entry in self.listing(principal, path, origin):
            self.delete_tree(principal, f"{path.rstrip('/')}/{entry.name}", origin)
        self.rmdir(principal, path, origin)

    def prepare(self, directories: Iterable[Directory]) -> None:
        """Make those of a new storage's directories that are missing; leave the others alone."""
        for directory in directories:
            try:
                self.mkdir(SYSTEM, directory.path, mode=directory.mode)
            except OperationFailed as error:
                if error.code != errno.EEXIST:
                    raise
                continue
            if (directory.uid, directory.gid) != (SYSTEM.uid, SYSTEM.gids[0]):
                self.chown(SYSTEM, directory.path, uid=directory.uid, gid=directory.gid)
