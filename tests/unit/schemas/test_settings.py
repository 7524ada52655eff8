"""Settings: what cannot be meant is told at start, by every process."""

from __future__ import annotations

import pytest

from api import settings as api
from deploy.local import settings as stack
from pipeline import settings as worker
from pipeline.ingest import settings as ingest
from pipeline.replication import settings as replication
from schemas.errors import SettingsError
from storage_sim import settings as storage

READERS = [
    api.from_env,
    worker.from_env,
    storage.from_env,
    ingest.from_env,
    replication.from_env,
    stack.from_env,
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("STORAGE_EVENTS_PARTITION", "STORAGE_EVENTS_PARTITIONS"),
        ("STORAGE_EVENTS_REPLAY_MAX_AG_S", "STORAGE_EVENTS_REPLAY_MAX_AGE_S"),
        ("STORAGE_EVENTS_INGEST_RULE", "STORAGE_EVENTS_INGEST_RULES"),
    ],
)
def test_a_variable_that_no_process_knows_is_an_error_for_each(
    read: object, written: str, meant: str
) -> None:
    with pytest.raises(SettingsError, match=f"{written}: no such setting; did you mean {meant}"):
        read({written: "1"})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STORAGE_EVENTS_PARTITIONS", "0", "at least 1"),
        ("STORAGE_EVENTS_PARTITIONS", "-3", "at least 1"),
        ("STORAGE_EVENTS_WORKER_BATCH_RECORDS", "0", "at least 1"),
        ("STORAGE_EVENTS_WORKER_STALL_S", "-1", "at least 0"),
        ("STORAGE_EVENTS_WORKER_STALL_S", "nan", "at least 0"),
        ("STORAGE_EVENTS_WORKER_SESSION_TIMEOUT_S", "0", "at least 1"),
        ("STORAGE_EVENTS_WORKER_COMPRESSION", "rar", "must be of lz4, zstd, gzip, nothing"),
        ("STORAGE_EVENTS_WORKER_PARTS", "replay,eat", "must be of derive, replay"),
        ("STORAGE_EVENTS_WORKER_PARTS", "", "must be of derive, replay"),
        ("STORAGE_EVENTS_LOG_LEVEL", "chatty", "must be of DEBUG, INFO, WARNING, ERROR"),
        ("REDIS_URL", "localhost:6379", "must begin with redis://"),
        ("WORKER_HEALTH_PORT", "99999", "at most 65535"),
        ("KAFKA_BOOTSTRAP", "kafka", "'kafka' is not host:port"),
        ("KAFKA_BOOTSTRAP", "a:1,b", "'a:1,b' is not host:port"),
    ],
)
def test_a_worker_is_told_what_it_cannot_use(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .*{said}"):
        worker.from_env({variable: value})


@pytest.mark.parametrize("brokers", ["", "a:1", "a:1,b.example.org:2", "[::1]:9092"])
def test_brokers_are_host_and_port(brokers: str) -> None:
    assert worker.from_env({"KAFKA_BOOTSTRAP": brokers}).kafka_bootstrap == brokers
