"""Many subscriptions in one channel: the next one costs what the first did and tells as it did."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import strategies as st

from api import channels
from api.channels import slot_name
from api.delivery_message import Member
from api.delivery_sources import Sources
from pipeline.event_types.base import Watch
from tests import builders
from tests.delivery_world import World, names

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import FrameType

    from tests.delivery_world import ListSink

FEW, MANY = 10, 300


class Lines:
    """Counts the lines of Python that delivery executes: its work, however fast the machine."""

    def __init__(self) -> None:
        self.count = 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if "/api/delivery_" not in frame.f_code.co_filename:
            return None
        self.count += event == "line"
        return self.trace

    async def of(self, work: Awaitable[object]) -> int:
        """Return how many lines something takes."""
        before = self.count
        sys.settrace(self.trace)
        try:
            await work
        finally:
            sys.settrace(None)
        return self.count - before


async def _grow(world: World, sink: ListSink, channel_id: str, count: int) -> None:
    """Watch one more directory, and wait until the stream has come to the present with it."""
    path = f"/data/w{count}"
    world.directory(builders.inode(5_000 + count), path)
    made = await world.subscribe(channel_id, path)
    told = f"subscriptions/inotify/{made.id}".encode()
    await sink.until(lambda sink: told in sink.data)
    await world.until_live(sink)


async def _shrink(world: World, sink: ListSink, channel_id: str, count: int) -> None:
    """Watch one directory less."""
    identity = channels.inode_id(builders.inode(5_000 + count))
    closed = sink.data.count(b"SUBSCRIPTION_CLOSED") + 1
    assert await world.store.unsubscribe(channel_id, "inotify", identity, {"sim": 0})
    await sink.until(lambda sink: sink.data.count(b"SUBSCRIPTION_CLOSED") == closed)
    await world.until_live(sink)


async def test_one_more_watch_costs_the_same_in_a_channel_of_hundreds() -> None:
    """Else a channel of N watches would take N² to fill, and to empty."""
    async with World() as world:
        channel = await world.channel()
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        lines = Lines()
        made = [await lines.of(_grow(world, sink, channel.id, n)) for n in range(MANY)]
        ended = [await lines.of(_shrink(world, sink, channel.id, n)) for n in range(MANY)]
        # The least of several: what a node does for a stream once a second is left out.
        assert min(made) > FEW
        assert min(ended) > FEW
        assert min(made[-FEW:]) < min(made[1:FEW]) + FEW
        assert min(ended[:FEW]) < min(ended[-FEW:-1]) + FEW


async def test_what_happened_before_a_late_watch_came_is_told_to_it_alone() -> None:
    """The others were told when it happened; only who is behind is read for."""
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.directory(builders.inode(77), "/late")
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        place = world.storage.places["/late"]
        assert place is not None
        late = channels.namespace_subscription(
            "inotify", {}, Watch(path="/late", mask=0xFFF), place, "http://h/c"
        ).replace(since={"sim": 0})
        for number in range(6):
            where = {"ancestors": builders.inode(77), "path": "/late/x"} if number % 2 else {}
            await world.happen(f"e{number}", **where)
        await sink.until(lambda sink: len(names(sink)) == 3)
        await world.store.subscribe(channel.id, late)
        await sink.until(lambda sink: len(names(sink)) == 6)
        await world.until_live(sink)
        await world.happen("e6")
        await sink.until(lambda sink: "e6" in names(sink))
        assert names(sink) == ["e0", "e2", "e4", "e1", "e3", "e5", "e6"]


async def test_many_that_come_while_the_log_is_late_make_one_layer() -> None:
    """Else each of them would be looked for among all that came before it."""
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        value, made = world.message("seen")
        world.deliver(value)  # the log has not got it yet
        for count in range(5):
            path = f"/data/w{count}"
            world.directory(builders.inode(5_000 + count), path)
            await world.store.subscribe(channel.id, _from_the_beginning(world, path))
            await sink.until(functools.partial(_have_come, count + 1))
        assert [layer.generation for layer in world.stream_of(sink).layers] == [1, 6]
        await world.log_it(value, made)
        await world.until_live(sink)
        assert names(sink) == ["seen"]


def _have_come(count: int, sink: ListSink) -> bool:
    return sink.data.count(b"NEW_SUBSCRIPTION") == count


def _from_the_beginning(world: World, path: str) -> channels.Subscription:
    place = world.storage.places[path]
    assert place is not None
    watch = Watch(path=path, mask=0xFFF)
    made = channels.namespace_subscription("inotify", {}, watch, place, "http://h/c")
    return made.replace(since={"sim": 0})


class FakeNode:
    """What `Sources` asks a node."""

    def __init__(self) -> None:
        self.marks: dict[str, dict[str, int]] = {"inotify": {"a": 1}, "ingest": {}}


def _subscription(sequence: int, event_type: str, shard: str, since: list[str]) -> Any:
    timer = None
    if event_type == channels.METRONOME:
        timer, shard, since = channels.Metronome(0.0, 1.0, "", 0, "alice"), "", []
    return channels.Subscription(
        id=f"s{sequence}", event_type=event_type, url="http://h/c", selector={}, watch=Watch(),
        sequence=sequence, shard=shard, since=dict.fromkeys(since, 1), metronome=timer,
    )  # fmt: skip


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["inotify", "ingest", channels.METRONOME, "add", "drop", "shard"]),
        st.sampled_from(["", "a", "b", "c"]),
        st.lists(st.sampled_from("abcd"), max_size=3),
    ),
    max_size=30,
)


@hypothesis.given(STEPS)
def test_sources_are_what_looking_through_all_members_would_find(steps: Any) -> None:
    node: Any = FakeNode()
    sources = Sources(node)
    members: list[Member] = []
    for number, (kind, shard, since) in enumerate(steps):
        if kind == "shard":
            node.marks["inotify"][shard or "e"] = 1
        elif kind == "drop":
            if members:
                sources.remove(members.pop(number % len(members)))
        else:
            event_type = "inotify" if kind == "add" else kind
            members.append(Member(None, _subscription(number, event_type, shard, since), number))  # type: ignore[arg-type]
            sources.add(members[-1])
        expected: dict[str, tuple[str, str | None]] = {}
        for member in members:
            one = member.subscription
            if one.metronome is not None:
                expected[one.slot] = one.event_type, None
            everywhere = {**node.marks.get(one.event_type, {}), **one.since}
            for each in [one.shard] if one.shard else everywhere:
                if one.metronome is None:
                    expected[slot_name(one.event_type, each)] = one.event_type, each
        assert sources.slots() == expected
        assert {*sources.shards()} == {source for source in expected.values() if source[1]}
