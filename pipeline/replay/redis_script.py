"""Redis as the replay log uses it: a client, scripts, and errors in our own families."""

from __future__ import annotations

import contextlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def connect(url: str, *, timeout_s: float) -> redis_asyncio.Redis:
    """Make a Redis client for replay logs; it connects when it is first used.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: longest wait for an answer, in seconds.
    """
    return redis_asyncio.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=30,
        # A connection from before a restart of Redis fails at its next use: once more, anew.
        retry=Retry(NoBackoff(), retries=1),
    )


@contextlib.contextmanager
def unavailable_if_away() -> Iterator[None]:
    """Turn Redis's errors into `Unavailable`.

    That it is loading, full, or read-only counts too: all of that passes without our doing.
    """
    try:
        yield
    except exceptions.NoScriptError:
        raise
    except (exceptions.RedisError, OSError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error


def is_read_only(error: exceptions.ResponseError) -> bool:
    """Whether this Redis is a replica now: its connections lead to the wrong one, make new ones.

    Redis 6 tells it in the middle of a script's error, for which the client has no class.
    """
    return isinstance(error, exceptions.ReadOnlyError) or "-READONLY " in str(error)


class Script:
    """A Lua script, loaded into Redis when it does not know it.

    Args:
        redis: the client.
        names: files in `lua/`, joined.
    """

    def __init__(self, redis: redis_asyncio.Redis, *names: str) -> None:
        base = resources.files("pipeline.replay") / "lua"
        self._redis = redis
        self._text = "\n".join((base / f"{name}.lua").read_text() for name in names)
        self._sha = ""

    async def __call__(self, prefix: bytes, arguments: Sequence[Any]) -> Any:
        """Run it.

        Raises:
            Unavailable: Redis is away.
        """
        return (await self.run_all(prefix, [arguments]))[0]

    async def run_all(self, prefix: bytes, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run it several times in one round trip, in order.

        Raises:
            Unavailable: Redis is away.
        """
        with unavailable_if_away():
            try:
                return await self._run_all(prefix, calls)
            except exceptions.NoScriptError:
                self._sha = ""
                return await self._run_all(prefix, calls)
            except exceptions.ResponseError as error:
                if is_read_only(error):
                    await self._redis.connection_pool.disconnect()
                raise

    async def _run_all(self, prefix: bytes, calls: Sequence[Sequence[Any]]) -> list[Any]:
        if not self._sha:
            sha = await self._redis.script_load(self._text)
            self._sha = sha.decode() if isinstance(sha, bytes) else sha
        if len(calls) == 1:
            return [await self._redis.evalsha(self._sha, 1, prefix, *calls[0])]
        pipeline = self._redis.pipeline(transaction=False)
        for arguments in calls:
            pipeline.evalsha(self._sha, 1, prefix, *arguments)
        return list(await pipeline.execute())
