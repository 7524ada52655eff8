"""A storage in a folder of its own, some users, and what it has billed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.authz.principal import Principal
from storage_sim.core import SYSTEM
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from schemas.records import BillingRecord
    from storage_sim.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    """Give an empty storage with a `/data` that everybody may write to."""
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/data", mode=0o1777)
    yield storage
    storage.close()


@pytest.fixture
def told(storage: Storage) -> Callable[[], list[BillingRecord]]:
    """Give a function that returns what was billed since it was last called."""
    seen = len(history.records(storage))

    def since() -> list[BillingRecord]:
        nonlocal seen
        everything = history.records(storage)
        new, seen = everything[seen:], len(everything)
        return new

    return since


@pytest.fixture
def alice() -> Principal:
    """Give a user."""
    return Principal("alice", 1001, (1001, 2000))


@pytest.fixture
def bob() -> Principal:
    """Give another user, with no group in common."""
    return Principal("bob", 1002, (1002,))
