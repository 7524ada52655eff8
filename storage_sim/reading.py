"""Operations that look: stat, list, read, and the snapshot that a watch begins with."""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pipeline.authz import caveats, scope
from schemas import vocabulary
from storage_sim import inodes, namespace, outbox, walk
from storage_sim.billing import INTERNAL, Caller, Origin
from storage_sim.core import Core, may_list
from storage_sim.errors import OperationFailed, forbidden
from storage_sim.transfers import Download
from storage_sim.walk import Place

if TYPE_CHECKING:
    import sqlite3

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode

_OPEN_TRIES: Final = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """An object with what else was asked for.

    Attributes:
        inode: the object.
        name: its name, or the path below what was asked for.
        xattrs: extended attributes.
        labels: labels.
    """

    inode: Inode
    name: str
    xattrs: dict[str, str]
    labels: list[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one transaction saw.

    Attributes:
        place: the object and where it is.
        seen: the object.
        entries: what is in it, where that was asked for.
        positions: every shard's newest number.
        shard: the shard of the object.
        may_watch: whether the user may list the directory or read the file.
    """

    place: Place
    seen: Seen
    entries: list[Seen]
    positions: dict[str, int]
    shard: str
    may_watch: bool


class Reading(Core):
    """The operations that change nothing. They raise `OperationFailed` as the kernel would."""

    def stat(self, principal: Principal, path: str, *, follow: bool = True) -> Place:
        """Return an object and where it is."""
        with self.database.read() as db:
            place = self._reach(db, principal, path, caveats.READ_METADATA, follow=follow)
        place.found  # noqa: B018 - raises when it is absent
        return place

    def path_of(self, inode_id: bytes) -> str | None:
        """Return where an object is, whoever may see it; None when it is gone."""
        with self.database.read() as db:
            place = walk.place_of(db, inode_id)
        return None if place is None else place.path

    def listing(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> list[Inode]:
        """Return what is in a directory, in the order of names."""
        snapshot = self.snapshot(principal, path, children=True, attributes=False, origin=origin)
        if not snapshot.seen.inode.is_directory:
            raise OperationFailed(errno.ENOTDIR)
        return [entry.inode for entry in snapshot.entries]

    def snapshot(
        self,
        principal: Principal,
        path: str,
        *,
        follow: bool = True,
        children: bool = False,
        recursive: bool = False,
        attributes: bool = True,
        limit: int = -1,
        offset: int = 0,
        origin: Origin = INTERNAL,
    ) -> Snapshot:
        """Look at an object, and at what is in it, at one instant.

        Args:
            principal: who looks.
            path: the object.
            follow: whether a symlink at the end is followed.
            children: with a directory, what is in it (EACCES for who may not list it).
            recursive: with children, everything below that the principal may see.
            attributes: also xattrs and labels.
            limit: the most entries; -1: all.
            offset: how many entries to leave out.
            origin: where the request came from.
        """
        with self.database.read() as db:
            place = self._reach(db, principal, path, caveats.READ_METADATA, follow=follow)
            inode, found = place.found, []
            if children and inode.is_directory:
                look = self._below if recursive else self._entries
                found = look(db, principal, place, limit=limit, offset=offset)
            snapshot = Snapshot(
                place=place,
                seen=_seen(db, inode, place.name, attributes),
                entries=[_seen(db, entry, name, attributes) for name, entry in found],
                positions=outbox.positions(db),
                shard=self._biller.shard_of(place.path),
                may_watch=self._may_watch(principal, place),
            )
        if children and inode.is_directory and self._bill_listings:
            self._tell(vocabulary.Kind.LIST, inode.id, Caller(principal, origin))
        return snapshot

    def _may_watch(self, principal: Principal, place: Place) -> bool:
        inode = place.found
        if inode.is_directory:
            return may_list(principal, inode, place.path)
        return scope.allows(principal, inode.permission, "r") and caveats.may_act(
            principal.restrictions, "DOWNLOAD", place.path
        )

    def _entries(
        self,
        db: sqlite3.Connection,
        principal: Principal,
        place: Place,
        *,
        limit: int = -1,
        offset: int = 0,
    ) -> list[tuple[str, Inode]]:
        """Return a directory's entries that the principal's token lets them know of."""
        directory, restrictions = place.found, principal.restrictions
        if not may_list(principal, directory, place.path):
            raise forbidden()
        if restrictions.path == "/" and not restrictions.granted:
            found = inodes.children(db, directory.id, limit=limit, offset=offset)
        else:
            shown = [
                entry
                for entry in inodes.children(db, directory.id)
                if caveats.may_act(
                    restrictions,
                    caveats.READ_METADATA,
                    namespace.join_path(place.path, entry.name),
                )
            ]
            found = _page(shown, limit, offset)
        return [(entry.name, entry) for entry in found]

    def _below(
        self,
        db: sqlite3.Connection,
        principal: Principal,
        place: Place,
        *,
        limit: int,
        offset: int,
    ) -> list[tuple[str, Inode]]:
        """Return all below a directory that may be seen, each directory before what is in it."""
        found: list[tuple[str, Inode]] = []
        ahead = [("", place)]
        while ahead:
            under, here = ahead.pop()
            if under:
                found.append((under, here.found))
            if here.found.is_directory and (
                not under or may_list(principal, here.found, here.path)
            ):
                ahead.extend(
                    (
                        f"{under}/{name}" if under else name,
                        Place(
                            (*here.above, here.found),
                            entry,
                            namespace.join_path(here.path, name),
                        ),
                    )
                    for name, entry in reversed(self._entries(db, principal, here))
                )
            if 0 <= limit <= len(found) - offset:
                break
        return _page(found, limit, offset)

    def check_readable(self, principal: Principal, path: str) -> None:
        """Check that a file's bytes or a directory's entries may be read; nothing is told."""
        with self.database.read() as db:
            place = self._reach(db, principal, path, caveats.READ_METADATA)
        if not self._may_watch(principal, place):
            raise forbidden()

    def open(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> Download:
        """Open a file for reading; it is told when it is closed."""
        for _ in range(_OPEN_TRIES):
            with self.database.read() as db:
                place = self._reach(db, principal, path, "DOWNLOAD")
            inode = place.found
            if inode.is_directory:
                raise OperationFailed(errno.EISDIR)
            if not scope.allows(principal, inode.permission, "r"):
                raise forbidden()
            try:
                file = self.contents.open(inode.content) if inode.content else io.BytesIO()
            except FileNotFoundError:
                continue  # overwritten and swept since the look-up
            return Download(self, Caller(principal, origin), inode, file)
        raise OperationFailed(errno.EBUSY)

    def read(self, principal: Principal, path: str, origin: Origin = INTERNAL) -> bytes:
        """Return a whole file."""
        with self.open(principal, path, origin) as download:
            return download.read()

    def end_read(self, download: Download) -> None:
        """Tell that a file was read; called by the download when it is closed."""
        if not self._bill_reads:
            return
        went_away = download.failed or download.sent_bytes < download.expected_bytes
        code = errno.ECONNABORTED if went_away else 0
        self._tell(
            vocabulary.Kind.READ,
            download.inode.id,
            download.caller,
            transferred_bytes=download.sent_bytes,
            duration_ms=download.elapsed_ms(),
            status_code=code,
            status_message="the client went away" if code else "",
        )

    def _tell(
        self, kind: vocabulary.Kind, inode_id: bytes, caller: Caller, **details: object
    ) -> None:
        """Tell what changed nothing, unless the object is gone meanwhile."""

        def work(db: sqlite3.Connection) -> None:
            place = walk.place_of(db, inode_id)
            if place is not None:
                self._biller.bill(db, kind, place, caller, **details)

        self.database.write(work)


def _page(found: list[T], limit: int, offset: int) -> list[T]:
    return found[offset:] if limit < 0 else found[offset : offset + limit]


def _seen(db: sqlite3.Connection, inode: Inode, name: str, attributes: bool) -> Seen:  # noqa: FBT001
    if not attributes:
        return Seen(inode, name, {}, [])
    return Seen(inode, name, inodes.xattrs(db, inode), inodes.labels(db, inode))
