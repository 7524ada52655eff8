"""Delivery: past and present become one stream, each event once and in order, on any node."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.delivery_world import BASE, DATA, ROOT, ListSink, World, last_id, names


async def test_an_event_reaches_a_reader_as_dcache_writes_it() -> None:
    async with World() as world:
        channel = await world.channel()
        subscription = await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.happen("new")
        await sink.until(lambda sink: len(sink.frames) == 1)
        ((kind, event_id, data),) = sink.frames
        assert kind == "inotify"
        assert event_id.isdigit()
        assert data == (
            '{"event":{"name":"new","mask":["IN_CREATE"]},"subscription":"'
            + subscription.url
            + '"}'
        )
        assert subscription.url.startswith(f"{BASE}/{channel.id}/subscriptions/inotify/")


async def test_what_happened_between_subscribing_and_connecting_arrives() -> None:
    async with World() as world:
        await world.happen("before")
        channel = await world.channel()
        await world.subscribe(channel.id)
        for _ in range(100):
            await world.happen()
        sink = await world.connect(channel.id)
        await world.happen("after")
        await sink.until(lambda sink: "after" in names(sink))
        assert names(sink) == [*(f"f{n}" for n in range(2, 102)), "after"]


async def test_after_an_id_follows_exactly_what_comes_after_it() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        first = await world.connect(channel.id)
        for _ in range(10):
            await world.happen()
        await first.until(lambda sink: len(sink.frames) == 10)
        ids = [event_id for _, event_id, _ in first.frames]
        for n, event_id in enumerate(ids):
            again = await world.connect(channel.id, node=n % 2, last_event_id=event_id)
            await again.until(lambda sink, n=n: len(names(sink)) == 9 - n)
            await world.until_live(again)
            assert names(again) == [f"f{k}" for k in range(n + 2, 11)]


async def test_without_an_id_it_goes_on_now_but_new_subscriptions_from_their_start() -> None:
    async with World() as world:
        world.directory(b"x" * 18, "/other")
        channel = await world.channel()
        await world.subscribe(channel.id)
        first = await world.connect(channel.id)
        await world.until_live(first)
        await world.leave(first)
        await world.happen("missed")
        await world.subscribe(channel.id, "/other")
        await world.happen("kept", ancestors=b"x" * 18, path="/other/kept")
        await world.happen("missed2")
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.happen("live")
        await sink.until(lambda sink: "live" in names(sink))
        assert names(sink) == ["kept", "live"]


async def test_resume_goes_on_where_the_last_connection_stopped() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        first = await world.connect(channel.id)
        await world.happen("a")
        await first.until(lambda sink: len(sink.frames) == 1)
        await world.leave(first)
        await world.happen("b")
        second = await world.connect(channel.id, node=1, resume=True)
        await second.until(lambda sink: len(sink.frames) == 1)
        assert names(second) == ["b"]


async def test_a_second_connection_takes_over_from_the_first_on_another_node() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        first = await world.connect(channel.id)
        await world.happen("a")
        await first.until(lambda sink: len(sink.frames) == 1)
        second = await world.connect(channel.id, node=1, last_event_id=last_id(first))
        await first.until(lambda sink: sink.is_closed)
        assert first.frames[-1] == ("SYSTEM", "", '{"type":"COMPETING_CLIENT"}')
        await world.until_live(second)
        await world.happen("b")
        await second.until(lambda sink: len(sink.frames) == 1)
        assert names(second) == ["b"]


async def test_a_stopped_node_says_shutdown() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.hubs[0].stop()
        assert sink.is_closed
        assert sink.frames == [("SYSTEM", "", '{"type":"SHUTDOWN"}')]


async def test_a_subscription_made_while_connected_is_announced_and_told() -> None:
    async with World(2) as world:
        channel = await world.channel()
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        made = await world.subscribe(channel.id)
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert json.loads(sink.frames[0][2]) == {
            "type": "NEW_SUBSCRIPTION",
            "subscription": made.url,
        }
        assert names(sink) == ["a"]


async def test_a_deleted_subscription_says_closed_and_then_ignored_with_an_id() -> None:
    async with World() as world:
        channel = await world.channel()
        made = await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.store.unsubscribe(
            channel.id, "inotify", made.id, world.hubs[0].marks("inotify")
        )
        await sink.until(lambda sink: len(sink.frames) == 3)
        await world.happen("b")
        closed, ignored = sink.frames[1:]
        assert (closed[0], closed[1]) == ("SYSTEM", "")
        assert json.loads(closed[2])["type"] == "SUBSCRIPTION_CLOSED"
        assert ignored[1].isdigit()
        assert json.loads(ignored[2])["event"] == {"mask": ["IN_IGNORED"]}
        again = await world.connect(channel.id, last_event_id=sink.frames[0][1])
        await again.until(lambda sink: len(sink.frames) == 2)
        assert again.frames == [closed, ignored]


async def test_a_deleted_channel_closes_its_subscriptions_and_its_stream() -> None:
    async with World(2) as world:
        channel = await world.channel()
        made = await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.store.delete(channel.id)
        await sink.until(lambda sink: sink.is_closed)
        (closed,) = sink.frames
        assert json.loads(closed[2]) == {"type": "SUBSCRIPTION_CLOSED", "subscription": made.url}


async def test_oneshot_tells_exactly_one_event_whoever_reconnects() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id, flags=["IN_CREATE", "IN_ONESHOT"])
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        for name in "abc":
            await world.happen(name)
        await sink.until(lambda sink: len(sink.frames) == 3)
        assert names(sink) == ["a"]
        again = await world.connect(channel.id, node=1, last_event_id=sink.frames[0][1])
        await again.until(lambda sink: len(sink.frames) == 2)
        await world.until_live(again)
        assert names(again) == []
        assert again.frames == sink.frames[1:3]
        assert await world.store.subscriptions(channel.id) == []


class Killed:
    """A reader that is killed at any instant and comes back with the last id it has."""

    def __init__(self, world: World, channel_id: str, chance: random.Random) -> None:
        self.world, self.channel_id, self.chance = world, channel_id, chance
        self.got: list[str] = []
        self.last_id: str | None = None
        self.sink: ListSink | None = None

    async def connect(self) -> None:
        node = self.chance.randrange(len(self.world.hubs))
        self.sink = await self.world.connect(self.channel_id, node, last_event_id=self.last_id)

    def take(self, count: int) -> None:
        """Read so many events of what was sent, and nothing of the rest."""
        assert self.sink is not None
        for _, event_id, data in [one for one in self.sink.frames if one[1]][:count]:
            self.got.append(data.replace(self.channel_id, "C"))
            self.last_id = event_id


@pytest.mark.parametrize("seed", range(8))
async def test_a_killed_and_reconnecting_reader_gets_what_an_undisturbed_one_gets(
    seed: int,
) -> None:
    chance = random.Random(seed)
    async with World(3) as world:
        for n in range(1, 6):
            world.directory(bytes([50 + n]) * 18, f"/d{n}")
        calm_channel, channel = await world.channel(), await world.channel()
        for one in (calm_channel, channel):
            await world.subscribe(one.id)
            await world.subscribe(one.id, "/d1")
        calm = await world.connect(calm_channel.id)
        killed = Killed(world, channel.id, chance)
        await killed.connect()
        late = 2
        for step in range(400):
            await _something_happens(world, chance, late)
            await asyncio.sleep(0)
            if step % 100 == 50:
                for one in (calm_channel, channel):
                    await world.subscribe(one.id, f"/d{late}", recursive=bool(late % 2))
                late += 1
            if chance.random() < 0.08:
                await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
                assert killed.sink is not None
                killed.take(chance.randrange(30))
                if killed.last_id is not None:
                    await killed.connect()
        await world.happen("end")
        assert killed.sink is not None
        await killed.sink.until(lambda sink: "end" in names(sink))
        await calm.until(lambda sink: "end" in names(sink))
        killed.take(100_000)
        undisturbed = [data.replace(calm_channel.id, "C") for _, i, data in calm.frames if i]
        # What a new subscription catches up with comes when it does: order is per subscription.
        assert sorted(killed.got, key=_subscription) == sorted(undisturbed, key=_subscription)


def _subscription(data: str) -> str:
    return str(json.loads(data)["subscription"])


async def _something_happens(world: World, chance: random.Random, directories: int) -> None:
    """Let a message be made; log and nodes learn of it in any order."""
    where = chance.randrange(0, directories + 1)
    above = {"ancestors": ROOT + bytes([50 + where]) * 18} if where else {}
    value, made = world.message(**above)
    steps = ["log", 0, 1, 2]
    chance.shuffle(steps)
    for step in steps:
        if step == "log":
            await world.log_it(value, made)
        else:
            world.deliver(value, step)
        if chance.random() < 0.1:
            await asyncio.sleep(0)


def _halves(world: World) -> list[Any]:
    """Make the two messages of a move of /data to /o/data, in shard `other`."""
    twins = {"sim": world.number + 1, "other": world.number + 2}
    return [
        world.message(
            "data", kind="RENAME", inode=DATA, type="DIR", ancestors=ROOT + b"o" * 18,
            path="/o/data", permissions="0:0:755 0:0:755 0:0:755", cookie="c" * 22, half=half,
            shard=shard, twin={"shard": twin, "number": twins[twin]},
            source={
                "ancestors": ROOT, "permissions": "0:0:755 0:0:755", "path": "/data",
                "name": "data",
            },
        )
        for half, shard, twin in (("FROM", "sim", "other"), ("TO", "other", "sim"))
    ]  # fmt: skip


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 0, 3), (1, 2, 3, 0), (1, 0, 2, 3)])
async def test_a_watch_follows_its_directory_into_another_shard(order: tuple[int, ...]) -> None:
    """Whatever partition is read first: the old shard's events, the move, the new shard's."""
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.happen("before")
        messages = _halves(world)
        messages += [
            world.message(
                name, shard="other", ancestors=ROOT + b"o" * 18 + DATA, path=f"/o/data/{name}",
                permissions="0:0:755 0:0:755 0:0:755 0:0:644",
            )
            for name in ("first", "second")
        ]  # fmt: skip
        world.storage.places["/data"] = None
        world.directory(DATA, "/o/data", ROOT + b"o" * 18, shard="other")
        for index in order:
            await world.log_it(*messages[index])
            world.deliver(messages[index][0])
            await asyncio.sleep(0.01)
        await sink.until(lambda sink: "second" in names(sink))
        assert names(sink) == ["before", "first", "second"]
        assert ["SYSTEM" in kind for kind, _, _ in sink.frames] == [False] * 4
        again = await world.connect(channel.id, node=1, last_event_id=sink.frames[0][1])
        await again.until(lambda again: "second" in names(again))
        assert again.frames[0][2] == sink.frames[1][2]
        assert names(again) == ["first", "second"]
        (kept,) = await world.store.subscriptions(channel.id)
        assert (kept.shard, kept.path) == ("other", "/o/data")


async def test_a_recursive_watch_over_shards_learns_of_a_new_one_and_loses_nothing() -> None:
    """Ids name each shard as soon as there is more than one; a new one begins at its first."""
    async with World(2) as world:
        channel = await world.channel()
        made = await world.subscribe(channel.id, recursive=True)
        await world.store.unsubscribe(channel.id, "inotify", made.id, {})
        await world.store.forget(channel.id, [made.sequence])
        place = world.storage.places["/data"]
        assert place is not None
        spanning = made.replace(shard="", since={"sim": 0}, sequence=0)
        await world.store.subscribe(channel.id, spanning)
        got: list[str] = []
        last: str | None = None
        for turn in range(9):
            sink = await world.connect(channel.id, node=turn % 2, last_event_id=last)
            for shard in ["sim", "b", "c"][: 1 + turn // 3]:
                await world.happen(shard=shard)
            wanted = world.number - len(got)
            await sink.until(lambda sink, wanted=wanted: len(names(sink)) == wanted)
            taken = max(1, wanted - 1) if turn < 8 else wanted
            events = [one for one in sink.frames if one[1]][:taken]
            got += [json.loads(data)["event"]["name"] for _, _, data in events]
            last = events[-1][1]
        assert sorted(got) == sorted(f"f{n}" for n in range(1, 19))
