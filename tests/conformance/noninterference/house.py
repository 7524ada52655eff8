"""A storage and an API node over real sockets; only Kafka's and Redis's parts are done by hand.

The storage, its REST, `derive`, the replay log's shipped twin, the API with its own HTTP protocol
and delivery are what production runs. Time stands still in the storage, so that answers are equal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any, Self, cast

import argon2
import httpx
import uvicorn

from api import app as api_app
from api.delivery_message import Message
from api.http_protocol import HttpProtocol
from api.memory_channel_store import MemoryChannelStore
from api.settings import ApiSettings
from pipeline.event_types import registry
from pipeline.replay.log import Batch, Entry
from pipeline.replay.memory_log import MemoryReplayLog
from schemas import codec
from schemas.settings import Secret
from storage_sim import outbox
from storage_sim.authentication import Authenticator
from storage_sim.billing import Biller
from storage_sim.doors.rest import Rest
from storage_sim.doors.webdav import Gate, dav_application
from storage_sim.storage import Storage
from storage_sim.users import Users

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp

    from api.delivery import Hub

_KEY = "known to both"
DESTINATION = "/pub/n"
_LOCK = (
    b'<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
    b"<locktype><write/></locktype></lockinfo>"
)
_NOW_US = 1_700_000_000_000_000
_CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("pw")
_GROUPS = {"alice": 1001, "bob": 1002, "carol": 1003, "team": 2001, "staff": 2002}
_USERS = {"alice": "team", "bob": "staff", "carol": "team"}


def _users_toml() -> str:
    groups = "\n".join(f"{name} = {gid}" for name, gid in _GROUPS.items())
    users = "\n".join(
        f'[users.{name}]\nuid = {_GROUPS[name]}\ngroups = ["{name}", "{group}"]\n'
        f'home = "/"\npassword = "{_CHEAP}"'
        for name, group in _USERS.items()
    )
    return f"[groups]\n{groups}\n{users}\n"


class HandFeed:
    """Kafka's part: what was derived is handed on at once."""

    def __init__(self) -> None:
        self.connected = self.caught_up = True
        self.deliver: Callable[[Message], None] = lambda _: None
        self.running = asyncio.Event()

    async def run(
        self,
        deliver: Callable[[Message], None],
        learn: Callable[[Mapping[str, Mapping[str, int]]], None],
    ) -> None:
        self.deliver = deliver
        learn({})
        self.running.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _served(app: ASGIApp, **config: Any) -> AsyncIterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, access_log=False, ws="none",
            server_header=False, timeout_graceful_shutdown=2, **config,
        )
    )  # fmt: skip
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


class House:
    """A storage with an API node in front.

    Attributes:
        storage: for operations.
        url: the node's address.
        storage_url: the storage's REST, which users may ask, too.
    """

    def __init__(self, folder: Path) -> None:
        logging.getLogger("api").setLevel(logging.CRITICAL)
        logging.getLogger("storage_sim").setLevel(logging.CRITICAL)
        folder.mkdir(parents=True)
        (folder / "users.toml").write_text(_users_toml())
        self._users = Users(folder / "users.toml")
        self.storage = Storage(
            folder / "storage",
            biller=Biller("sim", 0, clock_us=lambda: _NOW_US),
            sync=False,
            bill_listings=True,
        )
        self._authenticator = Authenticator(self._users)
        gate = Gate(
            dav_application(self.storage),
            authenticator=self._authenticator,
            max_body_bytes=1 << 20,
        )
        self._dav = httpx.Client(transport=httpx.WSGITransport(gate), base_url="http://door")
        self._feed = HandFeed()
        self._logs = {name: MemoryReplayLog() for name in registry.all()}
        self._sequence = 0
        self._offsets = itertools.count(1)
        self._stack = contextlib.AsyncExitStack()
        self._hub: Hub | None = None
        self.url = self.storage_url = ""

    async def __aenter__(self) -> Self:
        rest = Rest(
            self.storage,
            self._authenticator,
            cast("Any", None),
            service_key=_KEY,
            max_body_bytes=1 << 20,
            threads=4,
        )
        served = _served(rest.application(), lifespan="off")
        self.storage_url = await self._stack.enter_async_context(served)
        settings = ApiSettings(
            base_url="http://events.example.org",
            storage_url=self.storage_url,
            service_key=Secret(_KEY),
            server_key=Secret("0123456789abcdef0123456789abcdef"),
            requests_per_user_s=0,
            requests_per_address_s=0,
        )
        services = api_app.build(
            settings,
            store=MemoryChannelStore(asyncio.get_running_loop().time),
            logs=self._logs,
            feed=self._feed,
        )
        self._hub = services.hub
        app = api_app.create_app(settings, services)
        self.url = await self._stack.enter_async_context(
            _served(app, http=HttpProtocol, lifespan="on")
        )
        self._stack.push_async_callback(services.hub.stop)
        await self._feed.running.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._dav.close()
        self.storage.close()

    def dav(self, user: str, method: str, path: str, depth: str = "0") -> httpx.Response:
        """Ask the WebDAV door; what a body could say is said."""
        headers = {"Depth": depth, "Destination": f"http://door{DESTINATION}"}
        content = _LOCK if method == "LOCK" else b"hers" if method == "PUT" else b""
        return self._dav.request(method, path, auth=(user, "pw"), headers=headers, content=content)

    async def until_settled(self) -> None:
        """Wait until no stream reads the past or looks again at a subscription."""
        assert self._hub is not None
        streams = self._hub._streams
        while any(one.held is not None or one._is_doubted for one in streams.values()):
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def until_noticed(self) -> AsyncIterator[None]:
        """Wait until the node has noticed that connections were ended.

        What is written to them before, and counts as told, would be a matter of chance.
        """
        assert self._hub is not None
        streams = list(self._hub._streams.values())
        yield
        for stream in streams:
            await stream.ended.wait()

    async def carry(self) -> None:
        """Do Kafka's and the worker's part for what the storage has committed."""
        with self.storage.database.read() as db:
            pending = outbox.pending(db, self._sequence, 10_000)
        for record in pending:
            self._sequence = record.sequence
            billing = cast("Any", codec.decode("billing", record.value))
            for name, kind in registry.all().items():
                for message in kind.derive(billing):
                    value = codec.encode(kind.topic.schema, message)
                    await self._append(name, message, value)
                    self._feed.deliver(Message(kind, codec.decode_head(value), value))

    async def _append(self, name: str, message: Mapping[str, Any], value: bytes) -> None:
        above = message["ancestors"] + message["source_ancestors"]
        entry = Entry(message["shard"], message["number"], message["watched"], above, value)
        await self._logs[name].append([Batch(0, next(self._offsets), [entry])])
