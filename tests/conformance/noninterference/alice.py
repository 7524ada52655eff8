"""Alice: does what a history says, and keeps every byte that she gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import httpx

from storage_sim.core import SYSTEM
from tests.conformance.noninterference import histories as h
from tests.conformance.noninterference.others import TEAM, Others

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.conformance.noninterference.house import House

_EVENTS = "/api/v1/events"
_NAMESPACE = "/api/v1/namespace"
_TIMEOUT_S = 60.0

_TRIED: dict[str, dict[str, Any]] = {
    "mkdir": {"name": "n"},
    "mv": {},
    "chmod": {"mode": 0o755},
    "chgrp": {"gid": TEAM},
    "acl": {"acl": "A::EVERYONE@:r"},
    "symlink": {"target": "/pub/hid/h1"},
    "set-xattr": {"attributes": {"x": "hers"}},
    "rm-label": {"label": "x"},
}
"""What alice asks for in a POST, besides the action."""

# What chance or a server key made: the same thing gets the same number in both histories.
_NAMES = re.compile(
    r"(?<=channels/)[\w-]{22}"
    r'|(?<="id":")[\w-]{22}'
    r"|(?<=subscriptions/)[a-z]+/[\w-]{24}"
    r'|(?<="cookie":")[^"]+'
    r"|\b[0-9A-F]{36}\b"
    r"|opaquelocktoken:0x[0-9a-f]+"
    r"|(?<!md5:)\b[0-9a-f]{32}\b|\b[0-9a-f]{36}-[0-9a-f]+"  # entity tags
)
_IDS = re.compile(r"(?m)^id: \d+$")
# what comes by the clock alone
_KEEP_ALIVE = re.compile(r"(?m)^: k\n")
_LOCKED_FOR = re.compile(r"(?<=Second-)\d+")
_DURATION = re.compile(r'(?<="durationMs":)\d+')


class Alice:
    """A client of one house.

    Args:
        house: where.
        ground: what it begins with.
    """

    def __init__(self, house: House, ground: h.Ground) -> None:
        self._house = house
        self._others = Others(house, ground)
        self._http = httpx.AsyncClient(
            base_url=house.url,
            auth=("alice", "pw"),
            timeout=_TIMEOUT_S,
            trust_env=False,
            verify=False,  # no TLS here, and its context costs a tenth of a case
        )
        self._heard = b""
        self._more = asyncio.Event()
        self._stream: asyncio.Task[None] | None = None
        self._channel = ""
        self._ids: list[str] = []
        self._subscriptions: dict[str, int] = {}
        self._marks = 0
        self.received: list[str] = []

    # --- what alice does

    async def begin(self) -> None:
        """Make a channel, watch where marks are made and everything there is, connect."""
        answer = await self._ask("POST", f"{_EVENTS}/channels")
        self._channel = answer.headers["location"].rpartition("/")[2]
        await self._subscribe({"path": "/mark"}, "inotify")
        for event_type in ("inotify", "transfer", "replication"):
            await self._subscribe({"path": "/", "recursive": True}, event_type)
        await self._connect()

    async def step(self, step: h.Step, hidden: Sequence[h.Hidden] = ()) -> None:
        """Do one step of the history, and what bob does meanwhile."""
        if not isinstance(step, h.Reconnect):
            for operation in hidden:
                self._others.hidden(operation)
            await self._house.carry()
        match step:
            case h.Visible():
                self._others.visible(step)
                await self._house.carry()
            case h.Ask(path, action):
                await self._try(path, action)
            case h.Dav(method, path, depth):
                await self.settle()
                self._keep(f"DAV {method}", self._house.dav("alice", method, path, depth))
                await self.settle()
            case h.Subscribe(path, event_type, recursive, extra):
                selector = {"path": path, "recursive": recursive, **json.loads(extra)}
                await self._subscribe(selector, event_type)
            case h.Unsubscribe(back):
                _, *others = self._subscriptions
                url = others[max(0, len(others) - 1 - back)]
                await self._ask("DELETE", httpx.URL(url).path)
            case h.Lists():
                await self._ask("GET", f"{_EVENTS}/channels/{self._channel}/subscriptions")
            case h.Reconnect(meanwhile, resume, back):
                await self._disconnect()
                done = len(hidden) // 2
                for operation in hidden[:done]:
                    self._others.hidden(operation)
                for visible in meanwhile:
                    self._others.visible(visible)
                for operation in hidden[done:]:
                    self._others.hidden(operation)
                await self._house.carry()
                had = self._ids[: -1 - back] or self._ids[:1]
                last_id = had[-1] if had and resume == "id" else ""
                self._others.done[
                    f"came back with {'id' if last_id else resume or 'nothing'}"
                ] += 1
                await self._connect(last_id, by_cursor=resume == "cursor")

    async def end(self) -> None:
        """Ask for everything hidden, hear all there is, and go."""
        for path in h.SECRETS:
            await self._try(path, "")
        await self._ask("GET", f"{_EVENTS}/stream", params={"watch": h.SECRETS[2:]})
        await self._ask("GET", f"{self._house.storage_url}{_NAMESPACE}/pub")
        for method, depth in (
            ("PROPFIND", "infinity"),
            ("LOCK", "infinity"),
            ("DELETE", "infinity"),
        ):
            await self.step(h.Dav(method, "/pub", depth))
        await self._disconnect()
        await self._http.aclose()

    async def _try(self, path: str, action: str) -> None:
        if action in {"chmod", "acl"} and self._others.is_hers_to_open(path):
            return  # what is in it would be hidden from her no more
        url = f"{_NAMESPACE}{path}"
        match action:
            case "":
                await self._ask("GET", url, params={"children": "true", "optional": "true"})
            case "DELETE":
                await self._ask("DELETE", url)
            case _:
                body = {"action": action, **_TRIED[action]}
                if action == "mv":
                    is_secret = path.startswith((*h.CLOSED[:2], h.WAY))
                    body["destination"] = "/pub/v1" if is_secret else "/pub/hid/h0"
                await self._ask("POST", url, json=body)

    async def _ask(self, method: str, url: str, **options: Any) -> httpx.Response:
        await self.settle()
        answer = await self._http.request(method, url, **options)
        self._keep(method, answer)
        await self.settle()
        return answer

    def _keep(self, asked: str, answer: httpx.Response) -> None:
        by_chance = {"date"}
        if (
            "opaquelocktoken" in answer.text
        ):  # they are not all of one length; the text is compared
            by_chance.add("content-length")
        headers = sorted(
            (name, value) for name, value in answer.headers.multi_items() if name not in by_chance
        )
        text = _LOCKED_FOR.sub("#", answer.text)
        self.received.append(f"{asked} {answer.status_code} {headers} {text}")
        self._others.done[f"answered {asked} {answer.status_code}"] += 1

    async def _subscribe(self, selector: dict[str, Any], event_type: str) -> None:
        await self._house.carry()
        url = f"{_EVENTS}/channels/{self._channel}/subscriptions/{event_type}"
        answer = await self._ask("POST", url, json=selector)
        if answer.status_code in {201, 303}:
            self._count_subscription(selector)
            self._subscriptions.setdefault(answer.headers["location"], len(self._subscriptions))

    def _count_subscription(self, selector: Mapping[str, Any]) -> None:
        for member, value in selector.items():
            if value is True:
                self._others.done[f"subscribed {member}"] += 1

    async def _connect(self, last_id: str = "", *, by_cursor: bool = False) -> None:
        self._heard = b""
        ready = asyncio.Event()
        self._stream = asyncio.create_task(self._listen(last_id, ready, by_cursor=by_cursor))
        await asyncio.wait_for(ready.wait(), _TIMEOUT_S)
        await self.settle()

    async def _listen(self, last_id: str, ready: asyncio.Event, *, by_cursor: bool) -> None:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        url = f"{_EVENTS}/channels/{self._channel}" + ("?resume=true" if by_cursor else "")
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
        async with self._house.until_noticed():
            self._stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stream
        self._stream = None
        self._ids = re.findall(r"(?m)^id: (\d+)$", self._heard.decode())
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
