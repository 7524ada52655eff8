"""A mistyped variable is told at start, whichever process it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api import settings as api
from deploy.local import settings as stack
from pipeline import settings as worker
from pipeline.ingest import settings as ingest
from pipeline.replication import settings as replication
from schemas.errors import SettingsError
from storage_sim import settings as storage

if TYPE_CHECKING:
    from collections.abc import Callable

READERS = [
    (api.from_env, "STORAGE_EVENTS_API_SESION_S", "STORAGE_EVENTS_API_SESSION_S"),
    (worker.from_env, "STORAGE_EVENTS_WORKER_PART", "STORAGE_EVENTS_WORKER_PARTS"),
    (worker.from_env, "STORAGE_EVENTS_REPLAY_MAX_AGE", "STORAGE_EVENTS_REPLAY_MAX_AGE_S"),
    (ingest.from_env, "STORAGE_EVENTS_INGEST_RULE", "STORAGE_EVENTS_INGEST_RULES"),
    (replication.from_env, "STORAGE_EVENTS_REPLICATION_STAT", "STORAGE_EVENTS_REPLICATION_STATE"),
    (storage.from_env, "STORAGE_EVENTS_STORAGE_NAM", "STORAGE_EVENTS_STORAGE_NAME"),
    (stack.from_env, "STORAGE_EVENTS_PARTITION", "STORAGE_EVENTS_PARTITIONS"),
]


@pytest.mark.parametrize(("read", "mistyped", "meant"), READERS)
def test_a_mistyped_variable_is_told_with_what_was_meant(
    read: Callable[[dict[str, str]], Any], mistyped: str, meant: str
) -> None:
    """At start, not in production."""
    with pytest.raises(SettingsError, match=f"{mistyped}: no such setting; did you mean {meant}"):
        read({mistyped: "1"})


@pytest.mark.parametrize("read", dict.fromkeys(read for read, _, _ in READERS))
def test_the_variables_of_other_processes_are_no_mistakes(
    read: Callable[[dict[str, str]], Any],
) -> None:
    """One environment is often shared by all processes of a stack."""
    read(
        {
            "STORAGE_EVENTS_API_SESSION_S": "60",
            "STORAGE_EVENTS_WORKER_SETTLE_S": "1",
            "STORAGE_EVENTS_REPLAY_MAX_AGE_S": "60",
            "STORAGE_EVENTS_INGEST_RULES": "rules.toml",
            "STORAGE_EVENTS_REPLICATION_STATE": "catalogue.sqlite",
            "STORAGE_EVENTS_STORAGE_NAME": "sim",
            "STORAGE_EVENTS_STORAGE_URL": "http://storage",
        }
    )
