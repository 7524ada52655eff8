from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.authz import acl, checks, scope
from pipeline.authz.principal import Restrictions
from schemas.errors import BadRecord
from tests.builders import principal
from tests.strategies import IDS, PERMISSIONS, PRINCIPALS

if TYPE_CHECKING:
    from pipeline.authz.principal import Principal

PATHS = st.lists(PERMISSIONS, min_size=2, max_size=6)
NEEDS = st.sampled_from(["r", "w", "x", "rx", "wx", "rwx"])


def naive_allows(who: Principal, text: str, needs: str) -> bool:
    """Decide as the page "The seams" says it, word by word."""
    if who.uid == 0 or "admin" in who.roles:
        return True
    numbers, _, entries = text.partition("|")
    uid, gid, mode = numbers.split(":")
    in_group = int(gid) in who.gids
    digit = int(mode, 8) >> (6 if who.uid == int(uid) else 3 if in_group else 0) & 7
    verdict: dict[str, bool] = {}
    for kind, flags, name, rights in (e.split(":") for e in entries.split(",") if e):
        named = (
            name == "EVERYONE@"
            or (name == "OWNER@" and who.uid == int(uid))
            or (name == "GROUP@" and in_group)
            or name == f"u={who.uid}"
            or name in {f"g={g}" for g in who.gids}
        )
        if named and "i" not in flags:
            for right in rights:
                verdict.setdefault(right, kind == "A")
    bits = {"r": 4, "w": 2, "x": 1}
    return all(verdict.get(right, bool(digit & bits[right])) for right in needs)


@given(PRINCIPALS, PERMISSIONS, NEEDS)
def test_allows_is_what_the_seams_say(who: Principal, text: str, needs: str) -> None:
    """The quick decision equals the slow one."""
    assert scope.allows(who, text, needs) == naive_allows(who, text, needs)


@given(PRINCIPALS, PATHS)
def test_a_named_scope_decides_as_the_whole_path(who: Principal, path: list[str]) -> None:
    """Leaving out what is open, and merging, changes no decision about an event with a name."""
    *above, parent, _ = path
    expected = all(naive_allows(who, text, "x") for text in above)
    expected = expected and naive_allows(who, parent, "rx")
    assert scope.may_see(who, scope.named_scope(scope.join(path))) == expected


@given(PRINCIPALS, PATHS)
def test_an_own_scope_decides_as_the_whole_path(who: Principal, path: list[str]) -> None:
    """The same for an event of the object itself."""
    *above, own = path
    expected = all(naive_allows(who, text, "x") for text in above)
    expected = expected and naive_allows(who, own, "r")
    assert scope.may_see(who, scope.own_scope(scope.join(path))) == expected


@given(PRINCIPALS, PATHS, st.integers(0, 5))
def test_a_recursive_scope_asks_for_reading_what_is_between(
    who: Principal, path: list[str], depth: int
) -> None:
    """A recursive watch learns names only in directories that its owner may list."""
    permissions = scope.join(path)
    needed = scope.recursive_scope(
        scope.named_scope(permissions), scope.unlisted(permissions), depth
    )
    *above, parent, _ = path
    expected = all(
        naive_allows(who, text, "rx" if index >= depth else "x")
        for index, text in enumerate(above)
    )
    expected = expected and naive_allows(who, parent, "rx")
    assert scope.may_see(who, needed) == expected


@given(PATHS, PRINCIPALS)
def test_the_empty_scope_is_open_to_everybody(path: list[str], who: Principal) -> None:
    """A scope is empty only if nobody at all is refused."""
    if scope.named_scope(scope.join(path)) == scope.OPEN:
        *above, parent, _ = path
        assert all(naive_allows(who, text, "x") for text in above)
        assert naive_allows(who, parent, "rx")


@given(PRINCIPALS, PATHS, IDS, st.sampled_from([0o400, 0o40, 0o4, 0o100, 0o10, 0o1]))
def test_granting_a_bit_to_all_classes_never_hides(
    who: Principal, path: list[str], at: int, bits: int
) -> None:
    """More rights for every class never take a right away."""
    index = at % len(path)
    of = checks.parse(path[index])
    everywhere = 0o111 if bits in {0o100, 0o10, 0o1} else 0o444
    wider = scope.permission(of.uid, of.gid, of.mode | everywhere, acl.acl_text(of.acl))
    changed = [*path[:index], wider, *path[index + 1 :]]
    before = scope.may_see(who, scope.named_scope(scope.join(path)))
    assert not before or scope.may_see(who, scope.named_scope(scope.join(changed)))


@given(PRINCIPALS, PATHS, PERMISSIONS)
def test_one_more_directory_never_shows_more(who: Principal, path: list[str], more: str) -> None:
    """What is deeper is seen by no more people."""
    shallow = scope.may_see(who, scope.own_scope(scope.join(path)))
    deep = scope.may_see(who, scope.own_scope(scope.join([more, *path])))
    assert shallow or not deep


