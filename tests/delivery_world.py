"""A small world for delivery: nodes over one store and one log, a storage that can be changed.

Everything but Kafka is the real thing or its shipped twin; what Kafka would carry is handed to
each node by the test, when the test wants it to arrive.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Self

from api import channels
from api.delivery import Hub
from api.delivery_message import Message
from api.memory_channel_store import MemoryChannelStore
from api.places import Whereabouts
from pipeline.event_types import inotify
from pipeline.replay.log import Batch, Entry
from pipeline.replay.memory_log import MemoryReplayLog
from schemas import codec
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from api.delivery import Stream
    from pipeline.authz.principal import Principal

INOTIFY = inotify.EVENT_TYPE
BASE = "http://h:3880/api/v1/events/channels"
ROOT, DATA = builders.inode(1), builders.inode(2)

_FRAME = re.compile(rb"event: (\w+)\n(?:id: (\d+)\n)?data: (.*)\n\n")


class ListSink:
    """A reader that keeps all it gets; it can stop reading."""

    def __init__(self) -> None:
        self.data = b""
        self.stuck = False
        self.unsent = 0
        self.is_closed = False
        self.is_aborted = False
        self._more = asyncio.Event()

    def write(self, data: bytes, /) -> None:
        self.data += data
        if self.stuck:
            self.unsent += len(data)
        self._more.set()

    def unsent_bytes(self) -> int:
        return self.unsent

    async def drain(self) -> None:
        while self.stuck:
            await asyncio.sleep(0.01)

    def read_on(self) -> None:
        self.stuck, self.unsent = False, 0

    def close(self) -> None:
        self.is_closed = True
        self._more.set()

    def abort(self) -> None:
        self.is_aborted = self.is_closed = True
        self._more.set()

    @property
    def frames(self) -> list[tuple[str, str, str]]:
        """All events: kind, id, data."""
        found = _FRAME.findall(self.data)
        return [(kind.decode(), name.decode(), data.decode()) for kind, name, data in found]

    async def until(self, enough: Callable[[ListSink], bool], timeout_s: float = 30.0) -> None:
        """Wait until what was read is enough."""
        try:
            async with asyncio.timeout(timeout_s):
                while not enough(self):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"not enough: {self.data[-2000:].decode()}") from None


class FakeFeed:
    """Kafka, by hand."""

    def __init__(self) -> None:
        self.connected = self.caught_up = True
        self.deliver: Callable[[Message], None] = lambda _: None

    async def run(self, deliver: Any, learn: Any) -> None:
        self.deliver = deliver
        learn({"inotify": {}})
        await asyncio.Event().wait()


class FakeStorage:
    """The gatekeeper: what is where, and who is who, as a test sets it."""

    def __init__(self) -> None:
        self.places: dict[str, channels.Place | None] = {}
        self.principals: dict[Any, Principal | None] = {}
        self.paths: dict[bytes, str | None] = {}
        self.broken: set[Any] = set()
        self.asked: list[tuple[Any, float]] = []

    async def principal(self, credentials: Any, *, fresh_s: float) -> Principal | None:
        self.asked.append((credentials, fresh_s))
        if credentials in self.broken:
            raise RuntimeError("a bug")
        return self.principals.get(credentials, builders.principal(1000))

    async def place(self, credentials: Any, path: str, *, follow: bool) -> channels.Place | None:
        await asyncio.sleep(0)
        return self.places.get(path)

    async def path_of(self, inode: bytes) -> Whereabouts:
        await asyncio.sleep(0)
        return Whereabouts(inode in self.paths, self.paths.get(inode))


class World:
    """Some nodes, one store, one log, one storage."""

    def __init__(
        self, nodes: int = 1, *, store: Any = None, log: Any = None, **options: Any
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.store = store or MemoryChannelStore(self.clock)
        self.log = log or MemoryReplayLog()
        self.storage = FakeStorage()
        self.feeds = [FakeFeed() for _ in range(nodes)]
        self.hubs = [
            Hub(
                store=self.store,
                event_types={"inotify": INOTIFY},
                logs={"inotify": self.log},
                feed=feed,
                gatekeeper=self.storage,
                clock=self.clock,
                **options,
            )
            for feed in self.feeds
        ]
        self.number = 0
        self.offsets = itertools.count(1)
        self.streams: list[tuple[Stream, asyncio.Task[None], ListSink]] = []
        self.directory(DATA, "/data")

    async def __aenter__(self) -> Self:
        for hub in self.hubs:
            await hub.start()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for hub in self.hubs:
            await hub.stop()
        for _, task, _ in self.streams:
            task.cancel()
        await asyncio.gather(*(task for _, task, _ in self.streams), return_exceptions=True)

    def directory(
        self,
        inode: bytes,
        path: str,
        ancestors: bytes = ROOT,
        permissions: str = "",
        *,
        positions: Mapping[str, int] | None = None,
        shard: str = "sim",
    ) -> None:
        """Let a directory stand somewhere."""
        depth = len(ancestors) // 18 + 1
        self.storage.places[path] = channels.Place(
            inode=inode,
            is_directory=True,
            shard=shard,
            positions=positions or {},
            path=path,
            ancestors=ancestors,
            permissions=permissions or " ".join(["0:0:755"] * depth),
        )

    def message(self, name: str = "", **changes: Any) -> tuple[bytes, Mapping[str, Any]]:
        """Make the next operation's message; by default a file is created in /data."""
        self.number += 1
        name = name or f"f{self.number}"
        record = builders.billing_record(
            number=self.number,
            kind=changes.pop("kind", "CREATE"),
            inode=builders.inode(1000 + self.number),
            path=f"/data/{name}",
            name=name,
        )
        (made,) = INOTIFY.derive({**record, **changes})
        return codec.encode("inotify", made), made

    async def log_it(self, value: bytes, made: Mapping[str, Any]) -> None:
        """Let the replay log have a message."""
        above = made["ancestors"] + made["source_ancestors"]
        entry = Entry(made["shard"], made["number"], made["watched"], above, value)
        await self.log.append([Batch(0, next(self.offsets), [entry])])

    def deliver(self, value: bytes, node: int | None = None) -> None:
        """Let a message arrive at a node, or at all."""
        for feed in self.feeds if node is None else [self.feeds[node]]:
            feed.deliver(Message(INOTIFY, codec.decode_head(value), value))

    async def happen(self, name: str = "", **changes: Any) -> bytes:
        """Let something happen: it is in the log and has come to all nodes."""
        value, made = self.message(name, **changes)
        await self.log_it(value, made)
        self.deliver(value)
        return value

    async def channel(self, **changes: Any) -> channels.Channel:
        """Make a channel."""
        given: dict[str, Any] = {"owner_key": "1000", "uid": 1000, "timeout_s": 300, "maximum": 99}
        return await self.store.create(**(given | changes))

    async def subscribe(
        self, channel_id: str, path: str = "/data", **selector: Any
    ) -> channels.Subscription:
        """Subscribe to what stands at a path."""
        selector = {"path": path, **selector}
        place = self.storage.places[path]
        assert place is not None
        found = channels.Place(
            inode=place.inode,
            is_directory=place.is_directory,
            shard=place.shard,
            positions={"sim": self.number},
            path=place.path,
            ancestors=place.ancestors,
            permissions=place.permissions,
        )
        watch = INOTIFY.parse(selector)
        made = channels.namespace_subscription(
            "inotify", selector, watch, found, f"{BASE}/{channel_id}"
        )
        kept, _ = await self.store.subscribe(channel_id, made)
        return kept

    async def connect(self, channel_id: str, node: int = 0, **options: Any) -> ListSink:
        """Open a stream of a channel on a node."""
        sink = options.pop("sink", None) or ListSink()
        options.setdefault("principal", builders.principal(1000))
        options.setdefault("credentials", "alice")
        self.storage.principals[options["credentials"]] = options["principal"]
        stream = await self.hubs[node].connect(channel_id, **options)
        task = asyncio.create_task(stream.run(sink))
        self.streams.append((stream, task, sink))
        return sink

    def stream_of(self, sink: ListSink) -> Stream:
        """Return the stream that writes to a sink."""
        return next(stream for stream, _, of in self.streams if of is sink)

    async def until_live(self, sink: ListSink) -> None:
        """Wait until a stream has come to the present."""
        stream = self.stream_of(sink)
        async with asyncio.timeout(30):
            while stream.held is not None:
                await asyncio.sleep(0.001)

    async def leave(self, sink: ListSink) -> None:
        """Let a reader go away."""
        stream = self.stream_of(sink)
        stream.disconnected()
        await stream.ended.wait()


def names(sink: ListSink) -> list[str]:
    """Return the names told in inotify events, in order."""
    return re.findall(r'"name":"([^"]*)"', "".join(data for _, _, data in sink.frames))


def kinds(sink: ListSink) -> list[str]:
    """Return what was told, in short."""
    told = []
    for _, _, data in sink.frames:
        content = json.loads(data)
        told.append(content.get("type") or ",".join(content["event"]["mask"]))
    return told


def last_id(sink: ListSink) -> str:
    """Return the last id a reader has got."""
    return [event_id for _, event_id, _ in sink.frames if event_id][-1]
