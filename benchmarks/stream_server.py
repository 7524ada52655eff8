"""The process under test of `fanout`, `latency` and `connections`: a node, or the plain way.

`ours` is delivery as it runs in production: Kafka, matching, permission checks, channels in Redis,
the flusher, uvicorn with our protocol. `plain` is what one writes with sse-starlette in an hour: a
queue and an `EventSourceResponse` for each client, the same feed, no channels and no checks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api import channels, places
from api.delivery import Hub
from api.feed import Feed
from api.http_protocol import HttpProtocol
from api.redis_channel_store import RedisChannelStore
from api.routes.stream import StreamResponse
from pipeline.authz import scope
from pipeline.authz.principal import Principal
from pipeline.event_types import inotify
from pipeline.event_types.base import Watch
from pipeline.replay import redis_script
from pipeline.replay.redis_log import RedisReplayLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

    from api.delivery_message import Message

INOTIFY = inotify.EVENT_TYPE
TYPES: Any = {"inotify": INOTIFY}
ROOT = (1).to_bytes(18, "big")
GROUP = 42
PERMISSIONS = f"0:0:755 0:{GROUP}:750"


def directory(number: int) -> bytes:
    """Return the inode of the directory `/d<number>`."""
    return (1000 + number).to_bytes(18, "big")


def place(number: int) -> channels.Place:
    """Return where the directory `/d<number>` is: only members of a group may see into it."""
    return channels.Place(
        inode=directory(number),
        is_directory=True,
        shard="sim",
        positions={},
        path=f"/d{number}",
        ancestors=ROOT,
        permissions=PERMISSIONS,
    )


class Storage:
    """Answers at once that all is as it was."""

    async def principal(self, credentials: Any, *, fresh_s: float) -> Principal | None:
        """Return the same user as before."""
        del fresh_s
        return principal(credentials)

    async def place(self, credentials: Any, path: str, *, follow: bool) -> channels.Place | None:
        """Return where a directory is."""
        del credentials, follow
        return place(int(path.removeprefix("/d")))

    async def path_of(self, inode: bytes) -> places.Whereabouts:
        """Tell nothing."""
        del inode
        return places.UNTOLD


def principal(number: int) -> Principal:
    """Return one of many users, each with groups of their own."""
    return Principal(f"u{number}", 10_000 + number, (10_000 + number, GROUP))


def usage() -> dict[str, float]:
    """Return what this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "kernel_s": used.ru_stime,
        "rss_bytes": psutil.Process().memory_info().rss,
    }


def our_app(settings: argparse.Namespace) -> Starlette:
    """Return a node with delivery in it."""
    store = RedisChannelStore(settings.redis, prefix=settings.prefix)
    log = RedisReplayLog(
        redis_script.connect(settings.redis, timeout_s=5.0),
        prefix=settings.prefix,
        event_type="inotify",
        max_age_s=3600,
        max_bytes=2**30,
    )
    feed = Feed(settings.kafka, TYPES, {"inotify": log}, topic_prefix=settings.prefix)
    hub = Hub(
        store=store,
        event_types=TYPES,
        logs={"inotify": log},
        feed=feed,
        gatekeeper=Storage(),
        clock=time.time,
        keep_alive_s=settings.keep_alive_s,
        unsent_limit_bytes=settings.unsent_limit_bytes,
    )

    async def stream(request: Request) -> Response:
        number = int(request.path_params["number"])
        who = principal(number)
        assert scope.may_see(who, scope.named_scope(PERMISSIONS + " 0:0:644"))
        channel_id = request.query_params.get("channel", "")
        if not channel_id:
            channel = await store.create(
                owner_key=who.owner_key, uid=who.uid, timeout_s=300, maximum=1000
            )
            channel_id = channel.id
        for one in request.query_params.get("directories", "0").split(","):
            mask = int(request.query_params.get("mask", 0xFFF))
            watch = Watch(path=f"/d{one}", mask=mask)
            url = f"http://127.0.0.1:3880/api/v1/events/channels/{channel_id}"
            await store.subscribe(
                channel_id,
                channels.namespace_subscription("inotify", {}, watch, place(int(one)), url),
            )
        opened = await hub.connect(
            channel_id,
            principal=who,
            credentials=number,
            last_event_id=request.headers.get("last-event-id"),
        )
        return StreamResponse(opened, headers={"X-Channel": channel_id})

    async def state(_: Request) -> Response:
        streams = list(hub._streams.values())
        live = sum(stream.held is None for stream in streams)
        return JSONResponse({**usage(), "missing": hub.missing(), "live": live})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await hub.start()
        yield
        await hub.stop()
        await store.close()

    routes = [Route("/state", state), Route("/open/{number}", stream)]
    return Starlette(routes=routes, lifespan=lifespan)


def plain_app(settings: argparse.Namespace) -> Starlette:
    """Return the plain way: a queue and an EventSourceResponse for each client."""
    from sse_starlette.sse import EventSourceResponse

    from pipeline.replay.memory_log import MemoryReplayLog

    queues: set[asyncio.Queue[dict[str, Any]]] = set()
    feed = Feed(
        settings.kafka, TYPES, {"inotify": MemoryReplayLog()}, topic_prefix=settings.prefix
    )

    def deliver(message: Message) -> None:
        tellings = INOTIFY.tell(message.record, Watch(mask=0xFFF), directory(0))
        for telling in tellings:
            for queue in queues:
                queue.put_nowait(
                    {"event": "inotify", "id": str(message.number), "data": telling.payload}
                )

    def learn(_: Mapping[str, Mapping[str, int]]) -> None: ...

    async def events() -> AsyncIterator[dict[str, Any]]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    async def stream(_: Request) -> Response:
        return EventSourceResponse(events(), ping=15)

    async def state(_: Request) -> Response:
        missing = [] if feed.caught_up else ["feed"]
        return JSONResponse({**usage(), "missing": missing, "live": len(queues)})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.run(deliver, learn))
        yield
        task.cancel()

    routes = [Route("/state", state), Route("/open/{number}", stream)]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=("ours", "plain"), default="ours")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--keep-alive-s", type=float, default=15.0)
    # No replay agent runs here, so a stream that fell behind could not catch up.
    parser.add_argument("--unsent-limit-bytes", type=int, default=2**28)
    settings = parser.parse_args()
    app = our_app(settings) if settings.way == "ours" else plain_app(settings)
    http: Any = HttpProtocol if settings.way == "ours" else "httptools"
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", settings.port))
    config = uvicorn.Config(
        app,
        http=http,
        loop="uvloop",
        log_level="warning",
        lifespan="on",
        backlog=4096,
        timeout_graceful_shutdown=2,
    )
    gc.freeze()
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
    print(json.dumps(usage()))
