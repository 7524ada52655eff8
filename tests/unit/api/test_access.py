"""What a change of a directory means for a subscription below it."""

from __future__ import annotations

from typing import Any

from api import access
from api.channels import Subscription
from pipeline.authz.principal import Restrictions
from pipeline.event_types.base import Watch
from tests.builders import inode, inodes, principal


def subscription(**changes: Any) -> Subscription:
    made = Subscription(
        id="x",
        event_type="inotify",
        url="u",
        selector={},
        watch=Watch(),
        inode=inode(4),
        path="/a/b/c",
        ancestors=inodes(1, 2, 3),
        permissions="0:0:755 0:0:755 0:0:755 0:0:755",
        shard="sim",
    )
    return made.replace(**changes)


def message(number: int, **changes: Any) -> dict[str, Any]:
    made = {
        "kind": "SETATTR",
        "inode": inode(number),
        "permissions": "0:0:755 0:0:700",
        "ancestors": inodes(1),
        "path": "/a",
    }
    return {**made, **changes}


def test_a_closed_directory_above_takes_access_away() -> None:
    after = access.after_change(subscription(), message(2))
    assert after.permissions == "0:0:755 0:0:700 0:0:755 0:0:755"
    assert access.is_allowed(principal(1000), subscription())
    assert not access.is_allowed(principal(1000), after)
    assert access.is_allowed(principal(0), after)


def test_execute_alone_is_enough_above_and_not_enough_on_the_watched_directory() -> None:
    above = subscription(permissions="0:0:755 0:0:711 0:0:755 0:0:755")
    itself = subscription(permissions="0:0:755 0:0:755 0:0:755 0:0:711")
    assert access.is_allowed(principal(1000), above)
    assert not access.is_allowed(principal(1000), itself)


def test_a_watched_file_must_be_readable() -> None:
    made = subscription(is_directory=False, permissions="0:0:755 0:0:755 0:0:711 0:0:600")
    assert not access.is_allowed(principal(1000), made)
    assert access.is_allowed(principal(1000), made.replace(permissions="0:0:711 7:7:711 0:0:604"))


def test_a_token_that_does_not_reach_the_path_takes_access_away() -> None:
    narrow = principal(1000, restrictions=Restrictions(path="/a/x"))
    assert not access.is_allowed(narrow, subscription())
    upload = principal(1000, restrictions=Restrictions(activities=frozenset({"UPLOAD"})))
    assert not access.is_allowed(upload, subscription())


def test_a_moved_directory_above_takes_the_subscription_with_it() -> None:
    moved = message(
        3,
        kind="RENAME",
        permissions="0:0:755 0:0:700 0:0:755",
        ancestors=inodes(1, 9),
        path="/z/new",
    )
    after = access.after_change(subscription(), moved)
    assert after.path == "/z/new/c"
    assert after.ancestors == inodes(1, 9, 3)
    assert after.permissions == "0:0:755 0:0:700 0:0:755 0:0:755"


def test_the_watched_directory_itself_moves() -> None:
    moved = message(
        4, kind="RENAME", permissions="0:0:755 0:0:750", ancestors=inodes(1), path="/top"
    )
    after = access.after_change(subscription(), moved)
    assert (after.path, after.ancestors) == ("/top", inodes(1))
    assert after.permissions == "0:0:755 0:0:750"


def test_what_is_not_above_changes_nothing() -> None:
    made = subscription()
    assert access.after_change(made, message(77)) is made
