"""The whole stack as processes on this machine: Kafka, Redis, storage, workers, API nodes.

This is the composition root of `make up`, `make demo` and of the tests that kill things.
"""

from __future__ import annotations

import secrets
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deploy.local import kafka, redis
from deploy.local.kafka import Kafka, fetch_jars
from deploy.local.processes import Process, StartError, require_free
from deploy.local.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.local.settings import StackSettings

ROOT = Path(__file__).parents[2]
USERS = ("admin", "alice", "bob", "carol")
_READY_S = 120.0
_ANSWER_S = 2.0


def password(user: str) -> str:
    """Return a demo user's password, as `deploy/demo/users.toml` has it (hashed)."""
    return f"{user}-demo"


def missing(url: str) -> str:
    """Ask a process whether it is ready.

    Returns:
        "" when it is; else what it says is missing.
    """
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=_ANSWER_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}: {error.read(2000).decode(errors='replace').strip()}"
    except OSError as error:
        return f"no answer from {url}: {error}"


class Stack:
    """All processes, known but not started.

    Args:
        settings: ports, numbers, and the services that are given.
        extra: further settings for storage, workers and API nodes, by variable.
    """

    def __init__(self, settings: StackSettings, extra: dict[str, str] | None = None) -> None:
        self._settings = settings
        self._extra = extra or {}
        self.run = (ROOT / settings.run).absolute()
        self.kafka: Kafka | None = None
        self.redis: Redis | None = None
        if not settings.kafka_bootstrap:
            port = settings.kafka_port
            self.kafka = Kafka(self.run, ROOT / ".run/kafka-libs", port, port + 1, settings.host)
        if not settings.redis_url:
            self.redis = Redis(self.run, settings.redis_port, settings.host)
        self.storage = self._python("storage", "storage_sim", "serve")
        workers, nodes = range(settings.workers), range(settings.nodes)
        self.workers = [
            self._python(
                f"worker-{n + 1}",
                "pipeline",
                "worker",
                WORKER_HEALTH_PORT=self._health(n),
                # A restarted worker has its partitions back at once.
                STORAGE_EVENTS_WORKER_INSTANCE_ID=f"worker-{n + 1}",
            )
            for n in workers
        ]
        self.apis = [
            self._python(f"api-{n + 1}", "api", "serve", API_PORT=self._api_port(n)) for n in nodes
        ]

    def _health(self, index: int) -> int:
        return self._settings.worker_health_port + index

    def _api_port(self, index: int) -> int:
        """Return a node's port: 3881 is the storage's, so the second node has 3882."""
        return self._settings.api_port + (index + 1 if index else 0)

    def _url(self, port: int) -> str:
        return f"http://{self._settings.host}:{port}"

    @property
    def bootstrap(self) -> str:
        """The Kafka in use."""
        return (
            self._settings.kafka_bootstrap or f"{self._settings.host}:{self._settings.kafka_port}"
        )

    @property
    def redis_url(self) -> str:
        """The Redis in use."""
        return (
            self._settings.redis_url
            or f"redis://{self._settings.host}:{self._settings.redis_port}/0"
        )

    @property
    def api_urls(self) -> list[str]:
        """Where the API nodes answer, the first one first."""
        return [self._url(self._api_port(n)) for n in range(self._settings.nodes)]

    @property
    def webdav_url(self) -> str:
        """Where the WebDAV door answers."""
        return self._url(self._settings.webdav_port)

    @property
    def rest_url(self) -> str:
        """Where the storage's REST answers."""
        return self._url(self._settings.rest_port)

    def _service_key(self) -> str:
        """Return the key that storage and API share, made at the first start."""
        file = self.run / "service-key"
        if not file.exists():
            self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(32))
        return file.read_text()

    def _python(self, name: str, module: str, command: str, **settings: object) -> Process:
        environ = {
            "PYTHONUNBUFFERED": "1",
            "STORAGE_EVENTS_HOST": self._settings.host,
            "STORAGE_EVENTS_SERVICE_KEY": self._service_key(),
            "STORAGE_EVENTS_STORAGE_FOLDER": str(self.run / "storage"),
            "STORAGE_EVENTS_STORAGE_URL": self.rest_url,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "WEBDAV_PORT": str(self._settings.webdav_port),
            "REST_PORT": str(self._settings.rest_port),
            **{variable: str(value) for variable, value in settings.items()},
            **self._extra,
        }
        return Process(name, [sys.executable, "-m", module, command], self.run, environ, ROOT)

    def _services(self) -> Iterator[tuple[Process, dict[str, int], str]]:
        """Give our own processes: which, the ports each listens on, where it answers."""
        ports = {
            "WEBDAV_PORT": self._settings.webdav_port,
            "REST_PORT": self._settings.rest_port,
        }
        yield self.storage, ports, self.rest_url
        for n, worker in enumerate(self.workers):
            yield worker, {"WORKER_HEALTH_PORT": self._health(n)}, self._url(self._health(n))
        for n, api in enumerate(self.apis):
            yield api, {"API_PORT": self._api_port(n)}, self.api_urls[n]

    def _start_brokers(self, say: Callable[[str], None]) -> None:
        if self.kafka is not None:
            fetch_jars(ROOT / ".run/kafka-libs", say=say)
        brokers = [broker for broker in (self.kafka, self.redis) if broker is not None]
        for broker in brokers:
            broker.launch()
        for broker in brokers:
            broker.wait_ready()
        host, _, port = self.bootstrap.partition(",")[0].rpartition(":")
        if not kafka.answers(host, int(port)):
            raise StartError(f"no Kafka answers at {self.bootstrap} (KAFKA_BOOTSTRAP)")
        given = urlsplit(self.redis_url)
        if (
            given.scheme == "redis"
            and not given.password
            and not redis.answers(given.hostname or "127.0.0.1", given.port or 6379)
        ):
            raise StartError(f"no Redis answers at {self.redis_url} (REDIS_URL)")

    def up(self, say: Callable[[str], None]) -> None:
        """Start what does not run and wait until all of it is ready; do it again as you like.

        Args:
            say: told each step.

        Raises:
            StartError: what is not ready, and the end of its log.
        """
        begin = time.monotonic()
        self._stop_others()
        say("starting Kafka and Redis")
        self._start_brokers(say)
        say("starting storage, worker and API")
        for process, ports, _ in self._services():
            self.launch(process, ports)
        for process, _, url in self._services():
            self.wait_ready(process, url)
        self.write_env()
        say(f"ready after {time.monotonic() - begin:.1f} s")

    def launch(self, process: Process, ports: dict[str, int]) -> None:
        """Start one of our processes, unless it runs; its ports must be free."""
        if process.current():
            return
        process.stop()
        for variable, port in ports.items():
            host = self._settings.host
            require_free(host, port, what=process.name, variable=variable)
        process.start()

    def wait_ready(self, process: Process, url: str) -> None:
        """Wait until one of our processes says that it is ready."""
        process.wait_ready(lambda: missing(url), timeout_s=_READY_S)

    def restart(self, process: Process) -> None:
        """Start one of our processes again after it was killed, and wait until it is ready."""
        for each, ports, url in self._services():
            if each is process:
                self.launch(process, ports)
                self.wait_ready(process, url)

    def _stop_others(self) -> None:
        """Stop what an earlier start with more nodes or other services has left."""
        wanted = {process.name for process, _, _ in self._services()}
        wanted |= {"kafka"} if self.kafka else set()
        wanted |= {"redis"} if self.redis else set()
        for process in _remembered(self.run):
            if process.name not in wanted:
                process.stop()

    def write_env(self) -> None:
        """Write `env`: where everything is and who may use it, as KEY=value, for the owner."""
        values = {
            "API_URL": self.api_urls[0],
            "API_URLS": ",".join(self.api_urls),
            "WEBDAV_URL": self.webdav_url,
            "REST_URL": self.rest_url,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "USERS": ",".join(USERS),
            **{f"{user.upper()}_PASSWORD": password(user) for user in USERS},
        }
        file = self.run / "env"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text("".join(f"{key}={value}\n" for key, value in values.items()))

    def status(self) -> list[tuple[str, str]]:
        """Say of each process whether it runs, and what it misses."""
        brokers = [broker.process for broker in (self.kafka, self.redis) if broker is not None]
        lines = [(each.name, "running" if each.running() else "not running") for each in brokers]
        for process, _, url in self._services():
            state = (missing(url) or "ready") if process.running() else "not running"
            lines.append((process.name, state))
        return lines


def _remembered(run: Path) -> list[Process]:
    """Return the processes that pid files name, in the order in which they are to be stopped."""
    order = {"api": 0, "worker": 1, "storage": 2, "kafka": 3, "redis": 4}
    names = [file.stem for file in run.glob("*.pid")]
    return [
        Process(name, [], run)
        for name in sorted(names, key=lambda name: (order.get(name.partition("-")[0], 0), name))
    ]


def down(run: Path, say: Callable[[str], None]) -> None:
    """Stop everything that was started from `run`, also what an earlier crash has left.

    Args:
        run: the directory of pid files.
        say: told each step.
    """
    remembered = _remembered(run)
    if not any(process.running() for process in remembered):
        say("nothing was running")
    for process in remembered:
        if process.running():
            asked = process.stop()
            say(f"stopped {process.name}" + ("" if asked else " (by kill -9: it did not end)"))
        else:
            process.pid_file.unlink(missing_ok=True)
    (run / "env").unlink(missing_ok=True)
