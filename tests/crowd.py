"""Many readers of one sequence of events, in a thread: each compares what it is told at once.

All watch the same, so all must be told the same. The first to come to a place of the sequence
writes it down, everybody else is compared with it: that costs no memory for a reader, and the
first event that is missing, doubled or out of order is named.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvloop

from tests.wire import basic, call

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

_AGAIN_S = 0.1
_EVENT = re.compile(
    rb"event: inotify\nid: ([0-9]+)\ndata: "
    rb'{"event":([^\n]*),"subscription":"[^"\n]*/([^/"\n]+)"}\n\n'
)
_SYSTEM = re.compile(rb'event: SYSTEM\ndata: {"type":"([A-Z_]+)"')


def open_channels(
    urls: Sequence[str],
    directories: Sequence[str],
    count: int,
    flags: Sequence[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Make channels of alice's that all watch the same directories.

    Returns:
        Their paths, and which subscription id is which directory.
    """
    selector: dict[str, Any] = {"flags": list(flags)} if flags else {}

    def one(number: int) -> tuple[str, dict[str, str]]:
        channel = call("POST", f"{urls[number % len(urls)]}/api/v1/events/channels")
        location, ids = channel.one("Location"), {}
        for path in directories:
            content = {"path": path, **selector}
            made = call("POST", f"{location}/subscriptions/inotify", content=content)
            assert made.status == 201, made
            ids[made.one("Location").rpartition("/")[2]] = path
        return urlsplit(location).path, ids

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(one, range(count)))
    return [path for path, _ in made], made[0][1]


@dataclass(eq=False)
class Reader(asyncio.Protocol):
    """One reader: its channel, where it is in the sequence, and its connection of the moment.

    Attributes:
        buffer_bytes: about how much the kernel takes for it that it has not read; 0: as it likes,
            and for who reads fast over loopback that may be tens of megabytes.
    """

    crowd: Crowd
    path: str
    at: int = 0
    last_id: bytes = b""
    node: int = -1
    is_open: bool = False
    connections: int = 0
    doing: str = ""
    buffer_bytes: int = 0
    system: Counter[str] = field(default_factory=Counter)
    transport: Any = None
    _buffer: bytes = b""
    _head: bytes = b""

    async def connect(self) -> None:
        """Connect to the next node."""
        self.node = self.crowd.next_node()
        parts = urlsplit(self.crowd.urls[self.node])
        loop = asyncio.get_running_loop()
        self.doing = "connecting"
        opened = socket.socket()
        opened.setblocking(False)
        if self.buffer_bytes:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer_bytes)
        try:
            await loop.sock_connect(opened, (parts.hostname, parts.port))
            await loop.create_connection(lambda: self, sock=opened)
        except OSError as error:
            self.doing = repr(error)
            opened.close()
            self._again()

    def connection_made(self, transport: Any) -> None:
        """Ask for the stream."""
        self.transport, self._buffer, self._head = transport, b"", b""
        self.doing = "asking"
        after = b"Last-Event-ID: %s\r\n" % self.last_id if self.last_id else b""
        transport.write(
            b"GET %s HTTP/1.1\r\nHost: crowd\r\nAccept: text/event-stream\r\n%s%s\r\n"
            % (self.path.encode(), self.crowd.headers, after)
        )

    def data_received(self, data: bytes) -> None:
        """Take the head of the answer, then events."""
        if not self.is_open:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self.crowd.refusals[head.split(b"\r\n", 1)[0].decode()] += 1
                self.transport.abort()
                return
            self.is_open = True
            self.connections += 1
        self._take(self._buffer + data)

    def _take(self, data: bytes) -> None:
        whole, between, self._buffer = data.rpartition(b"\n\n")
        told = self.crowd.told
        for self.last_id, event, subscription in _EVENT.findall(whole + between):
            one = (subscription, event)
            if self.at == len(told):
                self.crowd.note(one)
            elif one != told[self.at]:
                self.crowd.complain(f"{self.path} at {self.at}: {one} instead of {told[self.at]}")
            self.at += 1
        if whole:
            self.crowd.on_read(self, whole)
        if b"event: SYSTEM" in whole:
            self.system.update(kind.decode() for kind in _SYSTEM.findall(whole))

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back."""
        self.is_open = False
        self.doing = f"lost: {exc}"
        self._again()

    def _again(self) -> None:
        if not self.crowd.has_ended:
            loop = asyncio.get_running_loop()
            loop.call_later(_AGAIN_S, lambda: self.crowd.spawn(self.connect()))


class Crowd:
    """Readers of channels that watch the same, on nodes that come and go.

    Args:
        urls: the nodes; each connection goes to the next one.
        channels: the path of each reader's channel, alice's.
        on_read: called with what a reader got at once, whole events.
    """

    def __init__(
        self,
        urls: Sequence[str],
        channels: Sequence[str],
        on_read: Callable[[Reader, bytes], None] = lambda _reader, _events: None,
    ) -> None:
        self.urls = urls
        self.headers = "".join(
            f"{name}: {value}\r\n" for name, value in basic("alice").items()
        ).encode()
        self.told: list[tuple[bytes, bytes]] = []
        self.refusals: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.has_ended = False
        self.readers = [Reader(self, path) for path in channels]
        self.on_read = on_read
        self._node = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="crowd")

    def start(self) -> None:
        """Connect all."""
        self._thread.start()

    def _run(self) -> None:
        self._loop.call_soon(self._connect)
        self._loop.run_forever()

    def _connect(self) -> None:
        for reader in self.readers:
            self.spawn(reader.connect())

    def stop(self) -> None:
        """Hang up."""
        self.has_ended = True
        self._loop.call_soon_threadsafe(self._hang_up)
        self._thread.join(30)

    def _hang_up(self) -> None:
        for reader in self.readers:
            if reader.transport is not None:
                reader.transport.abort()
        self._loop.call_later(_AGAIN_S, self._loop.stop)

    def call(self, function: Callable[[], object]) -> None:
        """Have something done in the crowd's thread, soon."""
        self._loop.call_soon_threadsafe(function)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the crowd's loop."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def next_node(self) -> int:
        """Return the node whose turn it is."""
        self._node = (self._node + 1) % len(self.urls)
        return self._node

    def note(self, event: tuple[bytes, bytes]) -> None:
        """Write down the next event of the sequence."""
        self.told.append(event)

    def complain(self, text: str) -> None:
        """Remember what went wrong, the first times."""
        if len(self.complaints) < 20:
            self.complaints.append(text)

    def open_on(self, node: int) -> int:
        """Return how many streams are open on a node."""
        return sum(reader.is_open and reader.node == node for reader in self.readers)

    def all_are_open(self) -> bool:
        """Whether every reader has a stream."""
        return all(reader.is_open for reader in self.readers)

    def state(self) -> str:
        """Say how it stands, for a test that waits in vain."""
        closed = [
            f"{reader.path[-22:]}@{reader.node} {reader.doing}"
            for reader in self.readers
            if not reader.is_open
        ]
        at = sorted(reader.at for reader in self.readers)
        places = f"told {len(self.told)}, the slowest {at[:5]}, the middle one {at[len(at) // 2]}"
        return (
            f"{places}; {len(closed)} closed: {closed[:10]};"
            f" {dict(self.refusals)} {dict(self.system())} {self.complaints}"
        )

    def slowest(self) -> int:
        """Return how many events every reader has been told."""
        return min(reader.at for reader in self.readers)

    def system(self) -> Counter[str]:
        """Return how often each kind of SYSTEM event was told."""
        return sum((reader.system for reader in self.readers), Counter())
