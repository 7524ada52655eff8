"""The bytes of files, on disk: each upload writes a file of its own that never changes again.

The namespace names the file in the transaction that ends the upload, so a reader sees the old
content or the new one, whole. What nobody names any more is removed later, by `Storage.sweep`.
"""

from __future__ import annotations

import os
import secrets
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Contents:
    """A folder of contents.

    Args:
        folder: made if it is missing.
        sync: whether `seal` forces the bytes to the disk.
    """

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, content: str) -> Path:
        return self._folder / content[:2] / content[2:]

    def create(self) -> tuple[str, IO[bytes]]:
        """Begin a content; return its name and the file to write to."""
        content = secrets.token_hex(16)
        path = self._path(content)
        try:
            return content, path.open("xb")
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            return content, path.open("xb")

    def seal(self, content: str, file: IO[bytes]) -> None:
        """Close a written content; with `sync` it then survives a loss of power."""
        file.flush()
        if self._sync:
            os.fsync(file.fileno())
            folder = os.open(self._path(content).parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        file.close()

    def open(self, content: str) -> IO[bytes]:
        """Open a content for reading.

        Raises:
            FileNotFoundError: it has been replaced and removed since it was looked up.
        """
        return self._path(content).open("rb")

    def remove(self, content: str) -> None:
        """Remove a content, if it is there; who is reading it reads on."""
        self._path(content).unlink(missing_ok=True)
