"""What can be set about a worker, from the environment; read once, when the process starts."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas import settings
from schemas.errors import SettingsError
from schemas.settings import setting
from schemas.topics import DEFAULT_PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

KIBIBYTES: Final = 1024
MEBIBYTES: Final = 1024 * KIBIBYTES
GIBIBYTES: Final = 1024 * MEBIBYTES
HOURS: Final = 60 * 60

PARTS: Final = ("derive", "replay")
_OWN: Final = ("STORAGE_EVENTS_WORKER_", "STORAGE_EVENTS_REPLAY_")


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Settings of `python -m pipeline worker`."""

    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "", "Kafka brokers, host:port; empty: this host, KAFKA_PORT."
    )
    kafka_port: int = setting("KAFKA_PORT", 9092, "Kafka's port where KAFKA_BOOTSTRAP is not set.")
    partitions: int = setting(
        "STORAGE_EVENTS_PARTITIONS", DEFAULT_PARTITIONS, "Partitions of each topic."
    )
    topic_prefix: str = setting(
        "STORAGE_EVENTS_TOPIC_PREFIX", "", "Stands before each topic's name and before the group."
    )
    redis_url: str = setting("REDIS_URL", "", "Redis; empty: this host, REDIS_PORT.")
    redis_port: int = setting("REDIS_PORT", 6380, "Redis's port where REDIS_URL is not set.")
    redis_prefix: str = setting(
        "STORAGE_EVENTS_REDIS_PREFIX", "storage-events:", "Stands before each Redis key."
    )
    redis_timeout_s: float = setting(
        "STORAGE_EVENTS_WORKER_REDIS_TIMEOUT_S",
        10.0,
        "Longest wait for one answer of Redis, in seconds.",
    )
    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that health listens on.")
    health_port: int = setting("WORKER_HEALTH_PORT", 6066, "TCP port of health and metrics.")

    parts: tuple[str, ...] = setting(
        "STORAGE_EVENTS_WORKER_PARTS",
        PARTS,
        "What this worker does: derive (billing to derived topics), replay (these to Redis).",
    )
    event_types: tuple[str, ...] = setting(
        "STORAGE_EVENTS_EVENT_TYPES", (), "Event types this worker works on; empty: all."
    )
    instance_id: str = setting(
        "STORAGE_EVENTS_WORKER_INSTANCE_ID",
        "",
        "A name that this worker has for ever and no other has: restarted within the session "
        "timeout it keeps its partitions, without a rebalance. Empty: it joins anew.",
    )
    session_timeout_s: float = setting(
        "STORAGE_EVENTS_WORKER_SESSION_TIMEOUT_S",
        6.0,
        "How long a killed worker's partitions rest before others take them, in seconds.",
    )
    batch_records: int = setting(
        "STORAGE_EVENTS_WORKER_BATCH_RECORDS", 1000, "Most records of one fetch."
    )
    max_in_flight_bytes: int = setting(
        "STORAGE_EVENTS_WORKER_MAX_IN_FLIGHT_BYTES",
        32 * MEBIBYTES,
        "Most bytes read and not yet written, in one worker; then it stops reading.",
    )
    max_batch_bytes: int = setting(
        "STORAGE_EVENTS_WORKER_MAX_BATCH_BYTES",
        900 * KIBIBYTES,
        "Largest producer batch; below the broker's message.max.bytes.",
    )
    compression: str = setting(
        "STORAGE_EVENTS_WORKER_COMPRESSION", "", "Of derived batches: lz4, zstd, gzip or nothing."
    )
    commit_interval_s: float = setting(
        "STORAGE_EVENTS_WORKER_COMMIT_INTERVAL_S", 1.0, "Time between commits, in seconds."
    )
    settle_s: float = setting(
        "STORAGE_EVENTS_WORKER_SETTLE_S",
        3.0,
        "How long a rebalance or a stop waits for what was begun, in seconds.",
    )

    stall_s: float = setting(
        "STORAGE_EVENTS_WORKER_STALL_S",
        15.0,
        "How long a partition with work may stand still before the worker is not ready, seconds.",
    )
    log_level: str = setting("STORAGE_EVENTS_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")

    replay_max_age_s: int = setting(
        "STORAGE_EVENTS_REPLAY_MAX_AGE_S", 24 * HOURS, "How long events can be replayed, seconds."
    )
    replay_max_bytes: int = setting(
        "STORAGE_EVENTS_REPLAY_MAX_BYTES",
        1 * GIBIBYTES,
        "Most memory of Redis for the replay log of one event type, in bytes; oldest go first.",
    )

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        return self.kafka_bootstrap or f"{self._near}:{self.kafka_port}"

    @property
    def redis(self) -> str:
        """Where Redis is, as a URL."""
        return self.redis_url or f"redis://{self._near}:{self.redis_port}/0"

    @property
    def _near(self) -> str:
        return "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104 - compared


def from_env(environ: Mapping[str, str]) -> PipelineSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable of the worker's, or a value that cannot be used.
    """
    declared = {variable for variable, *_ in settings.describe(PipelineSettings)}
    for variable in environ:
        if variable.startswith(_OWN) and variable not in declared:
            near = difflib.get_close_matches(variable, declared, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: no such setting{hint}")
    read = settings.from_env(PipelineSettings, environ)
    unknown = set(read.parts) - set(PARTS)
    if unknown or not read.parts:
        raise SettingsError(f"STORAGE_EVENTS_WORKER_PARTS: must be of {', '.join(PARTS)}")
    return read
