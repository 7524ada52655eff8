"""The telescope's processes: two storages, the worker, ingest and replication, and a Kafka."""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING, Final

from deploy.local import stack
from deploy.local.demonstrators import ROOT, Demonstrator, Site, password
from deploy.local.kafka import Kafka, fetch_jars
from deploy.local.processes import Process, require_free
from deploy.local.stack import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

RULES: Final = ROOT / "deploy/demo/telescope.toml"
MOUNTAIN: Final = "mountain"
FACILITY: Final = "facility"
_STORAGES: Final = """[storages.mountain]
url = "{mountain}"
user = "mover"
password = "{password}"

[storages.facility]
url = "{facility}"
user = "mover"
password = "{password}"

"""
_READY_S: Final = 60.0
FACILITY_PORTS: Final = 10
"""The facility's ports are the mountain's and this."""


class Observatory:
    """All processes of the telescope, known but not started.

    Args:
        run: directory of data, logs and pid files.
        webdav_port: the mountain's WebDAV door.
        rest_port: the mountain's REST.
        kafka_port: of the Kafka that is started.
        health_port: of the worker's health; agent, runner and replication have the next ones.
        kafka_bootstrap: a Kafka to use; empty: one is started.
        host: the address everything listens on.
        at_once: how many functions run at once.
    """

    def __init__(
        self,
        run: Path,
        *,
        webdav_port: int,
        rest_port: int,
        kafka_port: int,
        health_port: int,
        kafka_bootstrap: str = "",
        host: str = "127.0.0.1",
        at_once: int = 2,
    ) -> None:
        self.run = run
        self.host = host
        self.kafka: Kafka | None = None
        if not kafka_bootstrap:
            self.kafka = Kafka(run, ROOT / ".run/kafka-libs", kafka_port, kafka_port + 1, host)
        self.bootstrap = kafka_bootstrap or f"{host}:{kafka_port}"
        self.prefix = f"telescope-{uuid.uuid4().hex[:8]}-"
        parts = Demonstrator(run, bootstrap=self.bootstrap, topic_prefix=self.prefix, host=host)
        self.mountain = parts.storage(MOUNTAIN, webdav_port=webdav_port, rest_port=rest_port)
        self.facility = parts.storage(
            FACILITY,
            webdav_port=webdav_port + FACILITY_PORTS,
            rest_port=rest_port + FACILITY_PORTS,
        )
        self._health_port = health_port
        self._make_followers(parts, at_once)

    def _make_followers(self, parts: Demonstrator, at_once: int) -> None:
        self.worker = parts.python(
            "worker", "pipeline", "worker",
            WORKER_HEALTH_PORT=self._health_port,
            STORAGE_EVENTS_WORKER_PARTS="derive",
            STORAGE_EVENTS_WORKER_INSTANCE_ID="worker",
        )  # fmt: skip
        self.agent = parts.ingest_agent(self.rules, health_port=self._health_port + 1)
        self.runner = parts.ingest_runner(
            self.rules,
            {"STORAGE_EVENTS_INGEST_AT_ONCE": str(at_once)},
            health_port=self._health_port + 2,
        )
        self.replication = parts.python(
            "replication", "pipeline.replication", "run",
            STORAGE_EVENTS_REPLICATION_HEALTH_PORT=self._health_port + 3,
            **self.moving,
        )  # fmt: skip

    @property
    def rules(self) -> Path:
        """The rules file, for ingest and replication."""
        return self.run / "rules.toml"

    @property
    def moving(self) -> dict[str, str]:
        """Settings of replication."""
        return {
            "STORAGE_EVENTS_REPLICATION_RULES": str(self.rules),
            "STORAGE_EVENTS_REPLICATION_STATE": str(self.run / "replication/catalogue.sqlite"),
            "STORAGE_EVENTS_REPLICATION_RETRY_LONGEST_S": "10",
        }

    @property
    def sites(self) -> tuple[Site, Site]:
        """Both storages."""
        return self.mountain, self.facility

    @property
    def followers(self) -> Sequence[Process]:
        """What makes something of events."""
        return self.worker, self.agent, self.runner, self.replication

    def up(self, say: Callable[[str], None]) -> None:
        """Start all of it and wait until it is ready.

        Args:
            say: told each step.

        Raises:
            StartError: what is not ready, and the end of its log.
        """
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_rules()
        if self.kafka is not None:
            say("starting Kafka")
            fetch_jars(self.kafka.libs, say=say)
            self.kafka.start()
        say("starting two storages (mountain, facility), worker, ingest, replication")
        for site in self.sites:
            if not site.process.running():
                for url, variable in (
                    (site.webdav_url, "WEBDAV_PORT"),
                    (site.rest_url, "REST_PORT"),
                ):
                    port = int(url.rpartition(":")[2])
                    require_free(self.host, port, what=site.process.name, variable=variable)
        for follower, url in self.answering():
            if not follower.running():
                port = int(url.rpartition(":")[2])
                require_free(self.host, port, what=follower.name, variable="WORKER_HEALTH_PORT")
        self.start()
        self.wait_ready()

    def answering(self) -> list[tuple[Process, str]]:
        """Return the followers and where each tells its health."""
        return [
            (follower, f"http://{self.host}:{self._health_port + at}")
            for at, follower in enumerate(self.followers)
        ]

    def wait_ready(self) -> None:
        """Wait until all that follows events is ready.

        Raises:
            StartError: what is not, and the end of its log.
        """
        for follower, url in self.answering():
            follower.wait_ready(functools.partial(missing, url), timeout_s=_READY_S)

    def start(self) -> None:
        """Start whatever does not run, and wait for Kafka and the storages."""
        if self.kafka is not None:
            self.kafka.start()
        for process in (*(site.process for site in self.sites), *self.followers):
            process.start()
        for site in self.sites:
            site.start()

    def down(self, say: Callable[[str], None]) -> None:
        """Stop all of it."""
        stack.down(self.run, say)

    def _write_rules(self) -> None:
        storages = _STORAGES.format(
            mountain=self.mountain.webdav_url,
            facility=self.facility.webdav_url,
            password=password("mover"),
        )
        self.rules.touch(mode=0o600)
        self.rules.write_text(storages + RULES.read_text())
