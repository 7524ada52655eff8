"""Something to wait for, in an eighth of the memory of an `asyncio.Event`."""

from __future__ import annotations

import asyncio


class Signal:
    """An event that is set or not; like `asyncio.Event`, which keeps a queue for its waiters.

    A node has several of them for each of its thousands of streams, and few are ever waited for.
    """

    __slots__ = ("_future", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake who waits."""
        self._is_set = True
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_result(None)

    def clear(self) -> None:
        """Let who comes now wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._is_set:
            return
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._future)
