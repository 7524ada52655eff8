from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from storage_sim.errors import OperationFailed
from tests.conformance.kernel import operations as op
from tests.conformance.kernel.linux import Linux, fast_folder
from tests.conformance.kernel.storage import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conformance.kernel.told import Told

SEQUENCES = st.lists(op.OPERATIONS, min_size=1, max_size=30)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FOLDER = fast_folder()
LONG = settings(QUICK, max_examples=10_000)


def in_one_order(linux: Sequence[Told], here: Sequence[Told]) -> bool:
    """Whether all watches together were told the same, in the same order."""
    return list(linux) == list(here)


def each_in_its_order(linux: Sequence[Told], here: Sequence[Told]) -> bool:
    """Whether each watch was told the same, in the same order."""
    watches = {told.watch for told in (*linux, *here)}
    return all(
        [told for told in linux if told.watch == watch]
        == [told for told in here if told.watch == watch]
        for watch in watches
    )


def error_of(operation: op.Operation, run: Callable[[], object]) -> tuple[object, int]:
    """Run it; return its result and the error number, or 0."""
    try:
        return run(), 0
    except OSError as error:
        return None, error.errno or -1
    except OperationFailed as error:
        return None, error.code


def compare(
    sequence: Sequence[op.Operation],
    same: Callable[[Sequence[Told], Sequence[Told]], bool],
    *,
    shard_depth: int = 0,
) -> None:
    """Run a sequence on both, and compare after each operation."""
    folder = Path(tempfile.mkdtemp(prefix="kernel-", dir=FOLDER))
    (folder / "real" / "t").mkdir(parents=True)
    linux = Linux(folder / "real" / "t")
    here = Simulated(folder / "simulated", shard_depth=shard_depth)
    try:
        for operation in (*op.START, *sequence):
            if isinstance(operation, op.SetXattr | op.RemoveXattr) and not linux.has_xattrs:
                continue
            number, linux_error = error_of(operation, lambda: linux.run(operation))  # noqa: B023
            _, here_error = error_of(operation, lambda: here.run(operation, number))  # noqa: B023
            linux_told, here_told = linux.told(), here.told()
            note(f"{operation}\n  Linux {linux_error} {linux_told}")
            note(f"  here  {here_error} {here_told}")
            assert (linux_error == 0) == (here_error == 0), operation
            assert not (here_error and here_told), "what failed tells nothing"
            assert same(linux_told, here_told), operation
    finally:
        linux.close()
        here.close()
        shutil.rmtree(folder)


@QUICK
@given(SEQUENCES)
def test_watches_are_told_what_linux_tells(sequence: list[op.Operation]) -> None:
    """After each operation all watches were told the same events in the same order."""
    compare(sequence, in_one_order)


@QUICK
@given(SEQUENCES)
def test_with_shards_each_watch_is_told_what_linux_tells(sequence: list[op.Operation]) -> None:
    """With a shard for each top directory the order holds for each watch (across-shards)."""
    compare(sequence, each_in_its_order, shard_depth=2)


@pytest.mark.conformance
@pytest.mark.timeout(7200)
@LONG
@given(SEQUENCES)
def test_ten_thousand_sequences(sequence: list[op.Operation]) -> None:
    """The long form."""
    compare(sequence, in_one_order)


@pytest.mark.conformance
@pytest.mark.timeout(7200)
@LONG
@given(SEQUENCES)
def test_ten_thousand_sequences_with_shards(sequence: list[op.Operation]) -> None:
    """The long form, with shards."""
    compare(sequence, each_in_its_order, shard_depth=2)
