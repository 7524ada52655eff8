"""Delivery in disorder: readers killed at any instant, nodes and logs out of step, shards."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from typing import Any

import pytest

from tests.delivery_world import DATA, ROOT, ListSink, World, names


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


class Late:
    """What nodes have still to hear, each in order and in its own time."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.waiting: list[deque[bytes]] = [deque() for _ in world.hubs]

    def hear(self, node: int, most: int) -> None:
        """Let a node hear of the next ones."""
        waiting = self.waiting[node]
        for _ in range(min(most, len(waiting))):
            self.world.deliver(waiting.popleft(), node)

    async def happen(self, directories: int) -> None:
        """Let a message be made; log and nodes learn of it in any order, perhaps much later."""
        where = self.chance.randrange(0, directories + 1)
        above = {"ancestors": ROOT + bytes([50 + where]) * 18} if where else {}
        value, made = self.world.message(**above)
        for waiting in self.waiting:
            waiting.append(value)
        log = len(self.waiting)
        for step in self.chance.sample(range(log + 1), log + 1):
            if step == log:
                await self.world.log_it(value, made)
            else:
                self.hear(step, self.chance.choice([0, 0, 0, 0, 0, 1, 20]))
            if self.chance.random() < 0.1:
                await asyncio.sleep(0)


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
        nodes = Late(world, chance)
        for step in range(400):
            await nodes.happen(late)
            await asyncio.sleep(0)
            if step % 100 == 50:
                for one in (calm_channel, channel):
                    await world.subscribe(one.id, f"/d{late}", recursive=bool(late % 2))
                late += 1
            if chance.random() < 0.08:
                await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
                assert killed.sink is not None
                killed.take(chance.choice([chance.randrange(30), 100_000]))
                if killed.last_id is not None:
                    await killed.connect()
                    await asyncio.sleep(chance.choice([0, 0.02]))
        for node in range(3):
            nodes.hear(node, 400)
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
