"""What an executor can do: the one interface between the ledger and whoever moves bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.errors import StorageEventsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.replication.jobs import Content, Place


class Hopeless(StorageEventsError):  # noqa: N818 - named after what it is about
    """It failed, and trying again cannot help; the message says why."""


class Away(Unavailable):
    """A storage cannot be reached at all: no fault of the file that is to be moved.

    Attributes:
        storage: which one.
    """

    def __init__(self, storage: str, message: str) -> None:
        super().__init__(message)
        self.storage = storage


class Executor(Protocol):
    """Moves and removes files.

    Each method may be repeated after a crash, and does then no more than is still to be done. They
    raise `Unavailable` when trying again may help, `Away` when a storage cannot be reached, and
    `Hopeless` when trying again cannot help.
    """

    async def copy(
        self, sources: Sequence[Place], target: Place, content: Content, *, replaces: bool
    ) -> None:
        """Have a copy at `target`, verified there by checksum.

        Args:
            sources: where the content is, the best first.
            target: where the copy is to be.
            content: what it must hold.
            replaces: whether what is there may be replaced; else another file there is `Hopeless`.
        """

    async def remove(self, place: Place, content: Content, *, safe_at: Sequence[Place]) -> None:
        """Remove a file, if it still holds `content`.

        Args:
            place: the file; that it is gone already is as good.
            content: what it must hold; another content is `Hopeless`.
            safe_at: where the content must be, verified by checksum, or nothing is removed.
        """

    async def close(self) -> None:
        """Give back connections."""
