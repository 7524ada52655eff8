"""What is told to many together: each of them gets what they would have got alone."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from pipeline.authz.principal import Restrictions
from tests import builders
from tests.delivery_world import ListSink, World, last_id, names

if TYPE_CHECKING:
    import pytest

    from api.delivery import Stream


async def _reader(world: World, **options: object) -> ListSink:
    """Open a live stream of a new channel that watches /data."""
    channel = await world.channel()
    await world.subscribe(channel.id)
    sink = await world.connect(channel.id, **options)  # type: ignore[arg-type]
    await world.until_live(sink)
    return sink


def _batched(stream: Stream) -> bool:
    return stream.batched is not None


async def test_readers_of_one_directory_are_told_together_each_with_ids_of_their_own() -> None:
    async with World() as world:
        first, second = await _reader(world), await _reader(world)
        assert _batched(world.stream_of(first))
        assert _batched(world.stream_of(second))
        for name in "abc":
            await world.happen(name)
        for sink in (first, second):
            await sink.until(lambda sink: len(sink.frames) == 3)
            assert names(sink) == ["a", "b", "c"]
        ids = [event_id for sink in (first, second) for _, event_id, _ in sink.frames]
        assert len(set(ids)) == 6
        again = await world.connect(world.stream_of(first).channel.id, last_event_id=ids[1])
        await again.until(lambda sink: names(sink) == ["c"])


async def test_of_what_waits_each_gets_what_they_may_see() -> None:
    async with World() as world:
        member = await _reader(world, principal=builders.principal(7, 42), credentials="m")
        other = await _reader(world, principal=builders.principal(8), credentials="o")
        world.stream_of(other)
        await world.happen("open")
        await world.happen("secret", permissions="0:0:755 0:42:750 1000:42:640")
        await world.happen("open too")
        await member.until(lambda sink: len(sink.frames) == 3)
        await other.until(lambda sink: "open too" in names(sink))
        assert names(member) == ["open", "secret", "open too"]
        assert names(other) == ["open", "open too"]


def _wait_longer(world: World) -> None:
    """Let the next flush come later than all that a test does before it."""
    world.hubs[0]._node.flusher._next_s = time.perf_counter() + 0.3


async def test_who_comes_while_events_wait_is_told_none_of_them_twice() -> None:
    async with World() as world:
        early = await _reader(world)
        channel = await world.channel()
        await world.subscribe(channel.id)
        _wait_longer(world)
        await world.happen("a")
        late = await world.connect(channel.id)
        await world.until_live(late)
        assert names(early) == []
        assert names(late) == ["a"]
        await world.happen("b")
        for sink in (early, late):
            await sink.until(lambda sink: names(sink) == ["a", "b"])


async def test_who_comes_and_goes_while_events_wait_is_told_none_of_them_twice() -> None:
    async with World() as world:
        early, late = await _reader(world), await _reader(world)
        stream = world.stream_of(late)
        _wait_longer(world)
        await world.happen("a")
        stream.fall_behind()
        assert names(late) == ["a"]
        await world.until_live(late)
        await world.happen("b")
        stream.fall_behind()
        await world.happen("c")
        await world.until_live(late)
        assert names(early) == []
        for sink in (early, late):
            await sink.until(lambda sink: names(sink) == ["a", "b", "c"])


async def test_what_waits_comes_before_what_the_stream_says_next() -> None:
    async with World() as world:
        sink = await _reader(world)
        await world.happen("a")
        world.stream_of(sink).system("EVENT_LOSS")
        await world.happen("b")
        await sink.until(lambda sink: len(sink.frames) == 3)
        assert [kind for kind, _, _ in sink.frames] == ["inotify", "SYSTEM", "inotify"]


async def test_who_leaves_while_events_wait_has_had_them() -> None:
    async with World() as world:
        leaving, staying = await _reader(world), await _reader(world)
        await world.happen("a")
        world.stream_of(leaving).shut_down()
        await leaving.until(lambda sink: sink.is_closed)
        await staying.until(lambda sink: len(sink.frames) == 1)
        assert names(leaving) == names(staying) == ["a"]
        assert leaving.frames[-1][0] == "SYSTEM"


async def test_a_subscription_made_while_events_wait_is_told_from_then_on() -> None:
    async with World() as world:
        world.directory(b"x" * 18, "/other")
        sink = await _reader(world)
        stream = world.stream_of(sink)
        await world.happen("a")
        await world.subscribe(stream.channel.id, "/other")
        await world.happen("b")
        await sink.until(lambda sink: any(kind == "SYSTEM" for kind, _, _ in sink.frames))
        await world.until_live(sink)
        assert not _batched(stream)  # two subscriptions: their order counts
        await world.happen("c")
        await world.happen("d", ancestors=b"x" * 18, path="/other/d")
        await world.happen("e")
        await sink.until(lambda sink: "e" in names(sink))
        assert names(sink) == ["a", "b", "c", "d", "e"]


async def test_lost_groups_count_from_the_next_event_on() -> None:
    async with World() as world:
        sink = await _reader(world, principal=builders.principal(7, 42), credentials="m")
        stream = world.stream_of(sink)
        secret = {"permissions": "0:0:755 0:42:755 1000:42:640"}
        await world.happen("before", permissions="0:0:755 0:42:750 1000:42:640")
        stream.confirm(builders.principal(7, 43))
        assert names(sink) == ["before"]
        await world.happen("hidden", permissions="0:0:755 0:42:750 1000:42:640")
        await world.happen("open", **secret)
        await sink.until(lambda sink: "open" in names(sink))
        assert names(sink) == ["before", "open"]


async def test_a_restricted_reader_is_told_alone() -> None:
    async with World() as world:
        token = builders.principal(1000, restrictions=Restrictions(path="/data/mine"))
        free = await _reader(world)
        bound = await _reader(world, principal=token, credentials="t")
        assert not _batched(world.stream_of(bound))
        for name in ("other", "mine"):
            await world.happen(name, path=f"/data/{name}")
        await free.until(lambda sink: len(sink.frames) == 2)
        await bound.until(lambda sink: len(sink.frames) == 1)
        assert names(bound) == ["mine"]


async def test_a_number_that_no_short_id_holds_is_told_with_a_long_one() -> None:
    async with World() as world:
        sink = await _reader(world)
        world.number = 2**48
        await world.happen("far")
        await sink.until(lambda sink: len(sink.frames) == 1)
        assert int(last_id(sink)) >= 2**128


async def test_a_slow_reader_falls_behind_alone_and_misses_nothing() -> None:
    async with World(unsent_limit_bytes=1) as world:
        slow, quick = await _reader(world), await _reader(world)
        slow.stuck = True
        for name in "abcd":
            await world.happen(name)
            await quick.until(lambda sink, name=name: name in names(sink))  # type: ignore[misc]
        assert names(quick) == ["a", "b", "c", "d"]
        assert names(slow) == ["a"]
        assert not _batched(world.stream_of(slow))
        slow.read_on()
        await slow.until(lambda sink: "d" in names(sink))
        assert names(slow) == ["a", "b", "c", "d"]
        await world.until_live(slow)
        assert _batched(world.stream_of(slow))


async def test_a_stream_that_cannot_be_written_to_is_cut_off_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ListSink):
        def write(self, data: bytes, /) -> None:
            raise RuntimeError("broken")

    async with World() as world:
        broken, whole = await _reader(world, sink=Broken()), await _reader(world)
        with caplog.at_level(logging.CRITICAL):
            await world.happen("a")
            await whole.until(lambda sink: names(sink) == ["a"])
        assert broken.is_aborted


async def test_a_reader_that_is_gone_leaves_nothing_behind() -> None:
    class Gone(ListSink):
        """A transport whose client has gone."""

        def write(self, data: bytes, /) -> None:
            raise RuntimeError("the handler is closed")

    async with World() as world:
        sink = await _reader(world, sink=Gone())
        stream = world.stream_of(sink)
        await world.happen("waits")
        stream.disconnected()
        await stream.ended.wait()
        assert not sink.is_aborted
        assert len(stream.node.matchers["inotify"]) == 0


async def test_a_kept_cursor_says_what_was_written() -> None:
    async with World() as world:
        sink = await _reader(world)
        stream = world.stream_of(sink)
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.happen("b")
        kept = stream.served().cursor
        assert names(sink) == ["a", "b"]
        again = await world.connect(stream.channel.id, last_event_id=kept)
        await world.happen("c")
        await again.until(lambda sink: names(sink) == ["c"])


async def test_ids_are_short_also_if_the_first_subscription_comes_after_the_stream() -> None:
    async with World() as world:
        channel = await world.channel()
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.subscribe(channel.id)
        await sink.until(lambda sink: len(sink.frames) == 1)
        await world.until_live(sink)
        await world.happen("a")
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert _batched(world.stream_of(sink))
        assert int(last_id(sink)) < 2**128
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await world.happen("b")
        await again.until(lambda sink: names(sink) == ["b"])
