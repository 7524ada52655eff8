"""Connecting to what is no longer where it was: deleted, moved, closed, and late news of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from api import delivery_admission
from pipeline.replay.memory_log import MemoryReplayLog
from schemas.errors import Unavailable
from tests import builders
from tests.delivery_world import DATA, ROOT, World, last_id, names
from tests.unit.api.test_delivery_endings import delete_data, kinds

if TYPE_CHECKING:
    from api.channels import Place

DELETED = ["IN_DELETE_SELF", "SUBSCRIPTION_CLOSED", "IN_IGNORED"]
DELETION = {
    "kind": "RMDIR", "inode": DATA, "ancestors": ROOT, "path": "/data", "name": "data",
    "type": "DIR", "permissions": "0:0:755 0:0:755",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _little_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_admission, "DOUBT_S", 0.02)


async def test_what_was_deleted_tells_all_up_to_its_end_however_late_that_comes() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.storage.places["/data"] = None
        world.storage.paths[DATA] = None
        sink = await world.connect(channel.id)
        await asyncio.sleep(10 * delivery_admission.DOUBT_S)
        await world.happen("a")
        await delete_data(world)
        await sink.until(lambda sink: len(sink.frames) == 4)
        assert kinds(sink) == ["IN_CREATE", *DELETED]


@pytest.mark.parametrize("of_nobody", [0, 3])
async def test_what_is_where_it_was_and_not_seen_is_closed_without_its_events(
    of_nobody: int,
) -> None:
    """At once, also where the storage was at a number of which nothing follows."""
    async with World() as world:
        channel = await world.channel()
        world.number += of_nobody
        await world.subscribe(channel.id)
        world.number -= of_nobody
        await world.happen("a")
        world.storage.places["/data"] = None
        world.storage.paths[DATA] = "/data"
        sink = await world.connect(channel.id)
        await sink.until(lambda sink: len(sink.frames) == 2)
        assert kinds(sink) == ["SUBSCRIPTION_CLOSED", "IN_IGNORED"]


async def test_what_was_moved_is_found_before_the_news_of_it() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.storage.places["/data"] = None
        world.storage.paths[DATA] = "/new"
        world.directory(DATA, "/new")
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.happen("a")
        await sink.until(lambda sink: names(sink) == ["a"])
        (kept,) = world.stream_of(sink).members.values()
        assert kept.subscription.path == "/new"


async def test_what_is_moved_while_it_is_looked_for_is_looked_for_again() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        real, asked = world.storage.place, 0

        async def absent_once(credentials: object, path: str, *, follow: bool) -> Place | None:
            nonlocal asked
            asked += 1
            return None if asked == 1 else await real(credentials, path, follow=follow)

        world.storage.place = absent_once  # type: ignore[method-assign]
        world.storage.paths[DATA] = "/data"
        sink = await world.connect(channel.id)
        await world.until_live(sink)
        await world.happen("a")
        await sink.until(lambda sink: names(sink) == ["a"])


async def test_a_storage_that_is_away_is_waited_for() -> None:
    async with World() as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        real, asked = world.storage.path_of, 0

        async def away_once(inode: bytes) -> object:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise Unavailable("away")
            return await real(inode)

        world.storage.places["/data"] = None
        world.storage.paths[DATA] = None
        world.storage.path_of = away_once  # type: ignore[method-assign,assignment]
        sink = await world.connect(channel.id)
        await delete_data(world)
        await sink.until(lambda sink: len(sink.frames) == 3)
        assert kinds(sink) == DELETED


async def _ended_on_node_0(world: World, channel_id: str) -> list[bytes]:
    """Let /data be deleted on a node that is ahead of node 1, where a reader is told of it."""
    values = []
    for changes in ({"name": "a"}, DELETION):
        value, made = world.message(**dict(changes))
        await world.log_it(value, made)
        world.deliver(value, 0)
        values.append(value)
    early = await world.connect(channel_id)
    await early.until(lambda sink: kinds(sink) == ["IN_CREATE", *DELETED])
    return values


async def test_an_end_that_another_node_has_seen_comes_in_its_place_on_one_that_has_not() -> None:
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id)
        world.storage.paths[DATA] = None
        values = await _ended_on_node_0(world, channel.id)
        sink = await world.connect(channel.id, node=1, last_event_id="0")
        await asyncio.sleep(0.1)
        assert sink.frames == []
        for value in values:
            world.deliver(value, 1)
            await asyncio.sleep(0)
        await sink.until(lambda sink: len(sink.frames) == 4)
        assert kinds(sink) == ["IN_CREATE", *DELETED]
        await world.until_live(sink)


async def test_an_end_that_another_node_says_is_told_where_that_one_says() -> None:
    """A stream that has not come to the end yet hears that there is one, and goes on to it."""
    async with World(2) as world:
        channel = await world.channel()
        made = await world.subscribe(channel.id)
        sink = await world.connect(channel.id, node=1)
        await world.until_live(sink)
        (value, _), (deletion, _) = messages = [
            world.message(**dict(changes)) for changes in ({"name": "a"}, DELETION)
        ]
        for message in messages:
            await world.log_it(*message)
        await world.store.end(channel.id, made.sequence, {"sim": 2}, ("sim", 2, 1))
        await asyncio.sleep(0.1)
        world.deliver(value, 1)
        await asyncio.sleep(0.1)
        world.deliver(deletion, 1)
        await sink.until(lambda sink: len(sink.frames) == 4)
        assert kinds(sink) == ["IN_CREATE", *DELETED]


class Travels:
    """/data moves about among shards; nothing of it is read meanwhile."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.numbers = {"sim": world.number, "b": 100, "c": 200}
        self.path, self.above, self.shard = "/data", ROOT, "sim"

    def _next(self, shard: str) -> int:
        self.numbers[shard] += 1
        return self.numbers[shard]

    async def _log(self, name: str, **changes: object) -> None:
        value, made = self.world.message(name, **changes)
        await self.world.log_it(value, made)
        self.world.deliver(value)

    async def move(self, path: str, shard: str) -> None:
        """Move it; across shards in two halves."""
        above = ROOT if path.count("/") == 1 else ROOT + builders.inode(ord(shard))
        halves = {self.shard: "FROM", shard: "TO"} if shard != self.shard else {shard: "WHOLE"}
        numbers = {of: self._next(of) for of in halves}
        source = {
            "ancestors": self.above, "permissions": "0:0:755 0:0:755", "path": self.path,
            "name": self.path[-1],
        }  # fmt: skip
        for of, half in halves.items():
            (twin,) = [{"shard": one, "number": numbers[one]} for one in halves if one != of] or [
                None
            ]
            await self._log(
                path[-1], kind="RENAME", inode=DATA, type="DIR", ancestors=above, path=path,
                shard=of, number=numbers[of], half=half, twin=twin, cookie="c" * 22,
                permissions=" ".join(["0:0:755"] * (len(above) // 18 + 1)), source=source,
            )  # fmt: skip
        self.path, self.above, self.shard = path, above, shard

    async def create(self, name: str) -> None:
        """Make a file in it."""
        await self._log(
            name, shard=self.shard, number=self._next(self.shard), ancestors=self.above + DATA,
            path=f"{self.path}/{name}",
            permissions=" ".join(["0:0:755"] * (len(self.above) // 18 + 2)),
        )  # fmt: skip


async def test_a_watch_follows_into_other_shards_while_nobody_reads() -> None:
    """Moved within its shard, to another, within that, to a third; its reader was away."""
    async with World(2) as world:
        channel = await world.channel()
        await world.subscribe(channel.id, flags=["IN_CREATE"])
        sink = await world.connect(channel.id)
        await world.happen("zero")
        await sink.until(lambda sink: names(sink) == ["zero"])
        await world.leave(sink)
        travels = Travels(world)
        for path, shard in (("/x", "sim"), ("/b/x", "b"), ("/b/y", "b"), ("/c/y", "c")):
            await travels.move(path, shard)
            await travels.create(f"then {path}")
        world.storage.places["/data"] = None
        world.storage.paths[DATA] = travels.path
        world.directory(
            DATA, travels.path, travels.above, shard=travels.shard, positions=travels.numbers
        )
        again = await world.connect(channel.id, node=1, last_event_id=last_id(sink))
        await again.until(lambda sink: "then /c/y" in names(sink))
        assert names(again) == ["then /x", "then /b/x", "then /b/y", "then /c/y"]
        await world.until_live(again)
        (kept,) = await world.store.subscriptions(channel.id)
        assert (kept.shard, kept.path) == ("c", "/c/y")


async def test_a_watch_is_found_in_its_shard_when_the_way_there_was_trimmed() -> None:
    """Its reader is told of the loss, and then goes on."""
    async with World(log=MemoryReplayLog(max_entries=5)) as world:
        channel = await world.channel()
        await world.subscribe(channel.id, flags=["IN_CREATE"])
        sink = await world.connect(channel.id)
        await world.happen("zero")
        await sink.until(lambda sink: names(sink) == ["zero"])
        await world.leave(sink)
        travels = Travels(world)
        await travels.move("/b/x", "b")
        for n in range(20):
            await world.happen(f"other{n}", ancestors=ROOT + builders.inode(77))
            travels.numbers["sim"] = world.number
        await travels.create("there")
        world.storage.places["/data"] = None
        world.storage.paths[DATA] = "/b/x"
        world.directory(DATA, "/b/x", travels.above, shard="b", positions=travels.numbers)
        again = await world.connect(channel.id, last_event_id=last_id(sink))
        await again.until(lambda sink: "there" in names(sink))
        assert kinds(again)[:1] == ["EVENT_LOSS"]
        assert names(again) == ["there"]
        await world.until_live(again)
        (kept,) = await world.store.subscriptions(channel.id)
        assert kept.shard == "b"
