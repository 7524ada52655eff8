"""Channels in Redis: the half of the channel store that knows nothing of subscriptions.

Keys, below the prefix:

    channel:<id>                 hash: the channel, who has it (`connection`), who is leaving
    channel:<id>:subscriptions   hash: sequence -> JSON, active and ended ones
    channel:<id>:active          hash: <type>/<id> -> sequence
    channel:<id>:ended           sorted set: the sequences of ended ones
    channel:<id>:snapshots       set: the names of its snapshots
    channel:<id>:snapshot:<name> list: the payloads
    owner:<owner key>            sorted set: channel ids by the order they were made
    user:<uid>                   the same, whatever the restrictions: for the limit
    order                        counter
    server-key                   what enciphers event ids
    notices                      publish/subscribe: `<kind> <channel id> <connection>`

The expiry of a channel's keys is its timeout; `owner` and `user` are cleaned when they are read.
"""

from __future__ import annotations

import functools
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api import channel_scripts, channels
from api.channel_store import (
    NoSuchChannel,
    TooManyChannels,
)
from api.channels import Channel
from pipeline.replay.redis_script import is_read_only
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence


CONNECTIONS: Final = 32
"""How many questions a node puts to Redis at once."""

_CHUNK: Final = 500
_GONE: Final = 0
_FULL: Final = -1
_MERGED: Final = 2

_STATES: Final = (
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.NoPermissionError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
)
_STATE_WORDS: Final = re.compile(
    r"(^|-)(BUSY|LOADING|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|UNKILLABLE) "
)
F = TypeVar("F", bound="Callable[..., Any]")


def is_a_state(error: exceptions.ResponseError) -> bool:
    """Whether Redis refuses for a reason that passes without our doing; else it is a bug.

    The reason's first word is taken off by the client where it knows a class for it, and stands in
    the middle where a script was refused (Redis 6).
    """
    return isinstance(error, _STATES) or _STATE_WORDS.search(str(error)) is not None


def guarded(method: F) -> F:
    """Turn Redis's errors of connection into `Unavailable`."""

    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            raise Unavailable(f"the channel store is away: {type(error).__name__}") from error
        except exceptions.ResponseError as error:
            if is_read_only(error):
                await args[0].disconnect()
            if is_a_state(error):
                raise Unavailable(f"the channel store is not ready: {error}") from error
            raise

    return cast("F", call)


def channel_of(channel_id: str, fields: Mapping[str, str]) -> Channel:
    """Return the channel that a hash of its fields says."""
    return Channel(
        id=channel_id,
        owner_key=fields["owner"],
        uid=int(fields["uid"]),
        client_id=fields["client"],
        timeout_s=int(fields["timeout"]),
        order=int(fields["order"]),
        slots=tuple(fields["slots"].split("\n")) if fields["slots"] else (),
        generation=int(fields["generation"]),
        version=int(fields["version"]),
        cursor=fields.get("cursor", ""),
        seen_generation=int(fields.get("seen", 0)),
    )