@pytest.mark.parametrize(
    ("uid", "gids", "text", "needs", "allowed"),
    [
        (1, (1,), "1:1:077", "r", False),
        (2, (1,), "1:1:707", "r", False),
        (2, (9, 1), "1:1:750", "rx", True),
        (2, (2,), "1:1:751", "x", True),
        (2, (2,), "1:1:751", "rx", False),
        (0, (0,), "1:1:000", "rwx", True),
        (2, (2,), "1:1:700|A::u=2:rx", "rx", True),
        (2, (2,), "1:1:777|D::u=2:r", "r", False),
        (2, (2,), "1:1:777|D::u=2:r", "x", True),
        (2, (3,), "1:1:700|D::u=2:r,A::g=3:r", "r", False),
        (2, (3,), "1:1:700|A::g=3:r,D::u=2:r", "r", True),
        (1, (1,), "1:1:700|D::OWNER@:r", "r", False),
        (2, (1,), "1:1:700|A::GROUP@:r", "r", True),
        (2, (2,), "1:1:700|A:fi:EVERYONE@:r", "r", False),
    ],
)
def test_examples(uid: int, gids: tuple[int, ...], text: str, needs: str, allowed: bool) -> None:
    """The first class that fits decides; ACL entries come first."""
    assert scope.allows(principal(uid, *gids), text, needs) is allowed


@pytest.mark.parametrize(
    ("permissions", "named", "own"),
    [
        ("0:0:755 0:0:755 5:5:600", "", "r=5:5:600"),
        ("0:0:755 5:5:750 5:5:644", "rx=5:5:750", "x=5:5:750"),
        ("0:0:755 5:5:711 5:5:755 5:5:644", "", ""),
        ("5:5:700 5:5:700 5:5:700", "rx=5:5:700", "rx=5:5:700"),
        ("0:0:755|D::u=5:x 0:0:755 0:0:644", "x=0:0:755|D::u=5:x", "x=0:0:755|D::u=5:x"),
        ("0:0:700|A::EVERYONE@:rx 0:0:755 0:0:644", "", ""),
    ],
)
def test_scopes_are_short(permissions: str, named: str, own: str) -> None:
    """What everybody passes is left out, what is asked twice is asked once."""
    assert scope.named_scope(permissions) == named
    assert scope.own_scope(permissions) == own


@pytest.mark.parametrize("text", ["", "1:2", "a:b:c", "1:2:9", "1:2:755|X", "1:2:755:4"])
def test_what_is_no_permission_is_refused(text: str) -> None:
    """A record with a bad permission is a bad record, never an open one."""
    with pytest.raises(BadRecord):
        scope.own_scope(text)


def test_the_root_has_no_parent_to_tell() -> None:
    """There is no event with a name about the root."""
    with pytest.raises(BadRecord, match="parent"):
        scope.named_scope("0:0:755")


@pytest.mark.parametrize(
    ("uid", "directory", "entry", "may"),
    [
        (1, "0:0:1777", "1:1:600", True),
        (2, "0:0:1777", "1:1:600", False),
        (2, "2:0:1777", "1:1:600", True),
        (0, "0:0:1777", "1:1:600", True),
        (2, "0:0:777", "1:1:600", True),
        (2, "0:0:755", "2:2:600", False),
    ],
)
def test_a_sticky_directory_protects_its_entries(
    uid: int, directory: str, entry: str, may: bool
) -> None:
    """In a sticky directory only owners remove: of the entry, or of the directory."""
    assert scope.may_remove(principal(uid), directory, entry) is may


def test_decisions_are_shared_by_equals_and_bounded() -> None:
    """Principals with the same rights share a memory, which does not grow without end."""
    one, same, other = principal(7, 8), principal(7, 8, home="/x"), principal(7, 9)
    assert one.decisions is same.decisions
    assert one.decisions is not other.decisions
    for number in range(5000):
        scope.may_see(one, f"r={number + 10}:1:600")
    assert len(one.decisions) <= 1024


def test_a_role_changes_what_is_remembered() -> None:
    """An administrator's decisions are never taken for those of the same user without the role."""
    needed = "r=1:1:600"
    assert scope.may_see(principal(7, 8, roles=frozenset({"admin"})), needed)
    assert not scope.may_see(principal(7, 8), needed)


def test_what_a_channel_belongs_to_tells_rights_apart() -> None:
    """The user, the token's restrictions, the admin role; nothing else."""
    plain, root = principal(1000, 7), principal(0)
    admin = principal(1000, roles=frozenset({"admin"}))
    narrow = principal(1000, restrictions=Restrictions(path="/data"))
    owners = [one.owner_key for one in (plain, admin, narrow)]
    assert owners[:2] == ["1000", "1000#admin"]
    assert len(set(owners)) == 3
    assert principal(0, roles=frozenset({"admin"})).owner_key == root.owner_key == "0"
    ends = principal(1000, restrictions=Restrictions(expires_s=1.0))
    assert ends.owner_key == plain.owner_key
    for rights in (Restrictions(addresses=(("192.0.2.0/24",),)), Restrictions(groups=("/exp",))):
        assert not rights.confines
        assert principal(1000, restrictions=rights).owner_key not in owners
