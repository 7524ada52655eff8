"""Waiting for marks: one subscription serves all who wait, and one query answers them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

_POLL_S: Final = 1.0
_QUIET_S: Final = 0.005


class MarkWaiter:
    """Wakes those who wait for a shard's mark.

    Args:
        redis: the client.
        channel: where each append is told.
        marks: reads the marks of shards; raises `Unavailable`.
    """

    def __init__(
        self,
        redis: Any,
        *,
        channel: bytes,
        marks: Callable[[Sequence[str]], Awaitable[Mapping[str, int]]],
    ) -> None:
        self._redis = redis
        self._channel = channel
        self._marks = marks
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def wait_for(self, shard: str, number: int, timeout_s: float) -> bool:
        """Wait until the shard's mark is at least `number`; False when the time is over.

        Raises:
            Unavailable: Redis is away.
        """
        if (await self._marks([shard])).get(shard, 0) >= number:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = (shard, number)
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True

    async def _listen(self) -> None:
        """Tell those who wait; ends when nobody does, and with an error when Redis is away."""
        try:
            async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(self._channel)
                while self._waiting:
                    await self._tell()
                    # What was appended before the subscription stood is found by the first look;
                    # the time-out only guards against a lost connection.
                    await subscription.get_message(timeout=_POLL_S)
                    await asyncio.sleep(_QUIET_S)  # many appends, one look
                    while await subscription.get_message(timeout=0) is not None:
                        pass
        except (exceptions.RedisError, OSError, Unavailable) as error:
            for future in self._waiting:
                if not future.done():
                    future.set_exception(Unavailable(f"Redis: {type(error).__name__}: {error}"))

    async def _tell(self) -> None:
        marks = await self._marks(sorted({shard for shard, _ in self._waiting.values()}))
        for future, (shard, number) in self._waiting.items():
            if not future.done() and marks.get(shard, 0) >= number:
                future.set_result(None)

    async def close(self) -> None:
        """End the subscription."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError, exceptions.RedisError):
                await self._listener
