"""Readers of streams that are not ours, each in a thread, each coming back when it is cut off."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import httpx_sse
import requests
import sseclient  # type: ignore[import-untyped]

from tests import services
from tests.browser import chromium
from tests.wire import basic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NODE = Path(__file__).parent / "node"
_LOOK_S = 0.2
_TAKE = "return window.told.splice(0)"
_OPEN = """
const [url, authorization, done] = arguments;
window.told = [];
fetch("/session", { method: "POST", headers: { Authorization: authorization } }).then((answer) => {
  const source = new EventSource(url);
  for (const kind of ["inotify", "SYSTEM"]) {
    source.addEventListener(kind, (message) => window.told.push(message.data));
  }
  done(answer.status);
});
"""


class Reader:
    """One client in a thread of its own.

    Args:
        read: reads its channel until it is done.
        channel: the channel's URL.
        count: after how many events it is done.
        folder: its own.
    """

    def __init__(
        self, read: Callable[[Reader], None], channel: str, count: int, folder: Path
    ) -> None:
        self.channel = channel
        self.folder = folder
        self.name = read.__name__
        self.names: list[str] = []
        self.system: list[str] = []
        self.error: BaseException | None = None
        self._count = count
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(read,), daemon=True)
        self._thread.start()

    def _run(self, read: Callable[[Reader], None]) -> None:
        try:
            read(self)
        except BaseException as error:
            self.error = error

    @property
    def is_done(self) -> bool:
        """Whether it has all, or is to end."""
        return len(self.names) >= self._count or self._gave_up.is_set()

    def told(self, data: str) -> None:
        """Take one event's data."""
        content = json.loads(data)
        if "event" in content:
            self.names.append(content["event"]["name"])
        else:
            self.system.append(content["type"])

    def join(self) -> None:
        """Have it end, and wait for that."""
        self._gave_up.set()
        self._thread.join(60)


def by_sseclient(reader: Reader) -> None:
    """btubbs's client, the one that dCache's Python clients use: reconnects by itself."""
    last = None
    while not reader.is_done:
        with contextlib.suppress(requests.RequestException):  # cut while it was connecting
            client = sseclient.SSEClient(
                reader.channel, last_id=last, retry=50, headers=basic("alice")
            )
            while not reader.is_done:
                reader.told(next(client).data)
                last = client.last_id


def by_httpx_sse(reader: Reader) -> None:
    """httpx-sse, reconnecting as its documentation has it."""
    last = ""
    with httpx.Client(auth=("alice", "alice-demo"), timeout=20) as client:
        while not reader.is_done:
            headers = {"Last-Event-ID": last} if last else {}
            with (
                contextlib.suppress(httpx.HTTPError),
                httpx_sse.connect_sse(client, "GET", reader.channel, headers=headers) as source,
            ):
                for event in source.iter_sse():
                    last = event.id or last
                    reader.told(event.data)
                    if reader.is_done:
                        break


@contextlib.contextmanager
def _running(
    reader: Reader, command: list[str], environ: Mapping[str, str] | None = None
) -> Iterator[Iterator[bytes]]:
    """Run a program, give its lines; it is killed when the reader is done."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, **(environ or {})}
    ) as running:
        assert running.stdout

        def lines() -> Iterator[bytes]:
            for line in running.stdout or ():
                yield line
                if reader.is_done:
                    return

        try:
            yield lines()
        finally:
            running.kill()


def by_curl(reader: Reader) -> None:
    """Curl and a shell's way of reading: line by line, whole events only."""
    last = ""
    while not reader.is_done:
        command = ["curl", "-sN", "-u", "alice:alice-demo", "-H", "Accept: text/event-stream"]
        if last:
            command += ["-H", f"Last-Event-ID: {last}"]
        with _running(reader, [*command, reader.channel]) as lines:
            fields: dict[str, str] = {}
            for raw in lines:
                name, _, value = raw.decode("ascii").rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    last = fields.get("id", last)
                    reader.told(fields["data"])
                    fields = {}


def node_modules() -> Path:
    """Return a folder with our script and what it needs, installed by npm when it is not there."""
    folder = services.ROOT / ".run" / "node"
    wanted = (_NODE / "package.json").read_text()
    kept = folder / "installed.json"
    if not kept.exists() or kept.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_NODE / "package.json", folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        kept.write_text(wanted)
    shutil.copy(_NODE / "read.mjs", folder)
    return folder


def by_node(reader: Reader) -> None:
    """npm's eventsource: reconnects by itself."""
    script = node_modules() / "read.mjs"
    authorization = {"AUTHORIZATION": basic("alice")["Authorization"]}
    with _running(reader, ["node", str(script), reader.channel], authorization) as lines:
        for line in lines:
            reader.told(json.loads(line)[1])


def by_chromium(reader: Reader) -> None:
    """A browser's own EventSource, by the cookie of a sign-in: reconnects by itself."""
    authorization = basic("alice")["Authorization"]
    pause = threading.Event()
    with chromium(reader.folder) as browser:
        parts = urlsplit(reader.channel)
        browser.get(f"{parts.scheme}://{parts.netloc}/")
        assert browser.execute_async_script(_OPEN, reader.channel, authorization) == 200  # type: ignore[no-untyped-call]
        while not reader.is_done:
            for data in browser.execute_script(_TAKE):  # type: ignore[no-untyped-call]
                reader.told(data)
            pause.wait(_LOOK_S)


ALL = [by_curl, by_httpx_sse, by_sseclient, by_node, by_chromium]
