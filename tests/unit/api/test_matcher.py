"""The matcher finds exactly what looking at every watch would find."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.matcher import Matcher, split
from pipeline.event_types.base import Watch
from tests.builders import inode, inodes

few = st.integers(0, 6)
watches = st.builds(Watch, mask=st.integers(0, 2), recursive=st.booleans())
members = st.lists(st.tuples(few, watches), max_size=30)


def head(watched: list[int], ancestors: list[int], source: list[int]) -> Any:
    return {
        "shard": "s",
        "number": 1,
        "watched": inodes(*watched),
        "ancestors": inodes(*ancestors),
        "source_ancestors": inodes(*source),
    }


@given(members, st.lists(few, max_size=4), st.lists(few, max_size=4), st.lists(few, max_size=4))
def test_found_is_what_every_single_watch_would_say(
    made: Any, watched: list[int], ancestors: list[int], source: list[int]
) -> None:
    matcher: Matcher[int] = Matcher()
    for key, (number, watch) in enumerate(made):
        matcher.add(inode(number), watch, key, key)
    above = {*watched, *ancestors, *source}
    wanted = sorted(
        key
        for key, (number, watch) in enumerate(made)
        if number in watched or (watch.recursive and number in above)
    )
    found = matcher.find(head(watched, ancestors, source))
    assert sorted(one for group in found for one in group.members) == wanted
    assert len({id(group) for group in found}) == len(found)


@given(members, st.data())
def test_what_is_taken_out_is_not_found_and_leaves_nothing(made: Any, data: st.DataObject) -> None:
    matcher: Matcher[int] = Matcher()
    for key, (number, watch) in enumerate(made):
        matcher.add(inode(number), watch, key, key)
    order = data.draw(st.permutations(range(len(made))))
    for left, key in enumerate(order, start=1):
        number, watch = made[key]
        matcher.remove(inode(number), watch, key)
        matcher.remove(inode(number), watch, key)
        assert len(matcher) == len(made) - left
    assert matcher.find(head([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [])) == []


def test_watches_without_an_inode_are_always_asked() -> None:
    matcher: Matcher[str] = Matcher()
    matcher.add(b"", Watch(), 1, "me")
    assert [group.members for group in matcher.find(head([1], [], []))] == [{1: "me"}]


def test_joined_inodes_are_split() -> None:
    assert split(inodes(1, 2, 3)) == [inode(1), inode(2), inode(3)]
    assert split(b"") == []
