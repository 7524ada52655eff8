"""The processes of the demonstrators, known but not started: storages, ingest agent and runner."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.processes import Process, StartError
from deploy.local.stack import missing

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
USERS_FILE = ROOT / "deploy/demo/telescope_users.toml"
_READY_S = 120.0


def password(user: str) -> str:
    """Return a user's password, as `telescope_users.toml` has it (hashed)."""
    return f"{user}-demo"


class Demonstrator:
    """What the processes of one demonstrator have in common.

    Args:
        run: directory of data, logs and pid files.
        bootstrap: Kafka's addresses.
        topic_prefix: stands before each topic and group.
        host: the address everything listens on.
    """

    def __init__(
        self, run: Path, *, bootstrap: str, topic_prefix: str = "", host: str = "127.0.0.1"
    ) -> None:
        self.run = run
        self.bootstrap = bootstrap
        self.topic_prefix = topic_prefix
        self.host = host

    def python(self, name: str, module: str, command: str, **settings: object) -> Process:
        """Return a process of ours: `python -m MODULE COMMAND` with these settings."""
        environ = {
            "PYTHONUNBUFFERED": "1",
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "STORAGE_EVENTS_TOPIC_PREFIX": self.topic_prefix,
            "STORAGE_EVENTS_HOST": self.host,
            **{variable: str(value) for variable, value in settings.items()},
        }
        return Process(name, [sys.executable, "-m", module, command], self.run, environ, ROOT)

    def storage(self, name: str, *, webdav_port: int, rest_port: int) -> Site:
        """Return a storage."""
        process = self.python(
            f"storage-{name}",
            "storage_sim",
            "serve",
            STORAGE_EVENTS_STORAGE_NAME=name,
            STORAGE_EVENTS_STORAGE_FOLDER=self.run / f"storage-{name}",
            STORAGE_EVENTS_USERS_FILE=USERS_FILE,
            STORAGE_EVENTS_COPY_NETWORKS="127.0.0.0/8,::1/128",
            WEBDAV_PORT=webdav_port,
            REST_PORT=rest_port,
        )
        return Site(
            name, process, f"http://{self.host}:{webdav_port}", f"http://{self.host}:{rest_port}"
        )

    def ingest_agent(
        self, rules: Path, settings: Mapping[str, str] | None = None, *, health_port: int = 0
    ) -> Process:
        """Return the ingest agent."""
        return self.python(
            "ingest-agent", "pipeline.ingest", "agent",
            STORAGE_EVENTS_INGEST_RULES=rules,
            STORAGE_EVENTS_INGEST_AGENT_INSTANCE_ID="agent",
            STORAGE_EVENTS_INGEST_AGENT_HEALTH_PORT=health_port,
            **(settings or {}),
        )  # fmt: skip

    def ingest_runner(
        self, rules: Path, settings: Mapping[str, str] | None = None, *, health_port: int = 0
    ) -> Process:
        """Return the runner of functions."""
        return self.python(
            "ingest-runner", "pipeline.ingest", "runner",
            STORAGE_EVENTS_INGEST_RULES=rules,
            STORAGE_EVENTS_INGEST_STATE=self.run / "ingest",
            STORAGE_EVENTS_INGEST_RUNNER_HEALTH_PORT=health_port,
            **(settings or {}),
        )  # fmt: skip


class Site:
    """A storage and where it answers.

    Args:
        name: the storage's.
        process: its process.
        webdav_url: its WebDAV door.
        rest_url: its REST.
    """

    def __init__(self, name: str, process: Process, webdav_url: str, rest_url: str) -> None:
        self.name = name
        self.process = process
        self.webdav_url = webdav_url
        self.rest_url = rest_url

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            StartError: it does not get ready.
        """
        self.process.start()
        self.process.wait_ready(lambda: missing(self.rest_url), timeout_s=_READY_S)


__all__ = ["Demonstrator", "Site", "StartError", "password"]
