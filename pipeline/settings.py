"""What can be set about a worker, from the environment; read once, when the process starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas import settings
from schemas.errors import SettingsError
from schemas.service_settings import RedisSettings
from schemas.settings import LEVELS, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

KIBIBYTES: Final = 1024
MEBIBYTES: Final = 1024 * KIBIBYTES
GIBIBYTES: Final = 1024 * MEBIBYTES
HOURS: Final = 60 * 60

PARTS: Final = ("derive", "replay")


@dataclass(frozen=True)
class PipelineSettings(RedisSettings):
    """Settings of `python -m pipeline worker`."""

    redis_timeout_s: float = setting(
        "STORAGE_EVENTS_WORKER_REDIS_TIMEOUT_S",
        10.0,
        "Longest wait for one answer of Redis, in seconds.",
    )
    health_port: int = setting("WORKER_HEALTH_PORT", 6066, "TCP port of health and metrics.")

    parts: tuple[str, ...] = setting(
        "STORAGE_EVENTS_WORKER_PARTS",
        PARTS,
        "What this worker does: derive (billing to derived topics), replay (these to Redis).",
        among=PARTS,
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
        least=1,
    )
    batch_records: int = setting(
        "STORAGE_EVENTS_WORKER_BATCH_RECORDS", 1000, "Most records of one fetch.", least=1
    )
    max_in_flight_bytes: int = setting(
        "STORAGE_EVENTS_WORKER_MAX_IN_FLIGHT_BYTES",
        16 * MEBIBYTES,
        "Most bytes read and not yet written, in one worker; then it stops reading.",
        least=1,
    )
    max_batch_bytes: int = setting(
        "STORAGE_EVENTS_WORKER_MAX_BATCH_BYTES",
        900 * KIBIBYTES,
        "Largest producer batch; below the broker's message.max.bytes.",
        least=1,
    )
    compression: str = setting(
        "STORAGE_EVENTS_WORKER_COMPRESSION",
        "",
        "Of derived batches: lz4, zstd, gzip or nothing.",
        among=("lz4", "zstd", "gzip", ""),
    )
    commit_interval_s: float = setting(
        "STORAGE_EVENTS_WORKER_COMMIT_INTERVAL_S",
        0.5,
        "Time between commits, in seconds.",
        least=0.01,
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
    log_level: str = setting(
        "STORAGE_EVENTS_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.", among=LEVELS
    )

    replay_max_age_s: int = setting(
        "STORAGE_EVENTS_REPLAY_MAX_AGE_S", 24 * HOURS, "How long events can be replayed, seconds."
    )
    replay_max_bytes: int = setting(
        "STORAGE_EVENTS_REPLAY_MAX_BYTES",
        1 * GIBIBYTES,
        "Most memory of Redis for the replay log of one event type, in bytes; oldest go first.",
    )


def from_env(environ: Mapping[str, str]) -> PipelineSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable, or a value that cannot be used.
    """
    read = settings.from_env(PipelineSettings, environ)
    if read.redis.partition("://")[0] not in {"redis", "rediss", "unix"}:
        raise SettingsError("REDIS_URL: must begin with redis://, rediss:// or unix://")
    return read
