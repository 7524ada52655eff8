"""`may_see` against what the kernel lets a user do with a real tree."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipeline.authz import scope
from pipeline.authz.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 and not os.environ.get("CI"),
        reason="only root can become the users whose rights are compared",
    )
]

IDS = st.sampled_from([60_001, 60_002, 60_003])
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=5000)


class Owned(NamedTuple):
    """Owner, group and mode of one object."""

    uid: int
    gid: int
    mode: int

    @property
    def permission(self) -> str:
        return scope.permission(self.uid, self.gid, self.mode)


OWNED = st.builds(Owned, IDS, IDS, st.integers(0, 0o777))
PATHS = st.lists(OWNED, min_size=2, max_size=4)
USERS = st.lists(
    st.tuples(st.one_of(st.just(0), IDS), st.lists(IDS, min_size=1, max_size=3, unique=True)),
    min_size=1,
    max_size=4,
)


def as_user(uid: int, gids: Sequence[int], look: Callable[[], bool]) -> bool:
    """Return what `look` returns in a child that is that user."""
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            os.setgroups(list(gids))
            os.setresgid(gids[0], gids[0], gids[0])
            os.setresuid(uid, uid, uid)
            answer = int(look())
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, 1}, "the child failed"
    return bool(code)


def lists_and_looks(directory: Path, name: str) -> bool:
    """Whether we may list a directory and look at an entry."""
    try:
        return name in os.listdir(directory) and bool(os.stat(directory / name))  # noqa: PTH116, PTH208
    except PermissionError:
        return False


def reads(path: Path) -> bool:
    """Whether we may read a file or list a directory."""
    return os.access(path, os.R_OK)


def compare(path: list[Owned], users: list[tuple[int, list[int]]], *, is_directory: bool) -> None:
    """Make the tree, and ask as each user."""
    base = Path(tempfile.mkdtemp(prefix="rights-"))
    try:
        base.chmod(0o755)
        *above, last = path
        places = [base]
        for number, _ in enumerate(above):
            places.append(places[-1] / f"d{number}")
            places[-1].mkdir()
        places.append(places[-1] / "object")
        places[-1].mkdir() if is_directory else places[-1].touch()
        for place, owned in zip(reversed(places), (last, *reversed(above)), strict=False):
            os.chown(place, owned.uid, owned.gid)
            place.chmod(owned.mode)
        permissions = scope.join(owned.permission for owned in path)
        for uid, gids in users:
            who = Principal("x", uid, tuple(gids))
            named = scope.may_see(who, scope.named_scope(permissions))
            own = scope.may_see(who, scope.own_scope(permissions))
            note(f"{permissions} {uid} {gids}: named {named}, own {own}")
            assert named == as_user(uid, gids, lambda: lists_and_looks(places[-2], "object"))
            assert own == as_user(uid, gids, lambda: reads(places[-1]))
    finally:
        shutil.rmtree(base)


@QUICK
@given(PATHS, USERS, st.booleans())
def test_may_see_is_what_the_kernel_allows(
    path: list[Owned], users: list[tuple[int, list[int]]], is_directory: bool
) -> None:
    """Who may list a directory sees events in it, who may read an object sees its own."""
    compare(path, users, is_directory=is_directory)


@pytest.mark.conformance
@pytest.mark.timeout(7200)
@LONG
@given(PATHS, USERS, st.booleans())
def test_may_see_is_what_the_kernel_allows_always(
    path: list[Owned], users: list[tuple[int, list[int]]], is_directory: bool
) -> None:
    """The long form."""
    compare(path, users, is_directory=is_directory)
