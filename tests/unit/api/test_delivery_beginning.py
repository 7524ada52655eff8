"""Where a stream begins whose reader comes without an id: they cannot have lost what they had not.

A node that is killed says nothing; what a reader was told is then known from once a second.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.delivery_world import World, last_id, names

if TYPE_CHECKING:
    from api.delivery import Stream


async def _killed(world: World, stream: Stream) -> None:
    """Let a stream's node be gone from one moment to the next, as far as the store can tell."""
    (task,) = [task for one, task, _ in world.streams if one is stream]
    stream.node.store = _Gone()  # type: ignore[assignment]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class _Gone:
    """The store as a killed node reaches it."""

    async def detach(self, *_: object) -> None:
        """Nothing arrives."""


async def _nothing_told(world: World) -> tuple[str, Stream]:
    """Let a channel have a stream that was told nothing: what happened was not for it."""
    world.directory(b"x" * 18, "/other")
    channel = await world.channel()
    await world.subscribe(channel.id)
    sink = await world.connect(channel.id)
    await world.until_live(sink)
    await world.happen(ancestors=b"x" * 18, path="/other/a")
    assert sink.frames == []
    return channel.id, world.stream_of(sink)


async def test_after_a_kill_it_goes_on_where_the_subscriptions_were_made() -> None:
    async with World(2) as world:
        channel_id, stream = await _nothing_told(world)
        await _killed(world, stream)
        await world.happen("meanwhile")
        sink = await world.connect(channel_id, node=1)
        await world.happen("live")
        await sink.until(lambda sink: "live" in names(sink))
        assert names(sink) == ["meanwhile", "live"]


@pytest.mark.parametrize("end", ["shut_down", "disconnected"])
async def test_after_another_end_it_goes_on_there(end: str) -> None:
    async with World(2) as world:
        channel_id, stream = await _nothing_told(world)
        getattr(stream, end)()
        await stream.ended.wait()
        assert (await world.store.reload(channel_id)).channel.cursor  # type: ignore[union-attr]
        await world.happen("meanwhile")
        sink = await world.connect(channel_id, node=1)
        await world.happen("live")
        await sink.until(lambda sink: "live" in names(sink))
        assert names(sink) == ["meanwhile", "live"]


async def test_what_was_written_to_nobody_was_not_told() -> None:
    async with World(2) as world:
        channel_id, stream = await _nothing_told(world)
        value = await world.happen("on its way")
        assert value
        stream.disconnected()  # before the flush
        await stream.ended.wait()
        sink = await world.connect(channel_id, node=1)
        await sink.until(lambda sink: names(sink) == ["on its way"])


async def test_who_was_told_something_goes_on_now_also_after_a_kill() -> None:
    async with World(2) as world:
        channel_id, stream = await _nothing_told(world)
        await world.happen("told")
        (sink,) = [sink for one, _, sink in world.streams if one is stream]
        await sink.until(lambda sink: names(sink) == ["told"])
        async with asyncio.timeout(10):
            while not (await world.store.reload(channel_id)).channel.seen_generation:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        await _killed(world, stream)
        await world.happen("meanwhile")
        sink = await world.connect(channel_id, node=1)
        await world.until_live(sink)
        await world.happen("live")
        await sink.until(lambda sink: "live" in names(sink))
        assert names(sink) == ["live"]


async def test_what_one_connection_was_told_the_next_is_not_told_again() -> None:
    """The first says where it stopped when the second takes over: with or without `resume`."""
    async with World(2) as world:
        channel_id, stream = await _nothing_told(world)
        await world.happen("told")
        (first,) = [sink for one, _, sink in world.streams if one is stream]
        await first.until(lambda sink: names(sink) == ["told"])
        for node, resume in ((1, True), (0, False)):
            sink = await world.connect(channel_id, node=node, resume=resume)
            await world.until_live(sink)
            await world.happen(f"live{node}")
            await sink.until(lambda sink: bool(names(sink)))
            assert names(sink) == [f"live{node}"]


async def test_a_channel_made_again_knows_whether_anything_was_told() -> None:
    async with World() as world:
        channel_id, stream = await _nothing_told(world)
        assert stream.as_kept().channel.seen_generation == 0
        await world.happen("told")
        (sink,) = [sink for one, _, sink in world.streams if one is stream]
        await sink.until(lambda sink: names(sink) == ["told"])
        assert stream.as_kept().channel.seen_generation == 1
        assert dataclasses.replace(stream.as_kept().channel, seen_generation=0).id == channel_id
        assert last_id(sink).isdigit()
