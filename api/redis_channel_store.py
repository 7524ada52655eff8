"""The channel store in Redis: one script for each change, so no node sees half of one.

Keys, below the prefix:

    channel:<id>                 hash: the channel, who has it (`connection`), who is leaving
    channel:<id>:subscriptions   hash: sequence -> JSON, active and ended ones
    channel:<id>:active          hash: <type>/<id> -> sequence
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

import contextlib
import functools
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api import channel_scripts, channels
from api.channel_store import (
    MAXIMUM_ENDED,
    Attachment,
    NoSuchChannel,
    Notice,
    TooManyChannels,
    TooManySubscriptions,
)
from api.channels import Channel
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from api.channels import Place, Subscription

CONNECTIONS: Final = 32
"""How many questions a node puts to Redis at once."""

_CHUNK: Final = 500
_GONE: Final = 0
_FULL: Final = -1
_MERGED: Final = 2

F = TypeVar("F", bound="Callable[..., Any]")


def _guarded(method: F) -> F:
    """Turn Redis's errors of connection into `Unavailable`."""

    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            raise Unavailable(f"the channel store is away: {type(error).__name__}") from error
        except exceptions.ResponseError as error:
            if str(error).startswith(("LOADING", "BUSY", "MASTERDOWN", "READONLY")):
                raise Unavailable(f"the channel store is not ready: {error}") from error
            raise

    return cast("F", call)


def _channel(channel_id: str, fields: Mapping[str, str]) -> Channel:
    return Channel(
        id=channel_id,
        owner_key=fields["owner"],
        uid=int(fields["uid"]),
        client_id=fields["client"],
        timeout_s=int(fields["timeout"]),
        order=int(fields["order"]),
        connected_before=fields.get("connected") == "1",
        slots=tuple(fields["slots"].split("\n")) if fields["slots"] else (),
        generation=int(fields["generation"]),
        version=int(fields["version"]),
        cursor=fields.get("cursor", ""),
        seen_generation=int(fields.get("seen", 0)),
    )


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read(sequence: str | int, text: str) -> Subscription:
    return channels.from_json(text).replace(sequence=int(sequence))


def _attachment(channel_id: str, fields: Sequence[str], kept: Sequence[str]) -> Attachment:
    of_channel = _pairs(fields)
    ordered = sorted(_pairs(kept).items(), key=lambda item: int(item[0]))
    return Attachment(
        _channel(channel_id, of_channel),
        [_read(sequence, text) for sequence, text in ordered],
        of_channel.get("connection", ""),
    )


