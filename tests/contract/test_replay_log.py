"""What every replay log promises: the one in Redis and its twin in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.replay import layout
from pipeline.replay.log import Batch, Entry, ReplayLog, Rewound
from pipeline.replay.memory_log import MemoryReplayLog
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

pytestmark = pytest.mark.stack


def inode(name: str) -> bytes:
    return name.encode().ljust(18, b".")


ROOT, DATA, EXP, RUN, OTHER = map(inode, ("root", "data", "exp", "run", "other"))


def entry(
    number: int,
    name: str = "f",
    *,
    ancestors: Sequence[bytes] = (ROOT, DATA, EXP),
    source: Sequence[bytes] = (),
    shard: str = "sim",
    size: int = 40,
) -> Entry:
    """One operation on file `name`: told to its parent (and old parent) and to itself."""
    parents = [path[-1] for path in (source, ancestors) if path]
    value = f"{shard}/{number}/{name}/".encode().ljust(size, b"x")
    watched = b"".join([*parents, inode(name)])
    return Entry(shard, number, watched, b"".join([*ancestors, *source]), value)


def batch(*entries: Entry, offset: int, partition: int = 0, follows: int | None = None) -> Batch:
    return Batch(partition, offset, entries, follows=follows)


@pytest.fixture(params=["memory", "redis"])
async def log(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[ReplayLog]:
    if request.param == "memory":
        yield MemoryReplayLog()
        return
    async with redis_log(request.getfixturevalue("redis_url"), redis_prefix) as made:
        yield made


class redis_log:  # noqa: N801 - used as a context manager only
    def __init__(self, url: str, prefix: str, **options: Any) -> None:
        self._url = url
        self._prefix = prefix
        self._options = {"max_age_s": 3600, "max_bytes": 2**30, **options}

    async def __aenter__(self) -> RedisReplayLog:
        redis = connect(self._url, timeout_s=5)
        self._log = RedisReplayLog(
            redis, prefix=self._prefix, event_type="inotify", **self._options
        )
        return self._log

    async def __aexit__(self, *_: object) -> None:
        redis = connect(self._url, timeout_s=5)
        async for key in redis.scan_iter(f"{self._prefix}*", count=1000):
            await redis.delete(key)
        await redis.aclose()
        await self._log.close()


async def numbers(
    log: ReplayLog,
    watched: Sequence[bytes] = (),
    below: Sequence[bytes] = (),
    *,
    after: int = 0,
    up_to: int = 10**9,
    shard: str = "sim",
) -> list[int]:
    found = [n async for chunk in log.read(shard, watched, below, after, up_to) for n, _ in chunk]
    assert found == sorted(set(found)), "ascending, each once"
    return found


async def test_a_log_that_was_never_written_has_nothing(log: ReplayLog) -> None:
    state = await log.state()
    assert (state.marks, state.floors, state.offsets) == ({}, {}, {})
    assert await numbers(log, [EXP]) == []
    assert await log.wait_for("sim", 1, 0.05) is False


async def test_what_was_appended_is_read_by_parent_and_by_the_object_itself(
    log: ReplayLog,
) -> None:
    await log.append([batch(entry(1, "a"), entry(2, "b"), entry(3, "a"), offset=3)])
    assert await numbers(log, [EXP]) == [1, 2, 3]
    assert await numbers(log, [inode("a")]) == [1, 3]
    assert await numbers(log, [inode("b"), inode("a")], after=1) == [2, 3]
    assert await numbers(log, [EXP], after=1, up_to=2) == [2]
    chunks = [m async for chunk in log.read("sim", [inode("b")], [], 0, 9) for m in chunk]
    assert chunks == [(2, entry(2, "b").value)]


async def test_another_directory_or_shard_is_not_read(log: ReplayLog) -> None:
    await log.append(
        [
            batch(
                entry(1, "a"),
                entry(2, "b", ancestors=(ROOT, DATA, OTHER)),
                entry(3, "a", shard="second"),
                offset=3,
            )
        ]
    )
    assert await numbers(log, [EXP]) == [1]
    assert await numbers(log, [OTHER]) == [2]
    assert await numbers(log, [EXP], shard="second") == [3]


async def test_a_recursive_read_finds_everything_below(log: ReplayLog) -> None:
    await log.append([batch(entry(1, "a"), offset=1)])
    await log.append([batch(entry(2, "b", ancestors=(ROOT, DATA, EXP, RUN)), offset=2)])
    await log.append([batch(entry(3, "c", ancestors=(ROOT, OTHER)), offset=3)])
    assert await numbers(log, below=[EXP]) == [1, 2]
    assert await numbers(log, below=[ROOT]) == [1, 2, 3]
    assert await numbers(log, below=[RUN]) == [2]
    assert await numbers(log, below=[DATA], after=1) == [2]
    assert await numbers(log, [OTHER], below=[RUN]) == [2, 3]


async def test_a_directory_of_its_own_events_is_told_by_a_recursive_read(log: ReplayLog) -> None:
    """RUN is renamed: its own parent is told, and RUN itself, which is not a parent here."""
    await log.append([batch(entry(1, "run"), offset=1)])
    assert await numbers(log, [inode("run")]) == [1]
    assert await numbers(log, below=[inode("run")]) == [1]


async def test_a_rename_is_found_in_both_directories_and_below_both(log: ReplayLog) -> None:
    moved = entry(1, "a", ancestors=(ROOT, DATA, EXP), source=(ROOT, OTHER))
    await log.append([batch(moved, offset=1)])
    assert await numbers(log, [EXP]) == [1]
    assert await numbers(log, [OTHER]) == [1]
    assert await numbers(log, [EXP, OTHER, inode("a")]) == [1]
    assert await numbers(log, below=[OTHER]) == [1]
    assert await numbers(log, below=[DATA]) == [1]
    assert await numbers(log, below=[ROOT]) == [1]


async def test_what_tells_no_directory_is_found_by_its_inode(log: ReplayLog) -> None:
    lonely = Entry("sim", 1, inode("a") + inode("b"), b"", b"value")
    await log.append([batch(lonely, offset=1)])
    assert await numbers(log, [inode("a")]) == [1]
    assert await numbers(log, [inode("b")]) == [1]
    orphan = Entry("sim", 2, inode("a"), ROOT + DATA, b"value")
    await log.append([batch(orphan, offset=2)])
    assert 2 in await numbers(log, below=[DATA])


async def test_only_the_inode_itself_is_found_whatever_looks_like_it(log: ReplayLog) -> None:
    """The bytes by which it is looked for may stand anywhere in what is about others."""
    tag = layout.tag(inode("a"))
    bucket = layout.bucket(b"r", inode("a"))
    same = [n for n in range(1000) if layout.bucket(b"r", inode(f"{n}")) == bucket][:4]
    misleading = [(5).to_bytes(8) + tag + b"." * 6, tag * 4 + b"..", b"." * 14 + tag]
    entries = [
        entry(number, f"{name}", ancestors=(ROOT, misleading[number % 3]))
        for number, name in enumerate(same, 1)
    ]
    entries += [entry(10, "a", ancestors=(ROOT, misleading[1])), entry(11, f"{same[0]}")]
    await log.append([batch(*entries, offset=11)])
    assert await numbers(log, [inode("a")]) == [10]
    assert await numbers(log, [inode(f"{same[0]}")]) == [1, 11]


async def test_repeats_are_dropped_whoever_writes_them(log: ReplayLog) -> None:
    await log.append([batch(entry(1), entry(2), offset=10)])
    await log.append([batch(entry(1), entry(2), entry(3), offset=11)])
    await log.append([batch(entry(3), entry(3), entry(2), entry(4), offset=12)])
    assert await numbers(log, [EXP]) == [1, 2, 3, 4]
    assert (await log.state()).marks == {"sim": 4}


async def test_a_batch_the_log_already_has_is_dropped_whole(log: ReplayLog) -> None:
    await log.append([batch(entry(5), offset=10)])
    await log.append([batch(entry(6), offset=10)])
    state = await log.state()
    assert state.marks == {"sim": 5}
    assert state.offsets == {0: 10}


async def test_marks_and_offsets_move_with_what_is_kept(log: ReplayLog) -> None:
    await log.append(
        [
            batch(entry(1), entry(7, shard="second"), offset=2, partition=3),
            batch(entry(1, shard="third"), offset=9, partition=5),
        ]
    )
    state = await log.state()
    assert state.marks == {"sim": 1, "second": 7, "third": 1}
    assert state.offsets == {3: 2, 5: 9}
    assert (await log.state(["second", "none"])).marks == {"second": 7}


async def test_a_batch_without_entries_moves_the_offset(log: ReplayLog) -> None:
    await log.append([batch(offset=4)])
    assert (await log.state()).offsets == {0: 4}
    await log.append([])


async def test_a_batch_that_follows_more_than_the_log_has_is_refused(log: ReplayLog) -> None:
    with pytest.raises(Rewound):
        await log.append([batch(entry(5), offset=6, follows=5)])
    await log.restart(0, 0, lossy=False)
    await log.append([batch(entry(1), offset=1, follows=0)])
    await log.append([batch(entry(2), offset=2, follows=1)])
    with pytest.raises(Rewound):
        await log.append([batch(entry(9), offset=10, follows=9)])
    assert await numbers(log, [EXP]) == [1, 2]


async def test_a_topic_made_anew_can_be_started_again(log: ReplayLog) -> None:
    await log.append([batch(entry(1), offset=100)])
    await log.restart(0, 0, lossy=False)
    await log.append([batch(entry(2), offset=1, follows=0)])
    assert await numbers(log, [EXP]) == [1, 2]


async def test_after_a_loss_the_floor_of_each_shard_is_before_its_next_message(
    log: ReplayLog,
) -> None:
    await log.append([batch(entry(3), offset=3)])
    await log.append([batch(entry(1, shard="elsewhere"), offset=1, partition=1)])
    await log.restart(0, 100, lossy=True)
    assert (await log.state()).floors == {}
    await log.append([batch(entry(50), entry(51), offset=102, follows=100)])
    await log.append([batch(entry(52), entry(7, shard="second"), offset=104, follows=102)])
    await log.append([batch(entry(2, shard="elsewhere"), offset=2, partition=1)])
    assert (await log.state()).floors == {"sim": 49, "second": 6}


async def test_waiting_ends_when_the_mark_is_reached(log: ReplayLog) -> None:
    waiting = asyncio.gather(
        log.wait_for("sim", 2, 10), log.wait_for("sim", 3, 10), log.wait_for("second", 1, 0.2)
    )
    await asyncio.sleep(0)
    await log.append([batch(entry(1), entry(2), offset=2)])
    await log.append([batch(entry(3), offset=3)])
    assert await waiting == [True, True, False]
    assert await log.wait_for("sim", 3, 0) is True


async def test_large_and_many_messages_come_back_whole(log: ReplayLog) -> None:
    sizes = [10, 20_000, 3, 300_000, 40, 16_384, 16_385] + [700] * 3000
    entries = [entry(n, f"f{n % 7}", size=size) for n, size in enumerate(sizes, 1)]
    for at in range(0, len(entries), 500):
        part = entries[at : at + 500]
        await log.append([batch(*part, offset=at + len(part))])
    found = [m async for chunk in log.read("sim", [EXP], [], 0, 10**9) for m in chunk]
    assert found == [(e.number, e.value) for e in entries]
    assert await numbers(log, [inode("f3")]) == list(range(3, len(sizes) + 1, 7))


DIRECTORIES = [(ROOT,), (ROOT, DATA), (ROOT, DATA, EXP), (ROOT, DATA, EXP, RUN), (ROOT, OTHER)]
histories = st.lists(
    st.tuples(
        st.integers(0, 4),  # where
        st.one_of(st.none(), st.integers(0, 4)),  # from where, for a rename
        st.integers(0, 5),  # which file
        st.integers(1, 3),  # numbers skipped
        st.booleans(),  # whether a batch ends here
        st.sampled_from(["sim", "second"]),
    ),
    max_size=40,
)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@given(history=histories, after=st.integers(0, 30), up_to=st.integers(0, 80))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_redis_and_memory_answer_alike(
    redis_url: str, redis_prefix: str, history: Any, after: int, up_to: int
) -> None:
    """Of any history, each read of the one in Redis contains what its twin says, in order."""
    asyncio.run(_compare(redis_url, redis_prefix, history, after, up_to))


async def _compare(url: str, prefix: str, history: Any, after: int, up_to: int) -> None:
    twin = MemoryReplayLog()
    async with redis_log(url, prefix) as log:
        last = {"sim": 0, "second": 0}
        entries: list[Entry] = []
        for offset, (where, source, name, skip, ends, shard) in enumerate(history, 1):
            last[shard] += skip
            entries.append(
                entry(
                    last[shard],
                    f"f{name}",
                    ancestors=DIRECTORIES[where],
                    source=() if source is None else DIRECTORIES[source],
                    shard=shard,
                )
            )
            if ends or offset == len(history):
                for each in (twin, log):
                    await each.append([batch(*entries, offset=offset)])
                entries = []
        assert await twin.state() == await log.state()
        for shard in last:
            for one in (ROOT, DATA, EXP, RUN, OTHER, inode("f0"), inode("f1")):
                for ask in ({"watched": [one]}, {"below": [one]}):
                    bounds: Any = {"after": after, "up_to": up_to, "shard": shard, **ask}
                    wanted = await numbers(twin, **bounds)
                    found = await numbers(log, **bounds)
                    assert set(wanted) <= set(found)
                    if "watched" in ask:
                        assert wanted == found


@pytest.fixture
async def small(redis_url: str, redis_prefix: str) -> AsyncIterator[RedisReplayLog]:
    async with redis_log(redis_url, redis_prefix, max_bytes=64 * 1024) as log:
        yield log


async def test_memory_is_bounded_and_the_floor_says_what_went(small: RedisReplayLog) -> None:
    total = 2000
    for number in range(1, total + 1, 10):
        entries = [entry(n, f"f{n % 50}", size=200) for n in range(number, number + 10)]
        await small.append([batch(*entries, offset=number)])
    for _ in range(100):
        await small.append([])
    floor = (await small.state()).floors["sim"]
    assert 0 < floor < total
    found = await numbers(small, [EXP])
    assert set(range(floor + 1, total + 1)) <= set(found), "what is above the floor is all there"
    assert found[0] > floor - 100, "what is below it went"
    assert 64 * 1024 / 200 / 6 < len(found) < 64 * 1024 / 200
    assert await numbers(small, below=[ROOT], after=floor) == list(range(floor + 1, total + 1))
    assert set(await numbers(small, [inode("f7")], after=floor)) == {
        n for n in range(floor + 1, total + 1) if n % 50 == 7
    }


async def test_age_lets_go_of_whole_segments(redis_url: str, redis_prefix: str) -> None:
    async with redis_log(redis_url, redis_prefix, max_age_s=0.2) as log:
        await log.append([batch(entry(1), offset=1)])
        async with asyncio.timeout(30):
            number = 1
            while not (await log.state()).floors:
                number += 1
                await log.append([batch(entry(number), offset=number)])
                await asyncio.sleep(0.02)
        state = await log.state()
        found = await numbers(log, [EXP])
        assert set(range(state.floors["sim"] + 1, number + 1)) <= set(found)


async def test_two_writers_write_once(redis_url: str, redis_prefix: str) -> None:
    """A late twin that goes on from old marks neither doubles nor disorders anything."""
    async with (
        redis_log(redis_url, redis_prefix) as one,
        redis_log(redis_url, redis_prefix) as two,
    ):
        await one.append([batch(entry(1), offset=1)])
        await two.append([batch(entry(1), entry(2), offset=2)])
        await one.append([batch(entry(2), entry(3), offset=3)])
        await two.append([batch(entry(2), offset=2), batch(entry(3), entry(4), offset=4)])
        await one.append([batch(entry(2), offset=2), batch(entry(5), offset=5)])
        assert await numbers(one, [EXP]) == [1, 2, 3, 4, 5]


async def test_a_redis_that_was_emptied_refuses_to_go_on(
    redis_url: str, redis_prefix: str
) -> None:
    async with redis_log(redis_url, redis_prefix) as log:
        await log.append([batch(entry(1), offset=1)])
        redis = connect(redis_url, timeout_s=5)
        await redis.delete(*[key async for key in redis.scan_iter(f"{redis_prefix}*")])
        await redis.aclose()
        with pytest.raises(Rewound):
            await log.append([batch(entry(2), offset=2, follows=1)])
        assert (await log.state()).offsets == {}
        await log.restart(0, 0, lossy=False)
        await log.append([batch(entry(1), entry(2), offset=2, follows=0)])
        assert await numbers(log, [EXP]) == [1, 2]
