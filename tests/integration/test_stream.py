"""The stream on a real socket: the bytes that clients get, and how connections end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.http_protocol import HttpProtocol
from api.routes.stream import StreamResponse
from tests import builders
from tests.delivery_world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class Served:
    """A node of a world behind a real HTTP server."""

    def __init__(self, world: World, port: int, server: uvicorn.Server) -> None:
        self.world, self.port, self.server = world, port, server

    async def request(self, *lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request head."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return reader, writer

    async def stream(self, channel_id: str, *headers: str) -> tuple[
        bytes, asyncio.StreamReader, asyncio.StreamWriter
    ]:  # fmt: skip
        """Open a stream; return the response head."""
        reader, writer = await self.request(f"GET /{channel_id} HTTP/1.1", "Host: h", *headers)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        return head, reader, writer


@contextlib.asynccontextmanager
async def serving(world: World) -> AsyncIterator[Served]:
    """Serve a world's first node."""

    async def stream(request: Request) -> Response:
        opened = await world.hubs[0].connect(
            request.path_params["channel"],
            principal=builders.principal(1000),
            credentials="alice",
            last_event_id=request.headers.get("last-event-id"),
        )
        return StreamResponse(opened)

    async def plain(_: Request) -> Response:
        return JSONResponse({"a": 1}, 201, {"location": "http://h/x", "x-a-b": "c"})

    app = Starlette(routes=[Route("/plain", plain, methods=["POST"]), Route("/{channel}", stream)])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=HttpProtocol, lifespan="off", log_level="warning")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield Served(world, listening.getsockname()[1], server)
        finally:
            server.should_exit = True
            await task


async def test_the_head_is_sent_at_once_and_promises_no_chunks() -> None:
    async with World() as world, serving(world) as served:
        channel = await world.channel()
        head, _, writer = await served.stream(channel.id)
        lines = head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.1 200 OK"
        headers = {line.split(": ")[0]: line.split(": ")[1] for line in lines[1:-2]}
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Connection"] == "close"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Transfer-Encoding" not in headers
        assert "Content-Length" not in headers
        writer.close()


async def test_events_keep_alives_and_the_end_are_bytes_without_frames_of_http() -> None:
    async with World(keep_alive_s=0.2) as world, serving(world) as served:
        channel = await world.channel()
        made = await world.subscribe(channel.id)
        _, reader, writer = await served.stream(channel.id)
        assert await asyncio.wait_for(reader.readline(), 30) == b": k\n"
        await world.happen("\u2028\nÅ")
        line = b": k\n"
        while line == b": k\n":
            line = await asyncio.wait_for(reader.readline(), 30)
        assert line == b"event: inotify\n"
        assert (await reader.readline()).startswith(b"id: ")
        assert await reader.readline() == (
            b'data: {"event":{"name":"\\u2028\\n\\u00c5","mask":["IN_CREATE"]},"subscription":"'
            + made.url.encode()
            + b'"}\n'
        )
        assert await reader.readline() == b"\n"
        await world.store.delete(channel.id)
        rest = await asyncio.wait_for(reader.read(), 30)
        assert rest.replace(b": k\n", b"").startswith(b"event: SYSTEM\ndata: {")
        assert rest.endswith(b"\n\n")
        writer.close()


async def test_other_answers_spell_their_headers_too() -> None:
    async with World() as world, serving(world) as served:
        reader, writer = await served.request(
            "POST /plain HTTP/1.1", "Host: h", "Content-Length: 0"
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert b"\r\nLocation: http://h/x\r\n" in head
        assert b"\r\nX-A-B: c\r\n" in head
        assert await reader.readexactly(7) == b'{"a":1}'
        writer.write(b"POST /plain HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201")
        writer.close()


async def test_a_client_that_leaves_frees_its_channel() -> None:
    async with World() as world, serving(world) as served:
        channel = await world.channel(timeout_s=1)
        await world.subscribe(channel.id)
        _, _, writer = await served.stream(channel.id)
        assert world.hubs[0].connections == 1
        writer.close()
        async with asyncio.timeout(30):
            while world.hubs[0].connections or await world.store.get(channel.id):
                await asyncio.sleep(0.01)


async def test_a_server_that_stops_says_shutdown_and_ends_in_time() -> None:
    async with World() as world, serving(world) as served:
        channel = await world.channel()
        await world.subscribe(channel.id)
        _, reader, writer = await served.stream(channel.id)
        served.server.should_exit = True
        assert await asyncio.wait_for(reader.read(), 30) == (
            b'event: SYSTEM\ndata: {"type":"SHUTDOWN"}\n\n'
        )
        writer.close()


async def test_a_reader_who_stops_reading_is_cut_off_alone_and_misses_nothing() -> None:
    options = {"unsent_limit_bytes": 20_000, "slow_reader_grace_s": 0.3}
    async with World(**options) as world, serving(world) as served:
        stuck, fine = await world.channel(), await world.channel()
        for channel in (stuck, fine):
            await world.subscribe(channel.id)
        _, stuck_reader, stuck_writer = await served.stream(stuck.id)
        _, reader, writer = await served.stream(fine.id)
        stuck_writer.transport.pause_reading()  # type: ignore[attr-defined]
        got = 0
        count = 0
        while world.hubs[0].connections == 2:
            count += 1
            await world.happen("n" * 200 + str(count))
            await asyncio.wait_for(reader.readuntil(b"\n\n"), 30)
            got += 1
            assert count < 100_000
        stuck_writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            data = await stuck_reader.read()
        assert len(data) < 1_000_000, "the kernel may not take over more than the node's own bound"
        frames = data.split(b"\n\n")[:-1]
        last = frames[-1].split(b"\n")[1].removeprefix(b"id: ").decode()
        assert len(frames) < count
        _, reader, writer = await served.stream(stuck.id, f"Last-Event-ID: {last}")
        for n in range(len(frames) + 1, count + 1):
            frame = await asyncio.wait_for(reader.readuntil(b"\n\n"), 30)
            assert f'n{n}"'.encode() in frame
        writer.close()


@pytest.mark.parametrize("value", ["0", "-1", "1" * 50_000, "abc", "18446744073709551616", "1.5"])
async def test_an_id_of_nobody_is_as_if_absent(value: str) -> None:
    async with World() as world, serving(world) as served:
        channel = await world.channel()
        await world.subscribe(channel.id)
        await world.happen("a")
        _, reader, writer = await served.stream(channel.id, f"Last-Event-ID: {value}")
        assert b'"a"' in await asyncio.wait_for(reader.readuntil(b"\n\n"), 30)
        writer.close()


async def test_what_is_written_to_a_reader_who_is_gone_goes_nowhere() -> None:
    """An error there (uvloop raises one) would keep the end of the stream from being kept."""
    async with World() as world, serving(world) as served:
        channel = await world.channel()
        await world.subscribe(channel.id)
        _, _, writer = await served.stream(channel.id)
        (stream,) = world.hubs[0]._streams.values()
        sink = stream.sink
        closed = Mock(**{"is_closing.return_value": True})
        closed.write.side_effect = RuntimeError("the handler is closed")
        sink._transport = closed
        stream.system("LATE")
        stream.disconnected()
        await asyncio.wait_for(stream.ended.wait(), 30)
        assert world.hubs[0]._node.guards == {}
        writer.close()
