"""Writing files: what begins an upload, what it is while it runs, and how it ends.

An upload is told when it begins (CREATE, where the file is new) and when it ends (UPLOAD). Until
then a new file is there and empty, and an old one keeps its content. What fails, also with the
death of the process, leaves no content: UPLOAD with its status, and DELETE where the file was new.
"""

from __future__ import annotations

import errno
import time
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, Self

from pipeline.authz import scope
from schemas import vocabulary
from storage_sim import inodes, walk
from storage_sim.billing import INTERNAL, Caller, Origin
from storage_sim.checksums import Checksums
from storage_sim.core import caller_from, caller_text
from storage_sim.errors import OperationFailed, forbidden, not_found
from storage_sim.tree import Tree

if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode

NEW: Final = "new"
OVERWRITE: Final = "overwrite"
APPEND: Final = "append"
SIZE: Final = "size"
_CHUNK_BYTES: Final = 1 << 20


class Begun(NamedTuple):
    """An upload that has begun, as the database knows it until it ends.

    Attributes:
        content: the name of the content that is written.
        inode_id: the file.
        attribute: what its record will say: new, overwrite, append or size.
        caller: who writes.
    """

    content: str
    inode_id: bytes
    attribute: str
    caller: Caller


class Uploads(Tree):
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
    ) -> Upload:
        """Begin to write a file, which is made if it is missing.

        Args:
            principal: who writes.
            path: the file.
            origin: where the request came from.
            mode: permission bits of a new file.
            append: go on behind what an old file has.
            exclusive: refuse an old file.
        """
        how = APPEND if append else NEW if exclusive else OVERWRITE
        upload = self._start(Caller(principal, origin), path, how, mode)
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
            self._fail(begun, errno.EINTR, "the storage was stopped during the upload", 0)
        return len(left)

    def _start(self, caller: Caller, path: str, how: str, mode: int) -> Upload:
        content, file = self.contents.create()
        try:
            inode, attribute = self.database.write(
                lambda db: self._begin(db, content, caller, path, how=how, mode=mode)
            )
        except BaseException:
            file.close()
            self.contents.remove(content)
            raise
        limits = (self._max_upload_bytes, caller.principal.restrictions.max_upload_bytes)
        return Upload(
            self,
            Begun(content, inode.id, attribute, caller),
            inode,
            file,
            max_bytes=min((limit for limit in limits if limit), default=None),
        )

    def _begin(
        self,
        db: sqlite3.Connection,
        content: str,
        caller: Caller,
        path: str,
        *,
        how: str,
        mode: int,
    ) -> tuple[Inode, str]:
        """Make the file if it is missing, and note that it is being written."""
        principal = caller.principal
        place = self._reach(db, principal, path, "UPLOAD")
        if place.inode is None and how != SIZE:
            kind, how = vocabulary.FileType.REGULAR, NEW
            place = self._add(db, place, kind, caller, mode, content=None)
        elif how == NEW:
            raise OperationFailed(errno.EEXIST)
        elif place.found.is_directory:
            raise OperationFailed(errno.EISDIR)
        elif not scope.allows(principal, place.found.permission, "w"):
            raise forbidden()
        inode = place.found
        row = (content, inode.id, how, caller_text(caller))
        db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", row)
        return inode, how

    def _finish(self, db: sqlite3.Connection, upload: Upload) -> Inode:
        """Give the inode its new content, and tell it."""
        begun = upload.begun
        db.execute("DELETE FROM uploads WHERE content = ?", (begun.content,))
        place = walk.place_of(db, begun.inode_id)
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

    def _fail(self, begun: Begun, code: int, message: str, received_bytes: int) -> None:
        """End an upload that gave no content, and tell it; a file that was new for it goes."""

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


class Upload:
    """An upload that runs. As a context manager it ends well, or fails with the block.

    Attributes:
        begun: what the database knows of it.
        inode: the file; after `commit` as it is then.
        received_bytes: what came from the client so far.
        size: the content's size so far, in bytes.
        checksums: of all of it so far.
    """

    def __init__(
        self,
        storage: Uploads,
        begun: Begun,
        inode: Inode,
        file: IO[bytes],
        *,
        max_bytes: int | None,
    ) -> None:
        self.begun = begun
        self.inode = inode
        self.received_bytes = 0
        self.size = 0
        self.checksums = Checksums()
        self._storage = storage
        self._file = file
        self._max_bytes = max_bytes
        self._began_s = time.monotonic()
        self._over = False

    def elapsed_ms(self) -> int:
        """Return how long it has been running, in milliseconds."""
        return round((time.monotonic() - self._began_s) * 1000)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            OperationFailed: EFBIG, the file would be larger than allowed; ENOSPC, the disk is
                full.
        """
        self._append(chunk)
        self.received_bytes += len(chunk)

    def preload(self, size: int) -> None:
        """Begin with the first `size` bytes of the old content, filled up with zeros."""
        try:
            if self.inode.content:
                with self._storage.contents.open(self.inode.content) as old:
                    while chunk := old.read(min(_CHUNK_BYTES, size - self.size)):
                        self._append(chunk)
            while self.size < size:
                self._append(bytes(min(_CHUNK_BYTES, size - self.size)))
        except BaseException as error:
            self._abort_for(error)
            raise

    def _append(self, chunk: bytes) -> None:
        if self._max_bytes is not None and self.size + len(chunk) > self._max_bytes:
            raise OperationFailed(errno.EFBIG, f"a file has at most {self._max_bytes} bytes")
        try:
            self._file.write(chunk)
        except OSError as error:
            raise OperationFailed(error.errno or errno.EIO) from error
        self.checksums.update(chunk)
        self.size += len(chunk)

    def commit(self) -> Inode:
        """End it well: from now on the file has this content; return the file.

        Raises:
            OperationFailed: ENOENT, the file was removed meanwhile.
        """
        try:
            self._seal()
            self.inode = self._storage.database.write(
                lambda db: self._storage._finish(db, self)  # noqa: SLF001 - two halves of one thing
            )
        except BaseException as error:
            self._abort_for(error)
            raise
        self._over = True
        return self.inode

    def _seal(self) -> None:
        try:
            self._storage.contents.seal(self.begun.content, self._file)
        except OSError as error:
            raise OperationFailed(error.errno or errno.EIO) from error

    def abort(self, code: int, message: str) -> None:
        """End it without content; `code` is an error number and `message` says why."""
        if self._over:
            return
        self._over = True
        self._file.close()
        self._storage._fail(self.begun, code, message, self.received_bytes)  # noqa: SLF001

    def _abort_for(self, error: BaseException) -> None:
        code = error.code if isinstance(error, OperationFailed) else errno.EIO
        self.abort(code, str(error) or type(error).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.commit()
        else:
            self._abort_for(error)
