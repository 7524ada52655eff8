"""`may_see` with ACLs against the kernel's own lists on a real tree."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipeline.authz import scope
from pipeline.authz.principal import Principal
from tests.conformance.kernel.posix_acls import PosixAcl
from tests.conformance.kernel.test_permissions import (
    IDS,
    USERS,
    as_user,
    lists_and_looks,
    pytestmark,  # noqa: F401 - they need the same
    reads,
)

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=3000)

_RIGHTS = st.integers(0, 7)
_NAMED = st.dictionaries(IDS, _RIGHTS, max_size=3)
# with an empty mask Linux does not look at the list at all: who is named counts as others there
_MASKS = st.integers(1, 7)
ACLS = st.builds(PosixAcl, _RIGHTS, _NAMED, _RIGHTS, _NAMED, _MASKS, _RIGHTS)
OWNED = st.tuples(IDS, IDS, ACLS)


def compare(
    directory: tuple[int, int, PosixAcl],
    file: tuple[int, int, PosixAcl],
    users: list[tuple[int, list[int]]],
) -> None:
    """Make a directory with a file in it, and ask as each user."""
    base = Path(tempfile.mkdtemp(prefix="acls-"))
    try:
        base.chmod(0o755)
        places = (base / "d", base / "d" / "object")
        places[0].mkdir()
        places[1].touch()
        for place, (uid, gid, acl) in reversed(list(zip(places, (directory, file), strict=True))):
            os.chown(place, uid, gid)
            acl.put(place)
        permissions = scope.join(
            ["0:0:755", *(scope.permission(uid, gid, 0, acl.acl()) for uid, gid, acl in
                          (directory, file))]
        )  # fmt: skip
        for uid, gids in users:
            who = Principal("x", uid, tuple(gids))
            named = scope.may_see(who, scope.named_scope(permissions))
            own = scope.may_see(who, scope.own_scope(permissions))
            note(f"{permissions} {uid} {gids}: named {named}, own {own}")
            assert named == as_user(uid, gids, lambda: lists_and_looks(places[0], "object"))
            assert own == as_user(uid, gids, lambda: reads(places[1]))
    finally:
        shutil.rmtree(base)


def test_the_file_system_has_lists() -> None:
    """Else the others would compare nothing."""
    with tempfile.NamedTemporaryFile() as file:
        PosixAcl(6, {60_001: 4}, 0, {}, 7, 0).put(Path(file.name))


@QUICK
@given(OWNED, OWNED, USERS)
def test_may_see_is_what_the_kernels_lists_allow(
    directory: tuple[int, int, PosixAcl],
    file: tuple[int, int, PosixAcl],
    users: list[tuple[int, list[int]]],
) -> None:
    """Owner, named users, groups together, others."""
    compare(directory, file, users)


@pytest.mark.conformance
@pytest.mark.timeout(7200)
@LONG
@given(OWNED, OWNED, USERS)
def test_may_see_is_what_the_kernels_lists_allow_always(
    directory: tuple[int, int, PosixAcl],
    file: tuple[int, int, PosixAcl],
    users: list[tuple[int, list[int]]],
) -> None:
    """The long form."""
    compare(directory, file, users)
