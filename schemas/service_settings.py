"""The settings that processes share: where Kafka and Redis are, and what things are called.

A process's settings class inherits them, so one variable means the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.settings import BROKERS, setting
from schemas.topics import DEFAULT_PARTITIONS


@dataclass(frozen=True)
class KafkaSettings:
    """Settings of a process that reads or writes topics, and listens on an address."""

    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address to listen on.")
    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP",
        "",
        "Kafka brokers, host:port; empty: this host, KAFKA_PORT.",
        form=BROKERS,
    )
    kafka_port: int = setting("KAFKA_PORT", 9092, "Kafka's port where KAFKA_BOOTSTRAP is not set.")
    partitions: int = setting(
        "STORAGE_EVENTS_PARTITIONS", DEFAULT_PARTITIONS, "Partitions of each topic.", least=1
    )
    topic_prefix: str = setting(
        "STORAGE_EVENTS_TOPIC_PREFIX", "", "Stands before each topic's name and each group's."
    )

    @property
    def bootstrap(self) -> str:
        """Where Kafka is, as host:port with commas between."""
        return self.kafka_bootstrap or f"{self.near}:{self.kafka_port}"

    @property
    def near(self) -> str:
        """The address of what runs beside this process."""
        return "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104 - compared


@dataclass(frozen=True)
class RedisSettings(KafkaSettings):
    """Settings of a process that uses Redis, too."""

    redis_url: str = setting("REDIS_URL", "", "Redis; empty: this host, REDIS_PORT.")
    redis_port: int = setting("REDIS_PORT", 6380, "Redis's port where REDIS_URL is not set.")
    redis_prefix: str = setting(
        "STORAGE_EVENTS_REDIS_PREFIX", "storage-events:", "Stands before each Redis key."
    )

    @property
    def redis(self) -> str:
        """Where Redis is, as a URL."""
        return self.redis_url or f"redis://{self.near}:{self.redis_port}/0"