class RedisChannels:
    """Keeps channels in Redis; `RedisChannelStore` adds what hangs on them.

    Args:
        url: `redis://host:port/database`.
        prefix: stands before each key.
        timeout_s: longest wait for an answer, in seconds.
    """

    def __init__(self, url: str, *, prefix: str, timeout_s: float = 5.0) -> None:
        # Who finds all connections in use waits for one: a rush of clients is no outage.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=4 * timeout_s,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # A connection from before a restart of Redis fails at its next use: once more, anew.
            retry=Retry(NoBackoff(), retries=1),
        )
        self._redis: Any = Redis.from_pool(pool)
        # A listener waits as long as nothing happens: no timeout on its socket.
        self._listening: Any = Redis.from_url(
            url, decode_responses=True, socket_connect_timeout=timeout_s, health_check_interval=5
        )
        self._prefix = prefix
        self._scripts = {
            name: self._redis.register_script(text)
            for name, text in channel_scripts.SCRIPTS.items()
        }

    async def disconnect(self) -> None:
        """Connect anew for what comes next: Redis may be elsewhere now, behind the same name."""
        await self._redis.connection_pool.disconnect()

    def _key(self, *parts: object) -> str:
        return self._prefix + ":".join(str(part) for part in parts)

    async def _run(self, script: str, channel_id: str, *args: object) -> Any:
        """Run a script that is about one channel."""
        keys = [self._key("channel", channel_id), self._key("notices")]
        return await self._scripts[script](keys=keys, args=[channel_id, *map(str, args)])

    async def _run_all(self, name: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script that is about many channels."""
        answers: list[Any] = []
        for start in range(0, len(calls), _CHUNK):
            arguments = [part for call in calls[start : start + _CHUNK] for part in call]
            made = await self._scripts[name](keys=[self._key("channel", "")], args=arguments)
            answers += made or ()
        return answers

    @guarded
    async def create(
        self,
        *,
        owner_key: str,
        uid: int,
        client_id: str = "",
        timeout_s: int,
        maximum: int,
        maximum_timeout_s: int = channels.MAXIMUM_TIMEOUT_S,
    ) -> Channel:
        """Make a channel."""
        channel_id = channels.new_channel_id()
        names = [("channel", channel_id), ("owner", owner_key), ("user", uid), ("order",)]
        order = await self._scripts["create"](
            keys=[self._key(*name) for name in names],
            args=[
                channel_id,
                self._key("channel", ""),
                owner_key,
                uid,
                client_id,
                timeout_s,
                maximum,
                maximum_timeout_s,
            ],
        )
        if order == _FULL:
            raise TooManyChannels(f"at most {maximum} channels")
        return Channel(channel_id, owner_key, uid, client_id, timeout_s, order)

    @guarded
    async def get(self, channel_id: str) -> Channel | None:
        """Return a channel, or None."""
        fields = await self._redis.hgetall(self._key("channel", channel_id))
        return channel_of(channel_id, fields) if fields else None

    @guarded
    async def list_ids(self, owner_key: str, client_id: str | None = None) -> list[str]:
        """Return the owner's channels in the order they were made."""
        index = self._key("owner", owner_key)
        ids: list[str] = await self._redis.zrange(index, 0, -1)
        if not ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for one in ids:
                pipe.hget(self._key("channel", one), "client")
            clients = await pipe.execute()
        gone = [one for one, client in zip(ids, clients, strict=True) if client is None]
        if gone:
            await self._redis.zrem(index, *gone)
        return [
            one
            for one, client in zip(ids, clients, strict=True)
            if client is not None and client_id in (None, client)
        ]

    @guarded
    async def set_timeout(self, channel_id: str, timeout_s: int) -> bool:
        """Change the timeout, which starts anew."""
        return bool(await self._run("set_timeout", channel_id, timeout_s))

    @guarded
    async def delete(self, channel_id: str) -> bool:
        """End a channel."""
        return bool(await self._run("delete", channel_id, self._prefix))

    @guarded
    async def put_snapshot(self, channel_id: str, payloads: Sequence[str]) -> str:
        """Keep a subscription's snapshot and return where."""
        name = secrets.token_urlsafe(8)
        for start in range(0, max(1, len(payloads)), _CHUNK):
            chunk = payloads[start : start + _CHUNK]
            if await self._run("put_snapshot", channel_id, name, *chunk) == _GONE:
                raise NoSuchChannel("No such channel")
        return name

    @guarded
    async def read_snapshot(
        self, channel_id: str, snapshot: str, after: int
    ) -> AsyncIterator[Sequence[str]]:
        """Return an iterator over chunks of a snapshot's payloads."""
        key = self._key("channel", channel_id, "snapshot", snapshot)
        first: list[str] = await self._redis.lrange(key, after, after + _CHUNK - 1)

        async def chunks() -> AsyncIterator[Sequence[str]]:
            chunk, start = first, after
            while chunk:
                yield chunk
                start += len(chunk)
                chunk = await self._range(key, start)

        return chunks()

    @guarded
    async def _range(self, key: str, start: int) -> list[str]:
        return cast("list[str]", await self._redis.lrange(key, start, start + _CHUNK - 1))

    @guarded
    async def drop_snapshot(self, channel_id: str, snapshot: str) -> None:
        """Forget a snapshot."""
        await self._redis.unlink(self._key("channel", channel_id, "snapshot", snapshot))
        await self._redis.srem(self._key("channel", channel_id, "snapshots"), snapshot)
