"""Snapshots and metronomes: sources of events that are not on Kafka."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from api import channels
from api.delivery_metronome import MOST_MISSED, due
from pipeline.event_types.base import Watch
from tests.delivery_world import BASE, ListSink, World, last_id, names


def ticks(sink: ListSink) -> list[str]:
    """Return what metronomes said."""
    contents = [json.loads(data) for kind, _, data in sink.frames if kind == "metronome"]
    return [content["event"] for content in contents]


async def metronome(world: World, channel_id: str, **changes: float) -> channels.Subscription:
    """Subscribe to a metronome."""
    given = {"start_s": world.clock(), "period_s": 0.02, "count": 0} | changes
    timer = channels.Metronome(message="${username} ${count}", username="alice", **given)  # type: ignore[arg-type]
    made = channels.Subscription(
        id=f"m{random.random()}",
        event_type="metronome",
        url=f"{BASE}/{channel_id}/subscriptions/metronome/m",
        selector={"delay": 1},
        watch=Watch(),
        metronome=timer,
    )
    kept, _ = await world.store.subscribe(channel_id, made)
    return kept


async def test_a_metronome_ticks_counts_and_closes_without_ignored() -> None:
    async with World() as world:
        channel = await world.channel()
        made = await metronome(world, channel.id, count=4)
        sink = await world.connect(channel.id)
        await sink.until(lambda sink: len(sink.frames) == 5)
        assert ticks(sink) == [f"alice {n}" for n in range(1, 5)]
        assert json.loads(sink.frames[4][2]) == {
            "type": "SUBSCRIPTION_CLOSED",
            "subscription": made.url,
        }
        async with asyncio.timeout(30):
            while await world.store.subscriptions(channel.id):
                await asyncio.sleep(0.01)
        again = await world.connect(channel.id, last_event_id=sink.frames[1][1])
        await again.until(lambda sink: len(sink.frames) == 3)
        assert ticks(again) == ["alice 3", "alice 4"]
        assert again.frames[2] == sink.frames[4]


async def test_another_node_goes_on_with_the_next_tick() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await metronome(world, channel.id)
        got: list[str] = []
        last = None
        for turn in range(6):
            sink = await world.connect(channel.id, node=turn % 2, last_event_id=last)
            await sink.until(lambda sink: len(ticks(sink)) >= 2)
            got += ticks(sink)[:2]
            last = [event_id for _, event_id, _ in sink.frames if event_id][1]
        assert got == [f"alice {n}" for n in range(1, 13)]


async def test_with_a_watch_beside_it_nothing_is_lost_or_doubled() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        await metronome(world, channel.id)
        seen_ticks: list[str] = []
        seen_names: list[str] = []
        last = None
        for turn in range(8):
            sink = await world.connect(channel.id, node=turn % 2, last_event_id=last)
            await world.happen()
            await sink.until(lambda sink: len(ticks(sink)) >= 1 and len(names(sink)) >= 1)
            await world.leave(sink)
            seen_ticks += ticks(sink)
            seen_names += names(sink)
            last = last_id(sink)
        assert seen_names == [f"f{n}" for n in range(1, 9)]
        assert seen_ticks == [f"alice {n}" for n in range(1, len(seen_ticks) + 1)]


async def test_not_more_than_a_limit_of_missed_ticks_is_told() -> None:
    async with World() as world:
        channel = await world.channel()
        await metronome(world, channel.id, start_s=world.clock() - 100_000, period_s=10.0)
        sink = await world.connect(channel.id)
        await sink.until(lambda sink: len(ticks(sink)) == MOST_MISSED)
        assert ticks(sink)[-1] == "alice 10000"


def test_ticks_are_due_from_one_period_after_the_start() -> None:
    made = channels.Metronome(100.0, 2.0, "tick", 3, "alice")
    assert [due(made, now) for now in (90, 100, 101.9, 102, 104.5, 106, 1e6)] == [
        0, 0, 0, 1, 2, 3, 3,
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [0, 1, 700, 1499, 1500, 1501])
async def test_a_snapshot_comes_first_and_is_resumed_inside(cut: int) -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.directory(b"s" * 18, "/s")
        payloads = [f'{{"name":"s{n}","mask":["SNAPSHOT"]}}' for n in range(1500)]
        await world.happen("old")
        where = await world.store.put_snapshot(channel.id, payloads)
        place = world.storage.places["/s"]
        assert place is not None
        watch = Watch(path="/s", mask=0xFFF, snapshot=True)
        made = channels.namespace_subscription("inotify", {}, watch, place, f"{BASE}/{channel.id}")
        await world.store.subscribe(
            channel.id, made.replace(snapshot=where, since={"sim": world.number})
        )
        await world.happen("new", ancestors=b"s" * 18, path="/s/new")
        sink = await world.connect(channel.id)
        await sink.until(lambda sink: "new" in names(sink))
        wanted = [*(f"s{n}" for n in range(1500)), "old", "new"]
        assert names(sink) == wanted
        if cut:
            again = await world.connect(channel.id, node=1, last_event_id=sink.frames[cut - 1][1])
            await again.until(lambda sink: "new" in names(sink))
            assert names(again) == wanted[cut:]


async def test_a_snapshot_is_told_on_a_stream_that_is_open() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        world.directory(b"s" * 18, "/s")
        where = await world.store.put_snapshot(channel.id, ['{"name":"s0"}', '{"name":"s1"}'])
        place = world.storage.places["/s"]
        assert place is not None
        watch = Watch(path="/s", mask=0xFFF, snapshot=True)
        made = channels.namespace_subscription("inotify", {}, watch, place, f"{BASE}/{channel.id}")
        await world.store.subscribe(channel.id, made.replace(snapshot=where))
        await world.happen("other")
        await sink.until(lambda sink: len(sink.frames) == 4)
        assert sorted(names(sink)) == ["other", "s0", "s1"]
        await world.until_live(sink)
        await world.happen("last")
        await sink.until(lambda sink: len(sink.frames) == 5)
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await world.until_live(again)
        assert again.frames == []
