"""How far somebody sees: what they could find by listing, and whether that is all there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.authz import caveats, paths
from storage_sim import namespace, walk
from storage_sim.core import SYSTEM, may_list
from storage_sim.errors import OperationFailed
from storage_sim.reading import Reading

if TYPE_CHECKING:
    from pipeline.authz.principal import Principal
    from storage_sim.walk import Place


class Sight(Reading):
    """Questions about what is hidden; the answers are for the doors, not for users."""

    def sees_all(self, principal: Principal, path: str, *, most: int) -> bool:
        """Whether a principal may list a directory and all below it, of at most `most` objects."""
        with self.database.read() as db:
            place = self._reach(db, principal, path, caveats.READ_METADATA)
            if not may_list(principal, place.found, place.path):
                return False
            found = self._below(db, principal, place, limit=most + 1, offset=0)
        return len(found) <= most and all(
            may_list(principal, inode, namespace.join_path(place.path, name))
            for name, inode in found
            if inode.is_directory
        )

    def may_find(self, principal: Principal, path: str, directory: str) -> bool:
        """Whether a principal may find an object by listing, from a directory down to it.

        Args:
            principal: who looks.
            path: the object's own path in the storage, free of links.
            directory: the same of a directory above it.
        """
        place = self._place_at(path)
        if place is None:
            return False
        names = namespace.split_path(path)
        return all(
            may_list(principal, inode, at)
            for depth, inode in enumerate(place.above)
            if paths.is_below(at := "/" + "/".join(names[:depth]), directory)
        )

    def object_at(self, path: str) -> bytes | None:
        """Return the id of what is at a path in the storage, free of links; None for nothing."""
        place = self._place_at(path)
        return None if place is None else place.found.id

    def _place_at(self, path: str) -> Place | None:
        with self.database.read() as db:
            try:
                place = walk.walk(db, path, SYSTEM, follow=False)
            except OperationFailed:
                return None
        return None if place.inode is None else place
