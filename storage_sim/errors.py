"""Why an operation of the storage failed, in the kernel's words."""

from __future__ import annotations

import errno
import os

from schemas.errors import StorageEventsError


class OperationFailed(StorageEventsError):  # noqa: N818 - named after what it is about
    """The storage did not do it; nothing was changed.

    Attributes:
        code: the number from errno(3) that the kernel would give.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or os.strerror(code))
        self.code = code


def not_found() -> OperationFailed:
    """Return what is said of the absent and of what a user may not know of: the same."""
    return OperationFailed(errno.ENOENT)


def forbidden(message: str = "") -> OperationFailed:
    """Return what is said to a user who may know of an object but not do this to it."""
    return OperationFailed(errno.EACCES, message)


def changed() -> OperationFailed:
    """Return what is said when an object is not, or not any more, what it had to be."""
    return OperationFailed(errno.ESTALE, "it is not what the request expects")


def invalid(message: str) -> OperationFailed:
    """Return what is said of an argument that can never be right."""
    return OperationFailed(errno.EINVAL, message)
