"""Settings of the stack on one machine: ports, how many of each, and which services are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import settings
from schemas.settings import BROKERS, setting

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class StackSettings:
    """What `make up` and `make demo` can be told."""

    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that everything listens on.")
    api_port: int = setting("API_PORT", 3880, "Port of the first API node; further nodes: +2, …")
    webdav_port: int = setting("WEBDAV_PORT", 2880, "Port of the WebDAV door.")
    rest_port: int = setting("REST_PORT", 3881, "Port of the storage's REST interface.")
    kafka_port: int = setting("KAFKA_PORT", 9092, "Port of the Kafka that is started (and +1).")
    redis_port: int = setting("REDIS_PORT", 6380, "Port of the Redis that is started.")
    worker_health_port: int = setting(
        "WORKER_HEALTH_PORT", 6066, "Port of the first worker's health; further workers: +1, …"
    )
    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "", "A Kafka to use, as host:port; empty: one is started.", form=BROKERS
    )
    redis_url: str = setting("REDIS_URL", "", "A Redis to use, as URL; empty: one is started.")
    nodes: int = setting("NODES", 1, "How many API nodes.", least=1)
    workers: int = setting("WORKERS", 1, "How many pipeline workers.", least=1)
    run: str = setting("RUN_DIR", ".run", "Directory of data, logs, pid files and `env`.")
    once: bool = setting("ONCE", default=False, meaning="The demo ends by itself.")


def from_env(environ: Mapping[str, str]) -> StackSettings:
    """Read the settings; the processes that are started read theirs from the same environment.

    Raises:
        SettingsError: a `STORAGE_EVENTS_*` variable that no process knows, or a value of the wrong
            type.
    """
    return settings.from_env(StackSettings, environ)
