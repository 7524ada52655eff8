"""A recursive watch against as many kernel watches as there are directories below.

After each operation, while nothing else happens, every directory below is given a kernel watch of
its own and every other directory loses it: that is what a program cannot do without a race, and
what the storage does for it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import inotify_simple
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipeline.event_types.inotify import EVENT_TYPE
from schemas import vocabulary
from storage_sim.core import SYSTEM
from tests.conformance.kernel import operations as op
from tests.conformance.kernel.linux import Linux, fast_folder
from tests.conformance.kernel.storage import BASE, Simulated
from tests.conformance.kernel.test_against_linux import error_of
from tests.conformance.kernel.told import Told

FOLDER = fast_folder()
CHANGES = st.lists(
    op.OPERATIONS.filter(lambda operation: not isinstance(operation, op.AddWatch)),
    min_size=1,
    max_size=30,
)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=5000)


class Subtree:
    """Kernel watches on a directory and on each directory below, wherever it is moved to."""

    def __init__(self, base: Path, top: Path) -> None:
        self._base = base
        self._top = top.stat().st_ino
        self._inotify = inotify_simple.INotify()
        self._below: dict[int, str] = {}
        self.follow()

    def close(self) -> None:
        self._inotify.close()

    def follow(self) -> None:
        """Watch what is below now, and nothing else."""
        top = next(
            (
                folder
                for folder, _, _ in os.walk(self._base)
                if Path(folder).stat().st_ino == self._top
            ),
            None,
        )
        now: dict[int, str] = {}
        for folder, _, _ in os.walk(top) if top else ():
            wd = self._inotify.add_watch(
                folder, vocabulary.IN_ALL_EVENTS | vocabulary.IN_DONT_FOLLOW
            )
            now[wd] = os.path.relpath(folder, top)
        for wd in self._below.keys() - now.keys():
            try:
                self._inotify.rm_watch(wd)
            except OSError:  # its directory is gone, and the watch with it
                continue
        self._below = now
        self._inotify.read(timeout=0)

    def told(self) -> list[Told]:
        """Return what a recursive watch should have been told since `follow`."""
        seen: dict[Told, None] = {}
        for event in self._inotify.read(timeout=0):
            where = self._below[event.wd]
            if event.mask & vocabulary.IN_IGNORED:
                continue
            if event.name:
                name = os.path.normpath(os.path.join(where, event.name))  # noqa: PTH118
                seen[Told(1, event.mask, name, bool(event.cookie))] = None
            elif where == ".":
                seen[Told(1, event.mask, "", bool(event.cookie))] = None
        return list(seen)


def compare(top: str, sequence: list[op.Operation], *, shard_depth: int) -> None:
    """Run a sequence on both, with one recursive watch."""
    folder = Path(tempfile.mkdtemp(prefix="recursive-", dir=FOLDER))
    base = folder / "real" / "t"
    base.mkdir(parents=True)
    linux = Linux(base)
    here = Simulated(folder / "simulated", shard_depth=shard_depth)
    try:
        for operation in op.START:
            linux.run(operation)
            here.run(operation, None)
        here.messages()
        subtree = Subtree(base, base / top)
        path = f"{BASE}/{top}".rstrip("/")
        inode = here.storage.stat(SYSTEM, path).found.id
        here.watches[inode] = (1, EVENT_TYPE.parse({"path": path, "recursive": True}))
        for operation in sequence:
            if isinstance(operation, op.SetXattr | op.RemoveXattr) and not linux.has_xattrs:
                continue
            _, linux_error = error_of(operation, lambda: linux.run(operation))  # noqa: B023
            _, here_error = error_of(operation, lambda: here.run(operation, None))  # noqa: B023
            assert bool(linux_error) == bool(here_error), operation
            expected = subtree.told()
            told = [event for event in here.told() if not event.mask & vocabulary.IN_IGNORED]
            note(f"{operation}\n  Linux {linux_error} {expected}\n  here  {here_error} {told}")
            if shard_depth:
                expected, told = sorted(expected), sorted(told)
            assert told == expected, operation
            if inode not in here.watches:
                break
            subtree.follow()
        subtree.close()
    finally:
        linux.close()
        here.close()
        shutil.rmtree(folder)


TOPS = st.sampled_from(["", "a", "a/a", "b"])


@QUICK
@given(TOPS, CHANGES, st.sampled_from([0, 2]))
def test_a_recursive_watch_is_a_watch_on_each_directory(
    top: str, sequence: list[op.Operation], shard_depth: int
) -> None:
    """Everything with a name from anywhere below, as path below, from the first instant."""
    compare(top, sequence, shard_depth=shard_depth)


@pytest.mark.conformance
@pytest.mark.timeout(7200)
@LONG
@given(TOPS, CHANGES, st.sampled_from([0, 2]))
def test_a_recursive_watch_is_a_watch_on_each_directory_always(
    top: str, sequence: list[op.Operation], shard_depth: int
) -> None:
    """The long form."""
    compare(top, sequence, shard_depth=shard_depth)
