"""The channel store in Redis: one script for each change, so no node sees half of one.

Its keys are described in `redis_channels`, which has the other half.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any, Final, cast

from redis import exceptions

from api import channel_endings, channel_records, channels
from api.channel_store import (
    MAXIMUM_ENDED,
    Attachment,
    NoSuchChannel,
    Notice,
    TooManySubscriptions,
)
from api.redis_channels import RedisChannels, channel_of, guarded
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from api.channel_store import Served
    from api.channels import Place, Subscription

_GONE: Final = 0
_FULL: Final = -1
_MERGED: Final = 2


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _read(sequence: str | int, text: str) -> Subscription:
    return channel_records.from_json(text).replace(sequence=int(sequence))


def _attachment(channel_id: str, fields: Sequence[str], kept: Sequence[str]) -> Attachment:
    of_channel = _pairs(fields)
    ordered = sorted(_pairs(kept).items(), key=lambda item: int(item[0]))
    return Attachment(
        channel_of(channel_id, of_channel),
        [_read(sequence, text) for sequence, text in ordered],
        of_channel.get("connection", ""),
    )


class RedisChannelStore(RedisChannels):
    """Keeps channels and their subscriptions in Redis; for the arguments see `RedisChannels`."""

    @guarded
    async def subscribe(
        self, channel_id: str, subscription: Subscription, *, maximum: int = 0
    ) -> tuple[Subscription, bool]:
        """Keep a subscription, merged into the one its inode already has."""
        identity = f"{subscription.event_type}/{subscription.id}"
        text = channel_records.to_json(subscription)
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
            if await self._run(
                "replace", channel_id, sequence, kept, channel_records.to_json(merged)
            ):
                return merged, False

    @guarded
    async def subscriptions(self, channel_id: str) -> list[Subscription]:
        """Return a channel's active subscriptions."""
        attachment = await self.reload(channel_id)
        kept = attachment.subscriptions if attachment else ()
        return [one for one in kept if one.ended is None]

    @guarded
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

    @guarded
    async def unsubscribe(
        self, channel_id: str, event_type: str, subscription_id: str, marks: Mapping[str, int]
    ) -> bool:
        """End an active subscription and tell all nodes."""
        found = await self.subscription(channel_id, event_type, subscription_id)
        if found is None:
            return False
        ended, end = channel_endings.ending(found, marks)
        return bool(await self._end(channel_id, channel_endings.ended_at(found, ended, end)))

    async def _end(self, channel_id: str, ended: Subscription) -> int:
        identity = f"{ended.event_type}/{ended.id}"
        text = channel_records.to_json(ended)
        arguments = (identity, ended.sequence, text, MAXIMUM_ENDED)
        return cast("int", await self._run("end", channel_id, *arguments))

    @guarded
    async def attach(self, channel_id: str, connection: str) -> Attachment:
        """Give the channel to a connection."""
        fields, kept = await self._run("attach", channel_id, connection)
        if not fields:
            raise NoSuchChannel("No such channel")
        return _attachment(channel_id, fields, kept)

    @guarded
    async def is_released(self, channel_id: str) -> bool:
        """Whether the connection before the newest has given the channel back."""
        return not await self._redis.hget(self._key("channel", channel_id), "draining")

    @guarded
    async def refresh(self, held: Sequence[tuple[str, str]]) -> list[tuple[int, str] | None]:
        """Give signs of life."""
        answers = await self._run_all("refresh", held)
        return [(int(answer[0]), answer[1]) if answer else None for answer in answers]

    @guarded
    async def detach(self, served: Served) -> None:
        """Give the channel back."""
        await self._run("detach", *served)

    @guarded
    async def save_cursors(self, served: Sequence[Served]) -> None:
        """Keep how far connections were served."""
        await self._run_all("save_cursors", served)

    @guarded
    async def reload(self, channel_id: str) -> Attachment | None:
        """Return channel and subscriptions as they are now."""
        fields, kept = await self._run("load", channel_id)
        return _attachment(channel_id, fields, kept) if fields else None

    @guarded
    async def look(self, channel_id: str, sequences: Sequence[int]) -> Attachment | None:
        """Return the channel and only those subscriptions."""
        fields, texts = await self._run("look", channel_id, *sequences)
        found = zip(sequences, texts, strict=True)
        kept = [part for sequence, text in found if text for part in (str(sequence), text)]
        return _attachment(channel_id, fields, kept) if fields else None

    @guarded
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
            await self._end(
                channel_id, channel_endings.ended_at(_read(sequence, text), ended, end)
            )

    @guarded
    async def carry_on(
        self, channel_id: str, ended: Subscription, successor: Subscription
    ) -> bool:
        """Replace an active subscription by one with a new sequence."""
        identity = f"{ended.event_type}/{ended.id}"
        old, new = channel_records.to_json(ended), channel_records.to_json(successor)
        arguments = (identity, ended.sequence, old, new, successor.slot)
        return bool(await self._run("carry_on", channel_id, *arguments))

    @guarded
    async def move(self, channel_id: str, sequence: int, place: Place) -> None:
        """Keep where a subscription's object is now."""
        kept = self._key("channel", channel_id, "subscriptions")
        while (text := await self._redis.hget(kept, str(sequence))) is not None:
            new = channel_records.to_json(channels.moved(_read(sequence, text), place))
            if await self._run("replace", channel_id, sequence, text, new, "quietly"):
                return

    @guarded
    async def forget(self, channel_id: str, sequences: Sequence[int]) -> None:
        """Drop ended subscriptions."""
        if sequences:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hdel(self._key("channel", channel_id, "subscriptions"), *sequences)
                pipe.zrem(self._key("channel", channel_id, "ended"), *sequences)
                await pipe.execute()

    @guarded
    async def restore(self, attachment: Attachment, connection: str) -> None:
        """Make a channel again that the store lost."""
        channel = attachment.channel
        kept: list[str] = []
        for one in attachment.subscriptions:
            identity = "" if one.ended is not None else f"{one.event_type}/{one.id}"
            kept += [str(one.sequence), channel_records.to_json(one), identity]
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
                channel.seen_generation,
                *kept,
            ],
        )

    @guarded
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
                    kind, channel_id, more = message["data"].split(" ")
                    if kind == "changed":
                        yield Notice(channel_id, kind, sequence=int(more))
                    else:
                        yield Notice(channel_id, kind, more)
        finally:
            with contextlib.suppress(exceptions.RedisError, OSError):
                await listener.aclose()

    @guarded
    async def _listen(self, listener: Any) -> None:
        await listener.subscribe(self._key("notices"))

    @guarded
    async def _hear(self, listener: Any) -> Any:
        return await listener.get_message(timeout=5.0)

    @guarded
    async def ping(self) -> None:
        """Return if Redis is there and answers as it should."""
        try:
            await self._redis.ping()
        except exceptions.ResponseError as error:
            raise Unavailable(f"the channel store is not ready: {error}") from error

    async def close(self) -> None:
        """Give back connections."""
        await self._redis.aclose()
        await self._listening.aclose()
