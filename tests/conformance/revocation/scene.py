"""A directory with somebody who writes in it, and a reader on each node."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from tests.wire import Stream, basic, call, exchange, request

if TYPE_CHECKING:
    from tests.api_site import ApiSite

DEADLINE_S = 60.0
"""How long anything is waited for; what is measured is another matter."""


class Reader(threading.Thread):
    """Reads a stream to its end, and notes when each event came.

    Args:
        channel: the channel's URL.
        headers: who reads.
    """

    def __init__(self, channel: str, headers: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.stream = Stream(channel, user=None, headers=headers)
        self.heard: list[tuple[float, str, Any]] = []
        self.ended_s = 0.0
        self._hung_up = threading.Event()

    def run(self) -> None:
        """Read until the end, or until told to stop."""
        while not self._hung_up.is_set() and not self.stream.is_at_end:
            self.stream.read(0.2)
            now_s = time.time()
            for event in self.stream.events[len(self.heard) :]:
                self.heard.append((now_s, event.kind, event.data))
        self.ended_s = time.time()

    def names(self) -> list[str]:
        """Return the names of what was told."""
        return [
            data["event"]["name"] for _, kind, data in self.heard
            if kind == "inotify" and "name" in data["event"]
        ]  # fmt: skip

    def when(self, system: str) -> float:
        """Return when a SYSTEM event of that type came; 0: it has not."""
        return next(
            (at for at, kind, data in self.heard if kind == "SYSTEM" and data["type"] == system),
            0.0,
        )

    def until(self, system: str) -> float:
        """Wait for a SYSTEM event; return when it came."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.when(system):
            assert time.monotonic() < deadline, (system, self.heard[-3:])
            assert self.is_alive() or self.when(system), (system, self.heard[-3:])
            time.sleep(0.01)
        return self.when(system)

    def until_name(self, name: str) -> None:
        """Wait until something of that name was told."""
        deadline = time.monotonic() + DEADLINE_S
        while name not in self.names():
            assert time.monotonic() < deadline, (name, self.heard[-3:])
            time.sleep(0.01)

    def close(self) -> None:
        """Hang up."""
        self._hung_up.set()
        self.join(DEADLINE_S)
        self.stream.close()


@dataclass
class Scene:
    """A directory of carol's, for group exp; she writes, somebody reads.

    Attributes:
        site: where.
        rate: writes a second.
        path: the directory, as it is called now.
        written: for each name, when its writing began.
    """

    site: ApiSite
    rate: float
    path: str = ""
    written: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the directory."""
        self._http = httpx.Client(
            base_url=f"{self.site.rest_url}/api/v1/namespace",
            auth=("carol", "carol-demo"),
            timeout=DEADLINE_S,
            trust_env=False,
        )
        name = uuid.uuid4().hex[:12]
        self.path = f"/data/exp/{name}"
        self.act("/data/exp", action="mkdir", name=name)
        self.act(self.path, action="chgrp", gid=2000)
        self.act(self.path, action="chmod", mode=0o750)
        self.readers: list[Reader] = []

    def act(self, path: str, **body: Any) -> None:
        """Have carol change something."""
        answer = self._http.post(path, json=body)
        assert answer.status_code == 201, answer.text

    def read(self, headers: dict[str, str]) -> None:
        """Have a reader on each node, of this directory and of /data."""
        for node in self.site.urls:
            made = exchange(node, request("POST", f"{node}/api/v1/events/channels", headers, b""))
            channel = made.one("Location")
            for path in (self.path, "/data"):
                subscribed = call(
                    "POST", f"{channel}/subscriptions/inotify", None,
                    headers=headers, content={"path": path, "flags": ["IN_CREATE"]},
                )  # fmt: skip
                assert subscribed.status == 201, subscribed
            reader = Reader(channel, headers)
            reader.start()
            self.readers.append(reader)

    def write(self, count: int) -> None:
        """Have carol make things in the directory, at the rate."""
        began_s = time.monotonic()
        for done in range(count):
            wait_s = began_s + done / self.rate - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            name = f"n{len(self.written)}"
            self.written[name] = time.time()
            self.act(self.path, action="mkdir", name=name)

    def until_all_is_told(self) -> None:
        """Wait until readers that are still there have been told all that has happened."""
        name = uuid.uuid4().hex[:12]
        self.act("/data", action="mkdir", name=name)
        for reader in self.readers:
            reader.until_name(name)

    def told(self, reader: Reader) -> list[str]:
        """Return what of the directory a reader was told, which is a beginning of it all."""
        names = [name for name in reader.names() if name in self.written]
        assert names == [*self.written][: len(names)]
        return names

    def close(self) -> None:
        """Hang up."""
        for reader in self.readers:
            reader.close()
        self._http.close()


def login(user: str) -> dict[str, str]:
    """Return the header of a user whose password is alice's."""
    return basic(user, "alice-demo")
