"""The real Kafka and Redis that tests use: those of the environment, or ones started for the run.

Nothing is skipped: a test that needs a service fails, with the reason, where it cannot be had.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.kafka import Kafka, fetch_jars
from deploy.local.processes import free_ports
from deploy.local.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
KAFKA_LIBS = ROOT / ".run" / "kafka-libs"


@contextlib.contextmanager
def run_directory(name: str) -> Iterator[Path]:
    """Give a new directory below `.run/` for pid files, logs and data; removed afterwards."""
    base = ROOT / ".run" / "test"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def new_kafka(run: Path) -> Kafka:
    """Return a Kafka that is not started yet, on free ports."""
    port, controller_port = free_ports(2)
    return Kafka(run, fetch_jars(KAFKA_LIBS), port, controller_port)


def new_redis(run: Path) -> Redis:
    """Return a Redis that is not started yet, on a free port."""
    return Redis(run, free_ports(1)[0])


@contextlib.contextmanager
def running_kafka() -> Iterator[Kafka]:
    """Start a Kafka of one's own, and end it afterwards."""
    with run_directory("kafka") as run:
        kafka = new_kafka(run)
        try:
            kafka.start()
            yield kafka
        finally:
            kafka.kill()


@contextlib.contextmanager
def running_redis() -> Iterator[Redis]:
    """Start a Redis of one's own, and end it afterwards."""
    with run_directory("redis") as run:
        redis = new_redis(run)
        try:
            redis.start()
            yield redis
        finally:
            redis.kill()
