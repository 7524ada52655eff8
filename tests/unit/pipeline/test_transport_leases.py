"""Offsets are committed as far as everything is done, and never beyond."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.transport.leases import Chunk, Lease


def records(first: int, last: int) -> list[Any]:
    return [SimpleNamespace(offset=n, key=b"k", value=b"value") for n in range(first, last + 1)]


def deliver(lease: Lease, first: int, last: int, settled: list[Chunk] | None = None) -> Chunk:
    return lease.deliver(records(first, last), (settled if settled is not None else []).append)


def test_nothing_done_is_nothing_to_commit() -> None:
    lease = Lease("t", 0, 0)
    assert lease.committable() is None
    deliver(lease, 0, 9)
    assert lease.committable() is None


def test_a_chunk_in_flight_at_the_head_holds_everything_after_it() -> None:
    """Faust 0.15 commits one too many here: its issue 606."""
    lease = Lease("t", 0, 0)
    first, second, third = (deliver(lease, n, n + 9) for n in (0, 10, 20))
    third.finish()
    second.finish()
    assert lease.committable() is None
    first.finish()
    assert lease.committable() == 30


def test_a_confirmed_commit_is_not_made_again_and_a_failed_one_is() -> None:
    lease = Lease("t", 0, 0)
    deliver(lease, 0, 4).finish()
    assert lease.committable() == 5
    assert lease.committable() == 5
    lease.committed(5)
    assert lease.committable() is None
    deliver(lease, 7, 8).finish()  # 5 and 6 are a transaction's markers
    assert lease.committable() == 9


def test_an_abandoned_chunk_is_never_committed() -> None:
    lease = Lease("t", 0, 0)
    settled: list[Chunk] = []
    first = deliver(lease, 0, 4, settled)
    deliver(lease, 5, 9, settled).finish()
    first.abandon()
    assert lease.committable() is None
    assert len(settled) == 2


def test_chunks_of_an_ended_lease_are_not_begun_but_what_was_begun_counts() -> None:
    lease = Lease("t", 0, 0)
    begun, waiting = deliver(lease, 0, 4), deliver(lease, 5, 9)
    assert begun.take()
    lease.end()
    assert not waiting.take()
    assert lease.is_in_work
    begun.finish()
    assert not lease.is_in_work
    assert lease.committable() == 5


def test_what_was_handed_out_before_is_left_out() -> None:
    """A fetch that was under way during the seek may bring it again."""
    lease = Lease("t", 0, 0)
    deliver(lease, 0, 9)
    assert [r.offset for r in lease.fitting(records(5, 11)) or ()] == [10, 11]
    assert lease.fitting(records(2, 9)) == []
    assert [r.offset for r in lease.fitting(records(10, 11)) or ()] == [10, 11]


def test_where_a_fetch_is_missing_it_is_sought_once() -> None:
    """If it is not there then, it never was: compaction, retention, transaction markers."""
    lease = Lease("t", 0, 100)
    assert lease.fitting(records(110, 112)) is None
    assert [r.offset for r in lease.fitting(records(110, 112)) or ()] == [110, 111, 112]
    deliver(lease, 110, 112)
    assert lease.fitting(records(114, 115)) is None


def test_a_chunk_is_settled_once_and_knows_its_size() -> None:
    settled: list[Chunk] = []
    chunk = deliver(Lease("t", 3, 1), 1, 2, settled)
    chunk.finish()
    chunk.abandon()
    chunk.finish()
    assert settled == [chunk]
    assert (chunk.size_bytes, chunk.partition, chunk.topic) == (12, 3, "t")
    assert chunk.next_offset == 3


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    commits=st.sets(st.integers(0, 11)),
)
def test_the_commit_is_always_the_longest_done_prefix(
    sizes: list[int], order: Any, commits: set[int]
) -> None:
    """Whatever the order of finishing, and whenever commits happen."""
    lease = Lease("t", 0, 0)
    chunks = []
    offset = 0
    for size in sizes:
        chunks.append(deliver(lease, offset, offset + size - 1))
        offset += size
    finishing = list(chunks)
    order.shuffle(finishing)
    committed = 0
    for step, chunk in enumerate(finishing):
        chunk.finish()
        if step in commits:
            prefix = 0
            for one in chunks:
                if not one.is_finished:
                    break
                prefix = one.next_offset
            offset_now = lease.committable()
            assert offset_now == (prefix if prefix != committed else None)
            if offset_now is not None:
                lease.committed(offset_now)
                committed = offset_now
    last = lease.committable()
    assert (committed if last is None else last) == offset
