"""Which shards a subscription's events may be in."""

from __future__ import annotations

import pytest

from api import channels
from pipeline.event_types.base import Watch

INODE = b"\1" * 18


def place(path: str, *, depth: int, directory: bool = True) -> channels.Place:
    """Return a place in a storage `sim` with that shard depth."""
    parts = path.strip("/").split("/")[:depth] if path != "/" else []
    shard = "/".join(["sim", *parts])
    return channels.Place(
        inode=INODE,
        is_directory=directory,
        shard=shard,
        positions={"sim": 3, "sim/data": 7, "sim/home": 9},
        path=path,
        ancestors=b"",
        permissions="0:0:755",
        shard_depth=depth,
    )


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize(
    ("path", "depth", "spans"),
    [
        ("/", 0, False),
        ("/", 1, True),
        ("/data", 1, False),
        ("/data", 2, True),
        ("/data/exp", 1, False),
        ("/data/exp", 2, False),
    ],
)
def test_a_directory_above_the_shards_is_told_by_all_of_them(
    path: str, depth: int, *, spans: bool, recursive: bool
) -> None:
    """Entries of such a directory are in shards of their own, with or without recursion."""
    where = place(path, depth=depth)
    made = channels.namespace_subscription(
        "inotify", {"path": path}, Watch(path=path, recursive=recursive), where, "http://h/c"
    )
    assert (made.shard == "") == spans
    assert made.since == (where.positions if spans else {where.shard: made.since[where.shard]})


def test_a_file_is_in_one_shard() -> None:
    """A file has no entries, so its own shard tells all."""
    assert not channels.spans_shards(place("/a", depth=2, directory=False))
