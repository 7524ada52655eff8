"""Hypothesis strategies for permissions: few numbers, so that users, groups and owners meet."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.authz import acl, scope
from pipeline.authz.principal import Principal

IDS = st.integers(1, 4)
_WHO = st.sampled_from(["OWNER@", "GROUP@", "EVERYONE@", "u=1", "u=2", "g=1", "g=2"])
_FLAGS = st.sampled_from(["", "f", "d", "fd", "fi", "di", "fdi", "fn", "dn", "fdn", "fdin"])
_RIGHTS = st.sampled_from(["r", "w", "x", "rx", "rw", "rwx"])

ACLS = (
    st.lists(st.builds(acl.Entry, st.booleans(), _FLAGS, _WHO, _RIGHTS), max_size=5)
    .map(tuple)
    .map(acl.acl_text)
)
PRINCIPALS = st.builds(
    lambda uid, gids, admin: Principal(
        "x", uid, tuple(gids), frozenset({"admin"} if admin else ())
    ),
    st.integers(0, 4),
    st.lists(IDS, max_size=3),
    st.booleans(),
)
PERMISSIONS = st.builds(
    scope.permission, IDS, IDS, st.integers(0, 0o7777), st.one_of(st.just(""), ACLS)
)
