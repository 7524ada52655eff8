"""Delivery: past and present become one stream, each event once and in order, on any node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api import delivery_past
from api.matcher import Matcher
from tests.delivery_world import BASE, World, last_id, names

if TYPE_CHECKING:
    import pytest


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


async def test_what_another_node_told_before_this_one_heard_of_it_is_not_told_again() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        ahead = await world.connect(channel.id)
        await world.until_live(ahead)
        value, made = world.message("told")
        await world.log_it(value, made)
        world.deliver(value, 0)
        await ahead.until(lambda sink: names(sink) == ["told"])
        behind = await world.connect(channel.id, node=1, last_event_id=last_id(ahead))
        await world.until_live(behind)
        world.deliver(value, 1)
        await world.happen("new")
        await behind.until(lambda sink: "new" in names(sink))
        assert names(behind) == ["new"]


async def test_without_an_id_it_goes_on_now_but_new_subscriptions_from_their_start() -> None:
    async with World() as world:
        world.directory(b"x" * 18, "/other")
        channel = await world.channel()
        await world.subscribe(channel.id)
        first = await world.connect(channel.id)
        await world.happen("told")
        await first.until(lambda sink: names(sink) == ["told"])
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


async def test_resume_without_notes_begins_where_the_subscriptions_were_made() -> None:
    """The node of the first connection was killed before it could say how far it came."""
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        await world.store.attach(channel.id, "of a node that was killed")
        await world.happen("a")
        sink = await world.connect(channel.id, resume=True)
        await sink.until(lambda sink: names(sink) == ["a"])


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


async def test_one_more_watch_while_nothing_happens_costs_no_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a channel of N watches would take N² to fill."""
    made: list[Matcher[Any]] = []

    class Counted(Matcher[Any]):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    async with World() as world:
        channel = await world.channel()
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        monkeypatch.setattr(delivery_past, "Matcher", Counted)
        await world.subscribe(channel.id)
        await sink.until(lambda one: bool(one.frames))
        await world.until_live(sink)
        assert made == []
        await world.happen("seen")
        await sink.until(lambda one: names(one) == ["seen"])
