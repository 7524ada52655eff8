"""How streams end with their readers' credentials: expiry, withdrawal, groups that were left."""

from __future__ import annotations

import asyncio

from pipeline.authz.principal import Restrictions
from tests import builders
from tests.delivery_world import DATA, World
from tests.unit.api.test_delivery_endings import kinds, opened


async def test_a_token_that_ends_takes_its_stream_with_it() -> None:
    async with World() as world:
        ends = world.clock() + 0.2
        brief = builders.principal(1000, restrictions=Restrictions(expires_s=ends))
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id, principal=brief)
        await sink.until(lambda sink: sink.is_closed, 5)
        assert world.clock() >= ends
        assert kinds(sink) == ["CREDENTIALS_EXPIRED"]


async def test_nothing_is_told_between_the_end_of_a_token_and_of_its_stream() -> None:
    async with World() as world:
        _, sink = await opened(world)
        await world.happen("before")
        stream = world.stream_of(sink)
        stream.finish("CREDENTIALS_EXPIRED")
        await world.happen("after")
        await sink.until(lambda sink: sink.is_closed, 5)
        assert kinds(sink) == ["IN_CREATE", "CREDENTIALS_EXPIRED"]


async def test_a_user_who_left_a_group_loses_what_the_group_may_see() -> None:
    async with World(principal_cache_s=0.2) as world:
        world.directory(DATA, "/data", permissions="0:0:755 0:42:750")
        member, other = builders.principal(1000, 42), builders.principal(1000, 7)
        world.storage.principals["alice"] = member
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id, principal=member)
        await world.until_live(sink)
        world.storage.principals["alice"] = other
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert kinds(sink) == ["SUBSCRIPTION_CLOSED", "IN_IGNORED"]


async def test_a_user_who_is_gone_is_not_read_to() -> None:
    async with World(principal_cache_s=0.2) as world:
        _, sink = await opened(world)
        world.storage.principals["alice"] = None
        await sink.until(lambda sink: sink.is_closed, 5)
        assert kinds(sink) == ["CREDENTIALS_REVOKED"]


async def test_a_reader_who_cannot_be_asked_about_shields_no_other() -> None:
    async with World(principal_cache_s=0.2) as world:
        _, first = await opened(world)
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.storage.broken.add("alice")
        sink = await world.connect(channel.id, credentials="mallory")
        await world.until_live(sink)
        world.storage.principals["mallory"] = None
        await sink.until(lambda sink: sink.is_closed, 5)
        assert not first.is_closed


async def test_no_answer_is_believed_for_longer_than_it_is_said() -> None:
    """A new stream asks at once, the others before their answer is too old."""
    async with World(principal_cache_s=1.0) as world:
        await opened(world)
        async with asyncio.timeout(30):
            while len(world.storage.asked) < 3:
                await asyncio.sleep(0.01)
        assert {fresh_s for _, fresh_s in world.storage.asked} == {0.2}
