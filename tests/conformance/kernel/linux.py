"""The operations on a real directory, watched by the kernel."""
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH112, PTH118, PTH208, PTH211
# the system calls themselves are what is compared

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING, Any

import inotify_simple

from schemas import vocabulary
from tests.conformance.kernel import operations as op
from tests.conformance.kernel.told import Told

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS = {**vocabulary.EVENT_FLAGS, **vocabulary.MACRO_FLAGS, **vocabulary.MODIFIER_FLAGS}
_HOW = {"overwrite": os.O_TRUNC, "append": os.O_APPEND, "exclusive": os.O_EXCL}


def _has_xattrs(folder: str) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        try:
            os.setxattr(file.name, "user.x", b"1")
        except OSError:
            return False
    return True


def fast_folder() -> str | None:
    """Return a file system in memory that can take part; None: the usual temporary folder."""
    shared = "/dev/shm"
    usable = os.access(shared, os.W_OK) and _has_xattrs(shared)
    return shared if usable else None


class Linux:
    """A directory, and one inotify instance."""

    def __init__(self, root: Path) -> None:
        self.has_xattrs = _has_xattrs(str(root))
        self._root = root
        self._inotify = inotify_simple.INotify()

    def close(self) -> None:
        self._inotify.close()

    def run(self, operation: op.Operation) -> Any:
        """Do it; return what it returns. Raises OSError."""
        path = os.path.join(self._root, operation.path) if hasattr(operation, "path") else ""
        match operation:
            case op.Make():
                os.mkdir(path, 0o755)
            case op.RemoveDirectory():
                os.rmdir(path)
            case op.Write(_, size, how):
                self._write(path, size, how)
            case op.Truncate(_, size):
                os.truncate(path, size)
            case op.Read():
                self._read(path)
            case op.ListDirectory():
                os.listdir(path)
            case op.Unlink():
                os.unlink(path)
            case op.Rename(source, target):
                os.rename(os.path.join(self._root, source), os.path.join(self._root, target))
            case op.Link(target):
                os.symlink(target, path)
            case op.Chmod(_, mode):
                os.chmod(path, mode)
            case op.Times():
                os.utime(path)
            case op.SetXattr():
                os.setxattr(path, "user.x", b"1")
            case op.RemoveXattr():
                os.removexattr(path, "user.x")
            case op.AddWatch(_, flags):
                mask = 0
                for flag in flags:
                    mask |= _FLAGS[flag]
                return self._inotify.add_watch(path, mask)
        return None

    def _write(self, path: str, size: int, how: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | _HOW[how], 0o644)
        try:
            if size:
                os.write(file, b"x" * size)
        finally:
            os.close(file)

    def _read(self, path: str) -> None:
        if os.path.isdir(path):  # opening it would succeed: the difference failed-operations
            raise IsADirectoryError(errno.EISDIR, "")
        file = os.open(path, os.O_RDONLY)
        try:
            os.read(file, 1 << 20)
        finally:
            os.close(file)

    def told(self) -> list[Told]:
        """Return what the watches were told since the last call, in order.

        An event that is told twice within one operation counts once: the differences one-modify
        and one-access.
        """
        seen: dict[Told, None] = {}
        for event in self._inotify.read(timeout=0):
            seen[Told(event.wd, event.mask, event.name, bool(event.cookie))] = None
        return list(seen)
