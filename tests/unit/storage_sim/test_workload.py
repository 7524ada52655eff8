"""Workloads are the same for the same seed, and ask for nothing that is not there."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_sim import workload


def take(kind: str, seed: int, count: int) -> list[workload.Operation]:
    """Return the first operations of a stream."""
    return list(itertools.islice(workload.KINDS[kind]("/data/w", seed), count))


@pytest.mark.parametrize("kind", workload.KINDS)
def test_a_seed_decides(kind: str) -> None:
    """Equal for equal seeds, different for others."""
    assert take(kind, 1, 500) == take(kind, 1, 500)
    assert take(kind, 1, 500) != take(kind, 2, 500)


@pytest.mark.parametrize("kind", workload.KINDS)
@given(seed=st.integers(0, 1000))
def test_everything_is_there_when_its_turn_comes(kind: str, seed: int) -> None:
    """Parents exist, what is made anew is new, what is read, moved or deleted is there."""
    there = {"/data/w"}
    for operation in take(kind, seed, 400):
        path, parent = operation.path, operation.path.rpartition("/")[0]
        match operation.method:
            case "MKCOL":
                assert parent in there
                assert path not in there
                there.add(path)
            case "PUT":
                assert parent in there
                there.add(path)
            case "MOVE":
                assert path in there
                assert operation.target not in there
                assert operation.target.rpartition("/")[0] in there
                below = {name for name in there if (name + "/").startswith(path + "/")}
                there -= below
                there |= {operation.target + name[len(path) :] for name in below}
            case "GET":
                assert path in there
            case "DELETE":
                assert path in there
                there = {name for name in there if not (name + "/").startswith(path + "/")}
            case other:
                pytest.fail(other)
