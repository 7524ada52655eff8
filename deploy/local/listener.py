"""A user who watches directories: an SSE client that reconnects with Last-Event-ID.

It uses httpx and httpx-sse only, as any client would; the demo and the end-to-end tests listen so.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import httpx_sse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

EVENTS = "/api/v1/events"
_AGAIN_S = 0.1
_REQUEST_S = 30.0
_SILENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One inotify event as it arrived.

    Attributes:
        time_s: when it was read, epoch seconds.
        id: of the event, as the stream has it.
        path: what the subscription watches.
        event: the `event` member.
    """

    time_s: float
    id: str
    path: str
    event: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name within the directory; "" for an event of the watched object itself."""
        return str(self.event.get("name", ""))

    @property
    def flag(self) -> str:
        """What happened, e.g. `IN_CREATE` or `IN_CREATE,IN_ISDIR`."""
        return ",".join(self.event["mask"])


@dataclass
class Listener:
    """One user's channel and its connection, in a thread.

    Attributes:
        api_url: the node to use; `move_to` changes it.
        user: who.
        password: their password.
        on_event: called with each event, in the listener's thread.
        heard: every event so far, in the order of arrival.
        system: types of the SYSTEM events so far.
        connections: how often a stream was opened.
        refused: the status code that ended it all, e.g. 404 when the channel is no more.
    """

    api_url: str
    user: str
    password: str
    on_event: Callable[[Heard], None] = lambda _heard: None
    heard: list[Heard] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    connections: int = 0
    refused: int | None = None
    last_event_id: str = ""
    _paths: dict[str, str] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _channel: str = ""

    def _request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        login = (self.user, self.password)
        return httpx.request(method, url, auth=login, timeout=_REQUEST_S, **arguments)

    def open_channel(self, timeout_s: int = 300) -> None:
        """Make a channel that outlives a disconnection by `timeout_s`."""
        made = self._request("POST", f"{self.api_url}{EVENTS}/channels")
        if made.status_code != 201:
            raise ConnectionError(f"no channel at {self.api_url}: {made.status_code} {made.text}")
        self._channel = urlsplit(made.headers["Location"]).path
        url = self.api_url + self._channel
        self._request("PATCH", url, json={"timeout": timeout_s}).raise_for_status()

    def watch(self, path: str, **selector: Any) -> httpx.Response:
        """Subscribe to a path; a refusal is returned, not raised."""
        url = f"{self.api_url}{self._channel}/subscriptions/inotify"
        answer = self._request("POST", url, json={"path": path, **selector})
        if answer.status_code == 201:
            self._paths[urlsplit(answer.headers["Location"]).path] = path
        return answer

    def start(self) -> None:
        """Connect, in a thread, again and again until `stop`."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._listen, daemon=True, name=self.user)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, at the next sign of life from the server at the latest."""
        self._ended.set()

    def move_to(self, api_url: str) -> None:
        """Use another node from the next connection on."""
        self.api_url = api_url

    def _listen(self) -> None:
        timeout = httpx.Timeout(_REQUEST_S, read=_SILENCE_S)
        with httpx.Client(auth=(self.user, self.password), timeout=timeout) as client:
            while not self._ended.is_set() and self.refused is None:
                with contextlib.suppress(httpx.HTTPError):
                    self._read(client)
                self._ended.wait(_AGAIN_S)

    def _read(self, client: httpx.Client) -> None:
        """Read one connection to its end."""
        headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        url = self.api_url + self._channel
        with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
            status = source.response.status_code
            if status >= 500:
                return
            if status != 200:
                self.refused = status
                return
            with self._changed:
                self.connections += 1
                self._changed.notify_all()
            for each in source.iter_sse():
                if self._ended.is_set():
                    return
                self._take(each)

    def _take(self, each: httpx_sse.ServerSentEvent) -> None:
        data = json.loads(each.data)
        now_s = time.time()
        if each.event == "SYSTEM":
            with self._changed:
                self.system.append(data["type"])
                self._changed.notify_all()
            return
        path = self._paths.get(urlsplit(data["subscription"]).path, data["subscription"])
        heard = Heard(now_s, each.id, path, data["event"])
        self.on_event(heard)
        with self._changed:
            self.last_event_id = each.id
            self.heard.append(heard)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], *, timeout_s: float = 30.0) -> bool:
        """Wait until `condition` holds, looking again after each event; return whether it did."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def told(self) -> Sequence[tuple[str, str, str]]:
        """Return what was heard as (watched path, flag, name)."""
        return [(heard.path, heard.flag, heard.name) for heard in self.heard]
