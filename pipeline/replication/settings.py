"""What can be set about replication, from the environment; read once, at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.settings import setting
from schemas.topics import DEFAULT_PARTITIONS

MINUTES: Final = 60.0


@dataclass(frozen=True, slots=True)
class ReplicationSettings:
    """Settings of `python -m pipeline.replication`."""

    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "", "Kafka brokers, host:port; empty: this host, KAFKA_PORT."
    )
    kafka_port: int = setting("KAFKA_PORT", 9092, "Kafka's port where KAFKA_BOOTSTRAP is not set.")
    partitions: int = setting(
        "STORAGE_EVENTS_PARTITIONS", DEFAULT_PARTITIONS, "Partitions of each topic."
    )
    topic_prefix: str = setting(
        "STORAGE_EVENTS_TOPIC_PREFIX", "", "Stands before each topic's name and before the groups."
    )
    rules: str = setting("STORAGE_EVENTS_REPLICATION_RULES", "rules.toml", "The rules file, TOML.")
    state: str = setting(
        "STORAGE_EVENTS_REPLICATION_STATE",
        ".run/replication/catalogue.sqlite",
        "The file of the catalogue and of the ledger.",
    )
    at_once: int = setting("STORAGE_EVENTS_REPLICATION_AT_ONCE", 8, "Copies that run at once.")
    retry_first_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_RETRY_FIRST_S", 1.0, "Wait before the second try, in seconds."
    )
    retry_longest_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_RETRY_LONGEST_S",
        5 * MINUTES,
        "Longest wait between tries, in seconds.",
    )
    attempts: int = setting(
        "STORAGE_EVENTS_REPLICATION_ATTEMPTS", 15, "Tries before a copy is given up."
    )
    macaroon_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_MACAROON_S",
        60 * MINUTES,
        "How long the macaroons of one copy live, in seconds: longer than it takes.",
    )
    idle_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_IDLE_S",
        60.0,
        "A copy of which nothing is heard for so long has failed, in seconds.",
    )
    verify: bool = setting(
        "STORAGE_EVENTS_REPLICATION_VERIFY",
        True,  # noqa: FBT003 - the default
        "Whether a copy without a checksum to compare fails.",
    )
    keep_changes: int = setting(
        "STORAGE_EVENTS_REPLICATION_KEEP_CHANGES",
        1_000_000,
        "How many changes the command `since` can tell.",
    )

    health_port: int = setting(
        "STORAGE_EVENTS_REPLICATION_HEALTH_PORT",
        0,
        "TCP port of /health/live, /health/ready and /metrics; 0: none.",
    )
    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that health listens on.")

    @property
    def bootstrap(self) -> str:
        """Kafka's addresses."""
        return self.kafka_bootstrap or f"127.0.0.1:{self.kafka_port}"

    @property
    def rules_path(self) -> Path:
        """The rules file."""
        return Path(self.rules)

    @property
    def state_path(self) -> Path:
        """The file of catalogue and ledger."""
        return Path(self.state)
