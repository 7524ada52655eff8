"""Subscriptions that end before this node has come to where they begin."""

from __future__ import annotations

import pytest

from tests.delivery_world import World, kinds, last_id, names


@pytest.mark.parametrize("is_live", [True, False])
async def test_an_end_does_not_wait_for_what_tells_nobody_anything(is_live: bool) -> None:
    """The storage was at a number of which nothing follows when the subscription was made."""
    async with World(2) as world:
        world.directory(b"x" * 18, "/other")
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.happen("a")
        await sink.until(lambda sink: names(sink) == ["a"])
        before = last_id(sink)
        if not is_live:
            await world.leave(sink)
        world.number += 3
        made = await world.subscribe(channel.id, "/other")
        marks = world.hubs[0].marks("inotify")
        assert made.since["sim"] > marks["sim"]
        assert await world.store.unsubscribe(channel.id, "inotify", made.id, marks)
        if not is_live:
            sink = await world.connect(channel.id, last_event_id=before)
        await sink.until(lambda sink: "IN_IGNORED" in kinds(sink))
        after = last_id(sink)
        await world.happen("b")
        await sink.until(lambda sink: "b" in names(sink))
        told = ["SUBSCRIPTION_CLOSED", "IN_IGNORED", "IN_CREATE"]
        assert kinds(sink)[-3:] == told
        for node, (event_id, expected) in enumerate([(after, told[2:]), (before, told)]):
            again = await world.connect(channel.id, node=node, last_event_id=event_id)
            await world.until_live(again)
            assert kinds(again) == expected
