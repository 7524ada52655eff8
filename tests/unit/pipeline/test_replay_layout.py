"""What a batch writes to the replay log: every message where its readers look, and no less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pipeline.replay import layout
from pipeline.replay.log import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT, *INODES = [bytes([n]) * 18 for n in range(8)]
PATHS = st.lists(st.sampled_from(INODES), max_size=4, unique=True).map(lambda rest: [ROOT, *rest])


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    """Messages of two shards: told to parents, to themselves, to neither."""
    made = []
    for number in range(1, draw(st.integers(1, 12))):
        ancestors = draw(PATHS | st.just([]))
        source = draw(PATHS | st.just([]))
        told = [path[-1] for path in (source, ancestors) if path and draw(st.booleans())]
        told += draw(st.lists(st.sampled_from(INODES), max_size=2))
        value = b"x" * draw(st.sampled_from([1, 9000]))
        watched, above = b"".join(told), b"".join([*ancestors, *source])
        made.append(Entry(draw(st.sampled_from("ab")), number, watched, above, value))
    return made


def places(plan: layout.Plan) -> dict[bytes, list[int]]:
    """The numbers of the messages at each key."""
    found: dict[bytes, list[int]] = {}
    for key, blob in plan.pushes:
        if key[:1] != b"r":
            found.setdefault(key, []).extend(number for number, _ in layout.messages(blob))
    return found


def refs(plan: layout.Plan) -> dict[tuple[bytes, bytes], list[tuple[int, bytes]]]:
    """For each bucket and tag the numbers and places it names."""
    found: dict[tuple[bytes, bytes], list[tuple[int, bytes]]] = {}
    for key, blob in plan.pushes:
        if key[:1] == b"r":
            for at in range(8, len(blob), 31):
                ref = int.from_bytes(blob[at : at + 8]), blob[at + 12 : at + 31]
                found.setdefault((key, blob[at + 8 : at + 12]), []).append(ref)
    return found


@given(entries())
def test_each_reader_finds_what_it_is_told(made: Sequence[Entry]) -> None:
    """A watcher of a directory at its place or by its refs, a recursive one by the index."""
    plan = layout.plan(made, {})
    at, named, index = places(plan), refs(plan), layout.index(plan.trails)
    for numbers in at.values():
        assert numbers == sorted(numbers)
    for shard, number, watched, ancestors, _ in (one for one in made if one.watched):
        above = layout.split_ids(ancestors)
        for inode in layout.split_ids(watched):
            bucket = layout.key(shard, layout.bucket(b"r", inode)), layout.tag(inode)
            found = [place for other, place in named.get(bucket, ()) if other == number]
            found += [layout.directory(inode)] if inode in above else []
            assert found
            assert all(number in at[layout.key(shard, place)] for place in found)
        for inode in above:
            key = layout.key(shard, b"i" + inode)
            below = [p for (k, p), last in index.items() if k == key and last >= number]
            assert any(number in at[layout.key(shard, place)] for place in below)


@given(entries(), st.integers(0, 12))
def test_what_is_at_or_below_the_mark_drops_out(made: Sequence[Entry], mark: int) -> None:
    """The same batch again writes nothing; a part of it only the rest."""
    plan = layout.plan(made, {"a": mark, "b": mark})
    wanted, at = {}, places(plan)
    for shard in "ab":
        numbers = [one.number for one in made if one.shard == shard and one.number > mark]
        if numbers:
            wanted[shard] = layout.Numbers(mark, numbers[0], numbers[-1])
        told = {n for key, found in at.items() for n in found if key[2:3] == shard.encode()}
        assert told <= set(numbers)
    assert plan.shards == wanted
