"""Real processes for tests of the API: a storage, a worker, API nodes, with Kafka and Redis."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import httpx

from benchmarks import load
from deploy.local.processes import Process, free_ports

if TYPE_CHECKING:
    from pathlib import Path

_API = ["-m", "api", "serve"]
_READY_S = 180.0


class ApiSite:
    """What a test needs to be a client: nodes, and a WebDAV door to make things happen.

    Args:
        run: a directory of its own.
        kafka: the brokers.
        redis: the Redis's URL.
        nodes: how many API nodes.
        prefix: before topics and keys.
        settings: further environment variables of the nodes.
        storage: the module that is run as storage.
        storage_settings: further environment variables of the storage.
    """

    def __init__(
        self,
        run: Path,
        kafka: str,
        redis: str,
        *,
        nodes: int = 1,
        prefix: str,
        settings: dict[str, str] | None = None,
        storage: str = "storage_sim",
        storage_settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = run
        self.prefix = prefix
        rest, webdav, health, *api_ports = free_ports(3 + nodes)
        self._environment = {
            "STORAGE_EVENTS_SERVICE_KEY": "a key of both",
            "STORAGE_EVENTS_STORAGE_FOLDER": str(run / "storage"),
            "STORAGE_EVENTS_STORAGE_URL": f"http://127.0.0.1:{rest}",
            "STORAGE_EVENTS_TOPIC_PREFIX": prefix,
            "STORAGE_EVENTS_REDIS_PREFIX": prefix,
            "KAFKA_BOOTSTRAP": kafka,
            "REDIS_URL": redis,
            "REST_PORT": str(rest),
            "WEBDAV_PORT": str(webdav),
            "WORKER_HEALTH_PORT": str(health),
        }
        self.rest_url = f"http://127.0.0.1:{rest}"
        self.webdav_url = f"http://127.0.0.1:{webdav}"
        self._health_url = f"http://127.0.0.1:{health}"
        self.urls = [f"http://127.0.0.1:{port}" for port in api_ports]
        self.storage = self._process("storage", ["-m", storage, "serve"], storage_settings)
        self.worker = self._process("worker", ["-m", "pipeline", "worker"])
        self.nodes = [
            self._process(f"api-{number}", _API, {"API_PORT": str(port), **(settings or {})})
            for number, port in enumerate(api_ports)
        ]

    def _process(
        self, name: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> Process:
        return Process(
            name=name,
            command=[sys.executable, *arguments],
            run=self.folder,
            environ={**self._environment, **(environment or {})},
        )

    def up(self) -> None:
        """Start everything and wait until it is ready."""
        self.storage_up()
        for process in (self.worker, *self.nodes):
            process.start()
        self.worker.wait_ready(lambda: _missing(self._health_url), timeout_s=_READY_S)
        for url, node in zip(self.urls, self.nodes, strict=True):
            self.ready(node, url)

    def storage_up(self) -> None:
        """Start the storage and wait until it is ready."""
        self.storage.start()
        self.storage.wait_ready(lambda: _missing(self.rest_url), timeout_s=_READY_S)

    def ready(self, node: Process, url: str) -> None:
        """Wait until a node can do its work."""
        node.wait_ready(lambda: _missing(url), timeout_s=_READY_S)

    def down(self) -> None:
        """End everything, and leave no topics behind."""
        for process in (*self.nodes, self.worker, self.storage):
            process.kill()
        asyncio.run(load.delete_topics(self._environment["KAFKA_BOOTSTRAP"], self.prefix))

    def webdav(self, user: str = "alice") -> httpx.Client:
        """Return a client of the WebDAV door."""
        return httpx.Client(base_url=self.webdav_url, auth=(user, f"{user}-demo"), timeout=30)

    def log(self, index: int = 0) -> str:
        """Return what a node has logged."""
        return self.nodes[index].log.read_text()


def _missing(url: str) -> str:
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=2, trust_env=False)
    except httpx.HTTPError as error:
        return f"{url}: {type(error).__name__}"
    return "" if answer.status_code == 200 else answer.text


class RoundRobin:
    """A TCP front: each connection goes to the next node. Host headers pass as they are.

    Attributes:
        answered: on how many connections a node has answered.
        streams: how many event streams were answered.
        resumed: how many requests had a `Last-Event-ID`.
    """

    def __init__(self, urls: list[str]) -> None:
        self._targets = [httpx.URL(url) for url in urls]
        self._next = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.answered = self.streams = self.resumed = 0
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        started.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = self._targets[self._next % len(self._targets)]
        self._next += 1
        there, back = await asyncio.open_connection(target.host, target.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            is_new = source is there
            try:
                while data := await source.read(65536):
                    self.answered += is_new
                    self.streams += b"\r\nContent-Type: text/event-stream\r\n" in data
                    self.resumed += b"\r\nLast-Event-ID: " in data
                    is_new = False
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        self._open.add(writer)
        await asyncio.gather(pump(reader, back), pump(there, writer))
        self._open.discard(writer)

    def cut(self) -> None:
        """End all connections at once, wherever they are."""

        def end() -> None:
            for writer in self._open:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(end)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
