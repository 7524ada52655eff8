"""Whatever is done to a storage, its records tell it: all of it, in order, numbered, once."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.authz.principal import Principal
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage_sim.storage import Storage

WHO = [SYSTEM, Principal("alice", 1001, (1001, 2000)), Principal("bob", 1002, (1002, 2000))]
users = st.sampled_from(WHO)
paths = st.lists(st.sampled_from(["a", "b", "c", "..", "l"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
modes = st.sampled_from([0o777, 0o755, 0o700, 0o1777, 0o2775, 0o000, 0o711])


def _mkdir(who: Principal, path: str, mode: int) -> Callable[[Storage], object]:
    return lambda storage: storage.mkdir(who, path, mode=mode)


def _write(who: Principal, path: str, append: bool) -> Callable[[Storage], object]:
    return lambda storage: storage.write(who, path, b"data", append=append)


def _aborted(who: Principal, path: str, _: bool) -> Callable[[Storage], object]:
    def abort(storage: Storage) -> None:
        storage.upload(who, path).abort(5, "no more")

    return abort


def _delete(who: Principal, path: str, _: bool) -> Callable[[Storage], object]:
    return lambda storage: storage.delete_tree(who, path)


def _rename(who: Principal, path: str, other: str) -> Callable[[Storage], object]:
    return lambda storage: storage.rename(who, path, other)


def _symlink(who: Principal, path: str, other: str) -> Callable[[Storage], object]:
    return lambda storage: storage.symlink(who, other, path)


def _chmod(who: Principal, path: str, mode: int) -> Callable[[Storage], object]:
    return lambda storage: storage.chmod(who, path, mode)


def _chgrp(who: Principal, path: str, _: bool) -> Callable[[Storage], object]:
    return lambda storage: storage.chown(who, path, gid=2000)


def _truncate(who: Principal, path: str, _: bool) -> Callable[[Storage], object]:
    return lambda storage: storage.truncate(who, path, 2)


operations = st.lists(
    st.one_of(
        st.builds(_mkdir, users, paths, modes),
        st.builds(_mkdir, users, paths, modes),
        st.builds(_write, users, paths, st.booleans()),
        st.builds(_aborted, users, paths, st.booleans()),
        st.builds(_delete, users, paths, st.booleans()),
        st.builds(_rename, users, paths, paths),
        st.builds(_rename, users, paths, paths),
        st.builds(_symlink, users, paths, paths),
        st.builds(_chmod, users, paths, modes),
        st.builds(_chgrp, users, paths, st.booleans()),
        st.builds(_truncate, users, paths, st.booleans()),
    ),
    min_size=5,
    max_size=40,
)


@pytest.mark.parametrize("depth", [0, 1, 2])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=operations)
def test_the_records_tell_the_tree(
    depth: int, operations: list[Callable[[Storage], object]]
) -> None:
    """The tree that follows from the records is the tree that is there; numbers have no holes."""
    with tempfile.TemporaryDirectory() as folder:
        storage = history.open_storage(Path(folder), depth=depth)
        try:
            storage.chmod(SYSTEM, "/", 0o777)
            for operation in operations:
                with contextlib.suppress(OperationFailed):
                    operation(storage)
            told = history.records(storage)
            actual = history.actual(storage)
        finally:
            storage.close()
    assert actual == history.rebuild(record for record in told if record["path"] != "/")
    numbers: dict[str, list[int]] = defaultdict(list)
    for record in told:
        numbers[record["shard"]].append(record["number"])
    for found in numbers.values():
        assert found == list(range(1, len(found) + 1))
    for record in told:
        assert len(record["ancestors"]) == 18 * (len(record["permissions"].split(" ")) - 1)
        assert record["path"].count("/") == len(record["ancestors"]) // 18 or record["path"] == "/"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=operations)
def test_what_failed_is_not_told(operations: list[Callable[[Storage], object]]) -> None:
    """An operation that raises leaves neither a record nor a change."""
    with tempfile.TemporaryDirectory() as folder:
        storage = history.open_storage(Path(folder))
        try:
            storage.chmod(SYSTEM, "/", 0o777)
            for operation in operations:
                told, tree = len(history.records(storage)), history.actual(storage)
                try:
                    operation(storage)
                except OperationFailed:
                    after = history.actual(storage)
                    # removing a tree is several operations, the last of which failed
                    if set(after) == set(tree):
                        assert after == tree
                        assert len(history.records(storage)) == told
        finally:
            storage.close()
