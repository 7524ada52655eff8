"""How subscriptions and streams end: deletion, lost access, expiry, and what is said of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from api.memory_channel_store import MemoryChannelStore
from pipeline.authz.principal import Restrictions
from pipeline.replay.memory_log import MemoryReplayLog
from schemas.errors import Unavailable
from tests import builders
from tests.delivery_world import DATA, ROOT, ListSink, World, kinds, last_id, names

if TYPE_CHECKING:
    from api.channel_store import Attachment

PRIVATE = "0:0:755 0:0:700"


async def opened(world: World, **selector: Any) -> tuple[Any, ListSink]:
    """Make a channel with a watch on /data and a live stream of it."""
    channel = await world.channel()
    await world.subscribe(channel.id, **selector)
    sink = await world.connect(channel.id)
    await world.until_live(sink)
    return channel, sink


async def delete_data(world: World) -> None:
    await world.happen(
        kind="RMDIR", inode=DATA, ancestors=ROOT, path="/data", name="data", type="DIR",
        permissions="0:0:755 0:0:755",
    )  # fmt: skip


async def close_data(world: World, permissions: str = PRIVATE) -> None:
    await world.happen(
        kind="SETATTR", inode=DATA, ancestors=ROOT, path="/data", name="data", type="DIR",
        permissions=permissions, attribute="mode",
    )  # fmt: skip


async def test_a_deleted_directory_says_so_closes_and_is_ignored() -> None:
    async with World() as world:
        channel, sink = await opened(world)
        await world.happen("a")
        await delete_data(world)
        await sink.until(lambda sink: len(sink.frames) == 4)
        assert kinds(sink) == [
            "IN_CREATE", "IN_DELETE_SELF", "SUBSCRIPTION_CLOSED", "IN_IGNORED",
        ]  # fmt: skip
        assert await world.store.subscriptions(channel.id) == []


async def test_the_end_is_told_again_to_who_missed_it_and_only_to_them() -> None:
    async with World() as world:
        channel, sink = await opened(world, flags=["IN_CREATE"])
        await world.happen("a")
        await delete_data(world)
        await sink.until(lambda sink: len(sink.frames) == 3)
        again = await world.connect(channel.id, last_event_id=sink.frames[0][1])
        await again.until(lambda sink: len(sink.frames) == 2)
        assert kinds(again) == ["SUBSCRIPTION_CLOSED", "IN_IGNORED"]
        done = await world.connect(channel.id, last_event_id=last_id(again))
        await world.until_live(done)
        await world.subscribe(channel.id)
        await done.until(lambda sink: len(sink.frames) == 1)
        assert kinds(done) == ["NEW_SUBSCRIPTION"]


async def test_lost_access_closes_and_the_last_event_is_from_before() -> None:
    async with World(2) as world:
        _, sink = await opened(world)
        await world.happen("before")
        await close_data(world)
        await world.happen("after", permissions=f"{PRIVATE} 0:0:644")
        await sink.until(lambda sink: len(sink.frames) == 3)
        await asyncio.sleep(0.05)
        assert kinds(sink) == ["IN_CREATE", "SUBSCRIPTION_CLOSED", "IN_IGNORED"]


async def test_access_lost_while_away_closes_on_connecting() -> None:
    async with World() as world:
        channel, sink = await opened(world)
        await world.happen("seen")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.leave(sink)
        await world.happen("missed, but seen then")
        await close_data(world)
        world.storage.places["/data"] = None
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await again.until(lambda sink: len(sink.frames) == 2)
        assert kinds(again) == ["SUBSCRIPTION_CLOSED", "IN_IGNORED"]
        assert await world.store.subscriptions(channel.id) == []


async def test_access_lost_and_given_back_while_away_changes_nothing() -> None:
    async with World() as world:
        channel, sink = await opened(world, flags=["IN_CREATE"])
        await world.happen("seen")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.leave(sink)
        await close_data(world)
        await world.happen("hidden", permissions=f"{PRIVATE} 0:0:644")
        await close_data(world, "0:0:755 0:0:755")
        world.directory(DATA, "/data", positions={"sim": world.number})
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await world.happen("open")
        await again.until(lambda sink: "open" in names(sink))
        assert names(again) == ["open"]


async def test_a_directory_in_its_place_is_another() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.directory(builders.inode(77), "/data")
        sink = await world.connect(channel.id)
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert kinds(sink) == ["SUBSCRIPTION_CLOSED", "IN_IGNORED"]


async def test_a_watch_follows_its_directory_wherever_it_is_moved() -> None:
    async with World() as world:
        channel, sink = await opened(world)
        await world.happen(
            kind="RENAME", inode=DATA, ancestors=ROOT, path="/moved", name="moved", type="DIR",
            permissions="0:0:755 0:0:755", cookie="c" * 22,
            source={
                "ancestors": ROOT, "permissions": "0:0:755 0:0:755", "path": "/data",
                "name": "data",
            },
        )  # fmt: skip
        world.storage.places["/data"] = None
        world.directory(DATA, "/moved")
        await world.happen("x", path="/moved/x")
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert kinds(sink) == ["IN_MOVE_SELF", "IN_CREATE"]
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await world.until_live(again)
        await world.happen("y", path="/moved/y")
        await again.until(lambda sink: len(sink.frames) == 1)
        assert names(again) == ["y"]


async def test_a_watch_is_found_where_its_directory_was_moved_while_nobody_looked() -> None:
    async with World() as world:
        channel, sink = await opened(world, flags=["IN_CREATE"])
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.leave(sink)
        for old, new in (("data", "x"), ("x", "y")):
            await world.happen(
                kind="RENAME", inode=DATA, ancestors=ROOT, path=f"/{new}", name=new, type="DIR",
                permissions="0:0:755 0:0:755", cookie="c" * 22,
                source={
                    "ancestors": ROOT, "permissions": "0:0:755 0:0:755", "path": f"/{old}",
                    "name": old,
                },
            )  # fmt: skip
        world.storage.places["/data"] = None
        world.directory(DATA, "/y")
        await world.happen("b", path="/y/b")
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await again.until(lambda sink: len(sink.frames) == 1)
        assert names(again) == ["b"]


async def test_events_outside_of_a_tokens_path_are_not_told() -> None:
    narrow = builders.principal(1000, restrictions=Restrictions(path="/data/mine"))
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id, principal=narrow)
        await world.until_live(sink)
        await world.happen("other")
        await world.happen("mine")
        await sink.until(lambda sink: len(sink.frames) == 1)
        assert names(sink) == ["mine"]


async def test_what_was_trimmed_is_told_as_lost_with_what_to_scan_again() -> None:
    async with World(log=MemoryReplayLog(max_entries=5)) as world:
        channel, sink = await opened(world)
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.leave(sink)
        for _ in range(20):
            await world.happen()
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await again.until(lambda sink: len(sink.frames) == 6)
        (made,) = await world.store.subscriptions(channel.id)
        assert json.loads(again.frames[0][2]) == {
            "type": "EVENT_LOSS", "subscription": made.url, "path": "/data",
        }  # fmt: skip
        assert names(again) == [f"f{n}" for n in range(17, 22)]
        once = await world.connect(channel.id, last_event_id=last_id(again))
        await world.until_live(once)
        assert once.frames == []


async def test_a_channel_that_the_store_lost_is_made_again() -> None:
    async with World() as world:
        channel, sink = await opened(world)
        real = world.store.refresh

        async def away(_: Any) -> Any:
            raise Unavailable("away")

        world.store.refresh = away
        async with asyncio.timeout(60):
            while not world.stream_of(sink).store_was_away:
                await asyncio.sleep(0.01)
            world.store._kept.clear()
            world.store.refresh = real
            while await world.store.get(channel.id) is None:
                await asyncio.sleep(0.01)
        assert len(await world.store.subscriptions(channel.id)) == 1
        await world.happen("still")
        await sink.until(lambda sink: names(sink) == ["still"])


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_missed_notice_is_found_out(deleted: bool) -> None:
    async with World() as world:
        channel, sink = await opened(world)
        world.store._listeners.clear()
        if deleted:
            await world.store.delete(channel.id)
            await sink.until(lambda sink: sink.is_closed, 15)
        else:
            world.directory(b"y" * 18, "/other")
            await world.subscribe(channel.id, "/other")
            await sink.until(lambda sink: len(sink.frames) == 1, 15)
            assert kinds(sink) == ["NEW_SUBSCRIPTION"]


class SlowStore(MemoryChannelStore):
    """A store that answers who opens a stream when it may."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop().time)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def attach(self, channel_id: str, connection: str) -> Attachment:
        self.asked.set()
        await self.may_answer.wait()
        return await super().attach(channel_id, connection)


async def test_a_stream_that_is_being_opened_when_its_node_stops_hears_of_it_too() -> None:
    """It was not there yet when the others were told; it must not be left to the last limit."""
    store = SlowStore()
    async with World(store=store) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        opening = asyncio.create_task(world.connect(channel.id))
        await store.asked.wait()
        await world.hubs[0].stop()
        store.may_answer.set()
        sink = await opening
        await sink.until(lambda sink: sink.is_closed)
        assert sink.frames == [("SYSTEM", "", '{"type":"SHUTDOWN"}')]
        assert world.hubs[0].connections == 0