class RedisChannelStore:
    """Keeps channels in Redis.

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

    def _key(self, *parts: object) -> str:
        return self._prefix + ":".join(str(part) for part in parts)

    async def _run(self, script: str, channel_id: str, *args: object) -> Any:
        """Run a script that is about one channel."""
        keys = [self._key("channel", channel_id), self._key("notices")]
        return await self._scripts[script](keys=keys, args=[channel_id, *map(str, args)])

    @_guarded
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

    @_guarded
    async def get(self, channel_id: str) -> Channel | None:
        """Return a channel, or None."""
        fields = await self._redis.hgetall(self._key("channel", channel_id))
        return _channel(channel_id, fields) if fields else None

    @_guarded
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

    @_guarded
    async def set_timeout(self, channel_id: str, timeout_s: int) -> bool:
        """Change the timeout, which starts anew."""
        return bool(await self._run("set_timeout", channel_id, timeout_s))

    @_guarded
    async def delete(self, channel_id: str) -> bool:
        """End a channel."""
        return bool(await self._run("delete", channel_id, self._prefix))

    @_guarded
    async def put_snapshot(self, channel_id: str, payloads: Sequence[str]) -> str:
        """Keep a subscription's snapshot and return where."""
        name = secrets.token_urlsafe(8)
        for start in range(0, max(1, len(payloads)), _CHUNK):
            chunk = payloads[start : start + _CHUNK]
            if await self._run("put_snapshot", channel_id, name, *chunk) == _GONE:
                raise NoSuchChannel("No such channel")
        return name

    @_guarded
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

    @_guarded
    async def _range(self, key: str, start: int) -> list[str]:
        return cast("list[str]", await self._redis.lrange(key, start, start + _CHUNK - 1))

    @_guarded
    async def drop_snapshot(self, channel_id: str, snapshot: str) -> None:
        """Forget a snapshot."""
        await self._redis.unlink(self._key("channel", channel_id, "snapshot", snapshot))
        await self._redis.srem(self._key("channel", channel_id, "snapshots"), snapshot)

    @_guarded
    async def subscribe(
        self, channel_id: str, subscription: Subscription, *, maximum: int = 0
    ) -> tuple[Subscription, bool]:
        """Keep a subscription, merged into the one its inode already has."""
        identity = f"{subscription.event_type}/{subscription.id}"
        text = channels.to_json(subscription)
        while True:
            outcome, sequence, kept = await self._run(
                "subscribe", channel_id, identity, text, subscription.slot, maximum
            )
            if outcome == _GONE:
                raise NoSuchChannel("No such channel")
            if outcome == _FULL:
                raise TooManySubscriptions(f"at most {maximum} subscriptions")
            if outcome != _MERGED:
                return subscription.replace(sequence=sequence), True
            merged = channels.merge(_read(sequence, kept), subscription)
            if await self._run("replace", channel_id, sequence, kept, channels.to_json(merged)):
                return merged, False

    @_guarded
    async def subscriptions(self, channel_id: str) -> list[Subscription]:
        """Return a channel's active subscriptions."""
        attachment = await self.reload(channel_id)
        kept = attachment.subscriptions if attachment else ()
        return [one for one in kept if one.ended is None]

    @_guarded
    async def subscription(
        self, channel_id: str, event_type: str, subscription_id: str
    ) -> Subscription | None:
        """Return one active subscription, or None."""
        active = self._key("channel", channel_id, "active")
        sequence = await self._redis.hget(active, f"{event_type}/{subscription_id}")
        if sequence is None:
            return None
        kept = self._key("channel", channel_id, "subscriptions")
        text = await self._redis.hget(kept, sequence)
        return None if text is None else _read(sequence, text)

    @_guarded
    async def unsubscribe(
        self, channel_id: str, event_type: str, subscription_id: str, marks: Mapping[str, int]
    ) -> bool:
        """End an active subscription and tell all nodes."""
        found = await self.subscription(channel_id, event_type, subscription_id)
        if found is None:
            return False
        ended, end = channels.ending(found, marks)
        return bool(await self._end(channel_id, found.replace(ended=ended, end=end)))

    async def _end(self, channel_id: str, ended: Subscription) -> int:
        identity = f"{ended.event_type}/{ended.id}"
        text = channels.to_json(ended)
        arguments = (identity, ended.sequence, text, MAXIMUM_ENDED)
        return cast("int", await self._run("end", channel_id, *arguments))

    @_guarded
    async def attach(self, channel_id: str, connection: str) -> Attachment:
        """Give the channel to a connection."""
        fields, kept = await self._run("attach", channel_id, connection)
        if not fields:
            raise NoSuchChannel("No such channel")
        return _attachment(channel_id, fields, kept)

    @_guarded
    async def is_released(self, channel_id: str) -> bool:
        """Whether the connection before the newest has given the channel back."""
        return not await self._redis.hget(self._key("channel", channel_id), "draining")

    @_guarded
    async def refresh(self, held: Sequence[tuple[str, str]]) -> list[tuple[int, str] | None]:
        """Give signs of life."""
        answers = await self._run_all("refresh", held)
        return [(int(answer[0]), answer[1]) if answer else None for answer in answers]

    async def _run_all(self, name: str, calls: Sequence[tuple[str, ...]]) -> list[Any]:
        """Run a script for many channels in one round trip."""
        if not calls:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for channel_id, *rest in calls:
                keys = [self._key("channel", channel_id), self._key("notices")]
                await self._scripts[name](keys=keys, args=[channel_id, *rest], client=pipe)
            answers: list[Any] = await pipe.execute()
            return answers

    @_guarded
    async def detach(self, channel_id: str, connection: str, cursor: str) -> None:
        """Give the channel back."""
        await self._run("detach", channel_id, connection, cursor)

    @_guarded
    async def save_cursors(self, held: Sequence[tuple[str, str, str]]) -> None:
        """Keep how far channels were served."""
        await self._run_all("save_cursor", held)

    @_guarded
    async def reload(self, channel_id: str) -> Attachment | None:
        """Return channel and subscriptions as they are now."""
        fields, kept = await self._run("load", channel_id)
        return _attachment(channel_id, fields, kept) if fields else None

    @_guarded
    async def end(
        self,
        channel_id: str,
        sequence: int,
        ended: Mapping[str, int],
        end: tuple[str, int, int] | None,
    ) -> None:
        """End a subscription at a position."""
        kept = self._key("channel", channel_id, "subscriptions")
        text = await self._redis.hget(kept, str(sequence))
        if text is not None:
            await self._end(channel_id, _read(sequence, text).replace(ended=dict(ended), end=end))

    @_guarded
    async def move(self, channel_id: str, sequence: int, place: Place) -> None:
        """Keep where a subscription's object is now."""
        kept = self._key("channel", channel_id, "subscriptions")
        while (text := await self._redis.hget(kept, str(sequence))) is not None:
            new = channels.to_json(channels.moved(_read(sequence, text), place))
            if await self._run("replace", channel_id, sequence, text, new, "quietly"):
                return

    @_guarded
    async def forget(self, channel_id: str, sequences: Sequence[int]) -> None:
        """Drop ended subscriptions."""
        if sequences:
            kept = self._key("channel", channel_id, "subscriptions")
            await self._redis.hdel(kept, *map(str, sequences))

    @_guarded
    async def restore(self, attachment: Attachment, connection: str) -> None:
        """Make a channel again that the store lost."""
        channel = attachment.channel
        kept: list[str] = []
        for one in attachment.subscriptions:
            identity = "" if one.ended is not None else f"{one.event_type}/{one.id}"
            kept += [str(one.sequence), channels.to_json(one), identity]
        names = [("channel", channel.id), ("owner", channel.owner_key), ("user", channel.uid)]
        await self._scripts["restore"](
            keys=[self._key(*name) for name in names],
            args=[
                channel.id,
                channel.owner_key,
                channel.uid,
                channel.client_id,
                channel.timeout_s,
                channel.order,
                "\n".join(channel.slots),
                channel.generation,
                channel.version,
                channel.cursor,
                connection,
                *kept,
            ],
        )

    @_guarded
    async def server_key(self) -> bytes:
        """Return 32 bytes that all nodes share."""
        key = self._key("server-key")
        await self._redis.set(key, secrets.token_hex(32), nx=True)
        return bytes.fromhex(cast("str", await self._redis.get(key)))

    async def notices(self) -> AsyncIterator[Notice]:
        """Yield what nodes tell each other, from now on."""
        listener = self._listening.pubsub(ignore_subscribe_messages=True)
        try:
            await self._listen(listener)
            while True:
                message = await self._hear(listener)
                if message is not None:
                    kind, channel_id, connection = message["data"].split(" ")
                    yield Notice(channel_id, kind, connection)
        finally:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await listener.aclose()

    @_guarded
    async def _listen(self, listener: Any) -> None:
        await listener.subscribe(self._key("notices"))

    @_guarded
    async def _hear(self, listener: Any) -> Any:
        return await listener.get_message(timeout=5.0)

    @_guarded
    async def ping(self) -> None:
        """Return if Redis is there."""
        await self._redis.ping()

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.aclose()
        await self._listening.aclose()
