"""Transfers that run: a file being written, a file being read."""

from __future__ import annotations

import errno
import time
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self

from storage_sim.checksums import Checksums
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from storage_sim.billing import Caller
    from storage_sim.inodes import Inode
    from storage_sim.reading import Reading
    from storage_sim.writing import Writing

    Condition = Callable[[Inode | None], bool]
    """Says of a file, or of there being none, whether it may be replaced."""

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


class Upload:
    """An upload that runs. As a context manager it ends well, or fails with the block.

    Attributes:
        begun: what the database knows of it.
        inode: the file; after `commit` as it is then.
        only_if: what must hold of the file also when it ends; None: nothing.
        received_bytes: what came from the client so far.
        size: the content's size so far, in bytes.
        checksums: of all of it so far.
    """

    def __init__(
        self,
        storage: Writing,
        begun: Begun,
        inode: Inode,
        file: IO[bytes],
        *,
        max_bytes: int | None,
        only_if: Condition | None = None,
    ) -> None:
        self.begun = begun
        self.inode = inode
        self.only_if = only_if
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
            OperationFailed: ENOENT, the file was removed meanwhile; ESTALE, it is not any more
                what it had to be.
        """
        try:
            self._seal()
            self.inode = self._storage.finish(self)
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
        self._storage.fail(self.begun, code, message, self.received_bytes)

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


class Download:
    """A file that is being read.

    Attributes:
        inode: the file as it was when it was opened.
        sent_bytes: what was read so far.
        expected_bytes: what the reader means to read; who reads less went away.
        failed: set when the reader went away.
    """

    def __init__(
        self,
        storage: Reading,
        caller: Caller,
        inode: Inode,
        file: IO[bytes],
    ) -> None:
        self.caller = caller
        self.inode = inode
        self.sent_bytes = 0
        self.expected_bytes = 0
        self.failed = False
        self._storage = storage
        self._file = file
        self._began_s = time.monotonic()

    def elapsed_ms(self) -> int:
        """Return for how long it has been open, in milliseconds."""
        return round((time.monotonic() - self._began_s) * 1000)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, or all that is left."""
        chunk = self._file.read(size)
        self.sent_bytes += len(chunk)
        return chunk

    def seek(self, position: int) -> int:
        """Go to a position, in bytes from the beginning."""
        return self._file.seek(position)

    def close(self) -> None:
        """End it, and tell it."""
        if not self._file.closed:
            self._file.close()
            self._storage.end_read(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.failed = error is not None
        self.close()
