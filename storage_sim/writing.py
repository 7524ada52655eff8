"""Writing files: what begins an upload, what it is while it runs, and how it ends.

An upload is told when it begins (CREATE, where the file is new) and when it ends (UPLOAD). Until
then a new file is there and empty, and an old one keeps its content. What fails, also with the
death of the process, leaves no content: UPLOAD with its status, and DELETE where the file was new.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from pipeline.authz import scope
from schemas import vocabulary
from storage_sim import inodes, walk
from storage_sim.billing import INTERNAL, Caller, Origin
from storage_sim.core import caller_from, caller_text
from storage_sim.errors import OperationFailed, changed, forbidden, not_found
from storage_sim.transfers import APPEND, NEW, OVERWRITE, SIZE, Begun, Upload
from storage_sim.tree import Tree

if TYPE_CHECKING:
    import sqlite3

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode
    from storage_sim.transfers import Condition


class Writing(Tree):
    """The operations that write bytes. They raise `OperationFailed` as the kernel would."""

    def upload(
        self,
        principal: Principal,
        path: str,
        origin: Origin = INTERNAL,
        *,
        mode: int = 0o644,
        append: bool = False,
        exclusive: bool = False,
        announced_bytes: int = 0,
        only_if: Condition | None = None,
    ) -> Upload:
        """Begin to write a file, which is made if it is missing.

        Args:
            principal: who writes.
            path: the file.
            origin: where the request came from.
            mode: permission bits of a new file.
            append: go on behind what an old file has.
            exclusive: refuse an old file.
            announced_bytes: how much will come, as far as is known: what is too large does not
                begin.
            only_if: what must hold of the file, or of there being none, when the upload begins
                and when it ends (ESTALE).
        """
        largest = self._largest(principal)
        if largest is not None and announced_bytes > largest:
            raise OperationFailed(errno.EFBIG, f"a file has at most {largest} bytes")
        how = APPEND if append else NEW if exclusive else OVERWRITE
        upload = self._start(Caller(principal, origin), path, how, mode, only_if)
        if append:
            upload.preload(upload.inode.size)
        return upload

    def write(
        self, principal: Principal, path: str, data: bytes, origin: Origin = INTERNAL, **how: Any
    ) -> Inode:
        """Write a whole file (or, with `append=True`, behind what it has); return it."""
        with self.upload(principal, path, origin, **how) as upload:
            upload.write(data)
        return upload.inode

    def truncate(
        self, principal: Principal, path: str, size: int, origin: Origin = INTERNAL
    ) -> None:
        """Cut a file, or fill it with zeros, to a size in bytes; told as SETATTR of `size`."""
        if size < 0:
            raise OperationFailed(errno.EINVAL, "a size is not negative")
        with self._start(Caller(principal, origin), path, SIZE, 0) as upload:
            upload.preload(size)

    def recover(self) -> int:
        """End the uploads that died with an earlier process; return how many there were."""
        with self.database.read() as db:
            left = db.execute("SELECT content, inode, attribute, who FROM uploads").fetchall()
        for content, inode_id, attribute, who in left:
            begun = Begun(content, inode_id, attribute, caller_from(who))
            self.fail(begun, errno.EINTR, "the storage was stopped during the upload", 0)
        return len(left)

    def _start(
        self,
        caller: Caller,
        path: str,
        how: str,
        mode: int,
        only_if: Condition | None = None,
    ) -> Upload:
        content, file = self.contents.create()
        try:
            inode, attribute = self.database.write(
                lambda db: self._begin(
                    db, content, caller, path, how=how, mode=mode, only_if=only_if
                )
            )
        except BaseException:
            file.close()
            self.contents.remove(content)
            raise
        return Upload(
            self,
            Begun(content, inode.id, attribute, caller),
            inode,
            file,
            max_bytes=self._largest(caller.principal),
            only_if=only_if,
        )

    def _largest(self, principal: Principal) -> int | None:
        """Return the size of the largest file that a principal may write; None: any."""
        limits = (self._max_upload_bytes or None, principal.restrictions.max_upload_bytes)
        return min((limit for limit in limits if limit is not None), default=None)

    def _begin(
        self,
        db: sqlite3.Connection,
        content: str,
        caller: Caller,
        path: str,
        *,
        how: str,
        mode: int,
        only_if: Condition | None,
    ) -> tuple[Inode, str]:
        """Make the file if it is missing, and note that it is being written."""
        principal = caller.principal
        # as O_EXCL, which refuses also a link that leads nowhere
        place = self._reach(db, principal, path, "UPLOAD", follow=how != NEW)
        there = place.inode
        if place.inode is None and how != SIZE:
            kind, how = vocabulary.FileType.REGULAR, NEW
            place = self._add(db, place, kind, caller, mode, content=None)
        elif how == NEW:
            raise OperationFailed(errno.EEXIST)
        elif place.found.is_directory:
            raise OperationFailed(errno.EISDIR)
        elif not scope.allows(principal, place.found.permission, "w"):
            raise forbidden()
        if only_if is not None and not only_if(there):
            raise changed()
        inode = place.found
        row = (content, inode.id, how, caller_text(caller))
        db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", row)
        return inode, how

    def finish(self, upload: Upload) -> Inode:
        """Give a file its new content, and tell it; called by the upload when it ends well."""
        return self.database.write(lambda db: self._finish(db, upload))

    def _finish(self, db: sqlite3.Connection, upload: Upload) -> Inode:
        begun = upload.begun
        db.execute("DELETE FROM uploads WHERE content = ?", (begun.content,))
        place = walk.place_of(db, begun.inode_id)
        if upload.only_if is not None:
            # what it made itself to write in is not there for others
            is_own = begun.attribute == NEW and place is not None and place.found.content is None
            if not upload.only_if(None if place is None or is_own else place.found):
                raise changed()
        if place is None:
            raise not_found()
        now_us = self._biller.clock_us()
        self._discard(db, place.found)
        after = inodes.update(
            db,
            place.found,
            content=begun.content,
            size=upload.size,
            checksums=upload.checksums.text(),
            modified_us=now_us,
            changed_us=now_us,
        )
        kind = vocabulary.Kind.SETATTR
        details: dict[str, Any] = {"attribute": begun.attribute}
        if begun.attribute != SIZE:
            kind = vocabulary.Kind.UPLOAD
            details["transferred_bytes"] = upload.received_bytes
            details["duration_ms"] = upload.elapsed_ms()
        self._biller.bill(db, kind, place.holding(after), begun.caller, **details)
        return after

    def fail(self, begun: Begun, code: int, message: str, received_bytes: int) -> None:
        """Tell that an upload failed; a file that was new for it goes. Called by the upload."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM uploads WHERE content = ?", (begun.content,))
            db.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (begun.content,))
            place = walk.place_of(db, begun.inode_id)
            if place is None or begun.attribute == SIZE:
                return
            self._biller.bill(
                db,
                vocabulary.Kind.UPLOAD,
                place,
                begun.caller,
                attribute=begun.attribute,
                transferred_bytes=received_bytes,
                status_code=code,
                status_message=message,
            )
            others = db.execute("SELECT 1 FROM uploads WHERE inode = ?", (begun.inode_id,))
            if place.found.content is None and others.fetchone() is None:
                self._remove(db, vocabulary.Kind.DELETE, place, begun.caller)

        self.database.write(work)
