"""Alice: does what a history says, and keeps every byte that she gets."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any

import httpx

from pipeline.authz.principal import Principal
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.conformance.noninterference import histories as h

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conformance.noninterference.house import House

BOB = Principal("bob", 1002, (1002,))
CAROL = Principal("carol", 1003, (1003,))
_EVENTS = "/api/v1/events"
_TIMEOUT_S = 60.0

# What chance or a server key made: the same thing gets the same number in both histories.
_NAMES = re.compile(
    r"(?<=channels/)[\w-]{22}"
    r'|(?<="id":")[\w-]{22}'
    r"|(?<=subscriptions/)[a-z]+/[\w-]{24}"
    r'|(?<="cookie":")[^"]+'
    r"|\b[0-9A-F]{36}\b"
)
_IDS = re.compile(r"(?m)^id: \d+$")
# what comes by the clock alone
_KEEP_ALIVE = re.compile(r"(?m)^: k\n")
_DURATION = re.compile(r'(?<="durationMs":)\d+')


class Alice:
    """A client of one house.

    Args:
        house: where.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._http = httpx.AsyncClient(
            base_url=house.url, auth=("alice", "pw"), timeout=_TIMEOUT_S, trust_env=False
        )
        self._heard = b""
        self._more = asyncio.Event()
        self._stream: asyncio.Task[None] | None = None
        self._channel = ""
        self._last_id = ""
        self._closed: list[str] = []
        self._subscriptions: dict[str, int] = {}
        self._marks = 0
        self.received: list[str] = []

    # --- what happens

    def prepare(self) -> None:
        """Make the places of `histories`."""
        storage = self._house.storage
        for path, owner, mode in [
            ("/mark", SYSTEM, 0o755),
            ("/hid", BOB, 0o700),
            ("/pub", SYSTEM, 0o777),
            ("/pub/own", SYSTEM, 0o777),
            ("/pub/hid", BOB, 0o700),
            ("/pub/x", BOB, 0o711),
            ("/pub/x/open", SYSTEM, 0o777),
            ("/pub/x/s", BOB, 0o755),
            ("/pub/hid/s", BOB, 0o755),
        ]:
            storage.mkdir(SYSTEM, path, mode=mode)
            storage.chown(SYSTEM, path, uid=owner.uid, gid=owner.gids[0])
        storage.symlink(SYSTEM, "/pub/hid/h0", h.LINK)

    def hidden(self, operation: h.Hidden) -> None:
        """Let bob do something where alice cannot look; what cannot be done is left."""
        storage, path = self._house.storage, operation.path
        touched = (path, operation.other) if operation.kind == "rename" else (path,)
        if any(one.startswith(tuple(h.CLOSABLE)) for one in touched) and not all(
            one.startswith((*self._closed, *h.CLOSED[:2])) for one in touched
        ):
            return
        with contextlib.suppress(OperationFailed):
            match operation.kind:
                case "write":
                    storage.write(BOB, path, b"secret")
                case "delete":
                    storage.delete(BOB, path)
                case "mkdir":
                    storage.mkdir(BOB, path)
                case "rmdir":
                    storage.rmdir(BOB, path)
                case "rename":
                    storage.rename(BOB, path, operation.other)
                case "read":
                    storage.read(BOB, path)
                case "list":
                    storage.listing(BOB, path)
                case "chmod":
                    is_directory = storage.stat(BOB, path).found.is_directory
                    storage.chmod(BOB, path, 0o750 if is_directory else 0o640)
                case "xattr":
                    storage.set_xattr(BOB, path, "x", "secret")
                case "acl":
                    storage.set_acl(BOB, path, "A::u=1003:r,D::u=1001:rwx")

    def visible(self, operation: h.Visible) -> None:
        """Let somebody do something that alice may see; what cannot be done is left."""
        storage, path = self._house.storage, operation.path
        with contextlib.suppress(OperationFailed):
            match operation.kind:
                case "write":
                    storage.write(CAROL, path, b"open")
                case "delete":
                    storage.delete(CAROL, path)
                case "mkdir":
                    storage.mkdir(CAROL, path)
                case "rename":
                    storage.rename(CAROL, path, operation.other)
                case "read":
                    storage.read(CAROL, path)
                case "chmod":
                    storage.chmod(CAROL, path, 0o600)
                case "xattr":
                    storage.set_xattr(CAROL, path, "x", "open")
                case "out":
                    storage.rename(SYSTEM, path, f"{operation.other}/v")
                case "in":
                    storage.rename(SYSTEM, f"{operation.other}/v", path)
                case "close":
                    storage.chown(SYSTEM, path, uid=BOB.uid)
                    storage.chmod(SYSTEM, path, 0o700)
                    self._closed.append(path)

    # --- what alice does

    async def begin(self) -> None:
        """Make a channel, watch where marks are made and everything there is, connect."""
        answer = await self._ask("POST", f"{_EVENTS}/channels")
        self._channel = answer.headers["location"].rpartition("/")[2]
        await self._subscribe({"path": "/mark"}, "inotify")
        for event_type in ("inotify", "transfer", "replication"):
            await self._subscribe({"path": "/", "recursive": True}, event_type)
        await self._connect()

    async def step(self, step: h.Step) -> None:
        """Do one step of the history."""
        match step:
            case h.Visible():
                self.visible(step)
                await self._house.carry()
            case h.Ask(path):
                url = f"/api/v1/namespace{path}"
                await self._ask("GET", url, params={"children": "true", "optional": "true"})
            case h.Subscribe(path, event_type, recursive, extra):
                selector: dict[str, Any] = {"path": path, "recursive": recursive}
                if extra and event_type == "inotify":
                    selector[extra] = True
                await self._subscribe(selector, event_type)
            case h.Lists():
                await self._ask("GET", f"{_EVENTS}/channels/{self._channel}/subscriptions")
            case h.Reconnect(meanwhile, resume):
                await self._disconnect()
                for operation in meanwhile:
                    self.visible(operation)
                await self._house.carry()
                await self._connect(self._last_id if resume else "")

    async def end(self) -> None:
        """Ask for everything hidden, hear all there is, and go."""
        for path in h.SECRETS:
            await self.step(h.Ask(path))
        await self._ask("GET", f"{self._house.storage_url}/api/v1/namespace/pub")
        await self._disconnect()
        await self._http.aclose()

    async def _ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        await self.settle()
        answer = await self._http.request(method, url, **options)
        headers = sorted(
            (name, value) for name, value in answer.headers.multi_items() if name != "date"
        )
        self.received.append(f"{method} {answer.status_code} {headers} {answer.text}")
        await self.settle()
        return answer

    async def _subscribe(self, selector: dict[str, Any], event_type: str) -> None:
        await self._house.carry()
        url = f"{_EVENTS}/channels/{self._channel}/subscriptions/{event_type}"
        answer = await self._ask("POST", url, json=selector)
        if answer.status_code in {201, 303}:
            self._subscriptions.setdefault(answer.headers["location"], len(self._subscriptions))

    async def _connect(self, last_id: str = "") -> None:
        self._heard = b""
        ready = asyncio.Event()
        self._stream = asyncio.create_task(self._listen(last_id, ready))
        await asyncio.wait_for(ready.wait(), _TIMEOUT_S)
        await self.settle()

    async def _listen(self, last_id: str, ready: asyncio.Event) -> None:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        url = f"{_EVENTS}/channels/{self._channel}"
        async with self._http.stream("GET", url, headers=headers) as answer:
            assert answer.status_code == 200
            ready.set()
            async for chunk in answer.aiter_raw():
                self._heard += chunk
                self._more.set()

    async def settle(self) -> None:
        """Wait until everything that has happened has been heard."""
        if self._stream is None:
            return
        await self._house.until_settled()
        self._marks += 1
        name = f"m{self._marks}"
        self._house.storage.mkdir(SYSTEM, f"/mark/{name}")
        await self._house.carry()
        async with asyncio.timeout(_TIMEOUT_S):
            while f'"name":"{name}"'.encode() not in self._heard:
                self._more.clear()
                await self._more.wait()

    async def _disconnect(self) -> None:
        await self.settle()
        assert self._stream is not None
        self._stream.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stream
        self._stream = None
        ids = re.findall(rb"(?m)^id: (\d+)$", self._heard)
        self._last_id = ids[-1].decode() if ids else ""
        self.received += self._by_subscription(self._heard.decode())

    def _by_subscription(self, stream: str) -> list[str]:
        """Sort a stream's events by subscription: within one of them their order is a promise.

        Events of different types come from different topics, and a subscription that is closed is
        closed when the storage has answered.
        """
        stream = _DURATION.sub("0", _IDS.sub("id: #", _KEEP_ALIVE.sub("", stream)))
        blocks = [block for block in stream.split("\n\n") if block]
        ends = [(f'"{url}"}}', number) for url, number in self._subscriptions.items()]
        return sorted(
            blocks,
            key=lambda block: next((number for end, number in ends if block.endswith(end)), -1),
        )


def without_chance(received: Sequence[str]) -> Iterator[str]:
    """Yield what was received with each random name replaced by its number of appearance."""
    seen: dict[str, str] = {}
    for text in received:
        yield _NAMES.sub(lambda found: seen.setdefault(found[0], f"<{len(seen)}>"), text)
