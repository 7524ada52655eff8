"""The replay log in Redis: one script call per batch, bounded by age and memory.

Every promise of the port is kept inside `lua/append.lua`, which Redis runs atomically: a batch
names the offset and the marks it goes on from, so a late twin can write nothing twice, and a Redis
that lost its tail is noticed at the next batch. What Redis holds is decided in `layout`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from pipeline.replay import layout
from pipeline.replay.log import Rewound, State
from pipeline.replay.redis_reader import Reader
from pipeline.replay.redis_script import Script, unavailable_if_away
from pipeline.replay.redis_waiter import MarkWaiter
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redis import asyncio as redis_asyncio

    from pipeline.replay.layout import Plan, Trail
    from pipeline.replay.log import Batch

_MAX_TRIES: Final = 8
_MAX_REMEMBERED: Final = 200_000
_KEY_BYTES: Final = 300
_ELEMENT_BYTES: Final = 12
_INDEX_BYTES: Final = 100


class _Planned(NamedTuple):
    """A batch's plan beside what is known of the log.

    Attributes:
        plan: what the batch writes.
        due: its trails that the indices do not yet claim.
        entries: what they add there.
        keys: those that the open segment does not know.
    """

    plan: Plan
    due: dict[Trail, int]
    entries: dict[tuple[bytes, bytes], int]
    keys: set[bytes]


class RedisReplayLog:
    """The replay log of one event type in Redis.

    Args:
        redis: a client of `connect`; closed with the log.
        prefix: what stands before all keys.
        event_type: whose log it is.
        max_age_s: how long messages are kept, in seconds.
        max_bytes: how much memory they may take, in bytes (an estimate by what is written).
    """

    def __init__(
        self,
        redis: redis_asyncio.Redis,
        *,
        prefix: str,
        event_type: str,
        max_age_s: float,
        max_bytes: int,
    ) -> None:
        self._redis = redis
        self._prefix = f"{prefix}replay:{event_type}:".encode()
        self._max_age_ms = int(max_age_s * 1000)
        self._max_bytes = max_bytes
        self._append = Script(redis, "append")
        self._reader = Reader(
            prefix=self._prefix,
            read=Script(redis, "find", "read"),
            refs=Script(redis, "find", "refs"),
            fetch=Script(redis, "find", "fetch"),
            index=self._places_below,
        )
        self._waiter = MarkWaiter(redis, channel=self._key("appended"), marks=self._read_marks)
        self._segment = "0"
        self._marks: dict[str, int] = {}
        self._registered: set[bytes] = set()
        self._claimed: dict[Trail, int] = {}
        self._packer = msgpack.Packer(use_bin_type=False)  # Redis does not know `bin`

    async def append(self, batches: Sequence[Batch]) -> None:
        """Keep messages, marks and offsets; see the port."""
        if not batches:
            arguments = ["", "", 0, self._segment, *self._limits(), 0]
            await self._append(self._prefix, arguments)
            return
        rest = list(batches)
        for _ in range(_MAX_TRIES):
            await self._learn_marks({e.shard for batch in rest for e in batch.entries})
            rest = await self._append_known(rest)
            if not rest:
                return
        raise Unavailable("replay log: another worker keeps writing the same partitions")

    async def _append_known(self, batches: Sequence[Batch]) -> list[Batch]:
        """Append with the marks that are known; return those to try again with newer ones."""
        marks = dict(self._marks)
        planned = []
        for batch in batches:
            planned.append(self._planned(layout.plan(batch.entries, marks)))
            marks.update({shard: one.mark for shard, one in planned[-1].plan.shards.items()})
        calls = [self._arguments(*both) for both in zip(batches, planned, strict=True)]
        answers = await self._append.run_all(self._prefix, calls)
        newest = answers[-1][1].decode()
        again: list[Batch] = []
        for batch, one, (status, segment) in zip(batches, planned, answers, strict=True):
            if again or status in {b"marks", b"segment"}:
                again.append(batch)
            elif status == b"rewound":
                self._forget(segment.decode())
                raise Rewound(f"partition {batch.partition}: nothing before {batch.next_offset}")
            elif status == b"ok":
                self._remember(one)
        if again:
            self._forget(newest)
        elif newest != self._segment:
            self._new_segment(newest)
        return again

    def _limits(self) -> list[int]:
        return [self._max_bytes, self._max_age_ms, self._max_age_ms // 500 + 60]

    def _planned(self, plan: Plan) -> _Planned:
        """Add what the indices do not yet claim, and the keys that this segment does not know."""
        claimed = self._claimed
        due = {t: number for t, number in plan.trails.items() if claimed.get(t, 0) < number}
        entries = layout.index(due)
        keys = {key for key, _ in plan.pushes}
        keys.update([key for key, _ in entries])
        return _Planned(plan, due, entries, keys - self._registered)

    def _arguments(self, batch: Batch, planned: _Planned) -> list[Any]:
        (shards, pushes, _), _, entries, keys = planned
        added = _ELEMENT_BYTES * len(pushes) + sum([len(blob) for _, blob in pushes])
        added += _INDEX_BYTES * len(entries) + _KEY_BYTES * len(keys)
        marks: list[str] = []
        for shard, one in shards.items():
            marks += (shard, str(one.base), str(one.first), str(one.mark))
        scores: list[Any] = []
        for at, number in entries.items():
            scores += (*at, number + layout.INDEX_SLACK)
        packed = (marks, list(itertools.chain.from_iterable(pushes)), scores, list(keys))
        follows = "" if batch.follows is None else batch.follows
        head = [batch.partition, follows, batch.next_offset, self._segment, *self._limits()]
        return [*head, added, self._packer.pack(packed)]

    def _remember(self, planned: _Planned) -> None:
        self._marks.update({shard: one.mark for shard, one in planned.plan.shards.items()})
        self._registered |= planned.keys
        for trail, number in planned.due.items():
            self._claimed[trail] = number + layout.INDEX_SLACK
        if len(self._claimed) > _MAX_REMEMBERED:
            self._claimed.clear()
        if len(self._registered) > _MAX_REMEMBERED:
            self._registered.clear()

    def _new_segment(self, segment: str) -> None:
        """Register every key again: each segment knows the keys that were written in it."""
        self._segment = segment
        self._registered.clear()
        self._claimed.clear()

    def _forget(self, segment: str) -> None:
        self._new_segment(segment)
        self._marks.clear()

    async def _learn_marks(self, shards: set[str]) -> None:
        unknown = sorted(shards - self._marks.keys())
        if unknown:
            known = await self._read_marks(unknown)
            self._marks.update({shard: known.get(shard, 0) for shard in unknown})

    async def _read_marks(self, shards: Sequence[str]) -> Mapping[str, int]:
        with unavailable_if_away():
            return _numbers(await self._redis.hmget(self._key("marks"), list(shards)), shards)

    async def _places_below(self, shard: str, inode: bytes, after: int) -> Sequence[bytes]:
        key = self._prefix + layout.key(shard, b"i" + inode)
        with unavailable_if_away():
            places: Any = await self._redis.zrangebyscore(key, f"({after}", "+inf")
        return list(places)

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    async def restart(self, partition: int, offset: int, *, lossy: bool) -> None:
        """Say where a partition begins; see the port."""
        with unavailable_if_away():
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.hset(self._key("offsets"), str(partition), str(offset))
            if lossy:
                pipeline.hset(self._key("losses"), str(partition), str(offset))
                pipeline.delete(self._key(f"l:{partition}"))
            await pipeline.execute()

    async def state(self, shards: Sequence[str] | None = None) -> State:
        """Return how far the log has come; see the port."""
        with unavailable_if_away():
            pipeline = self._redis.pipeline(transaction=True)
            for name in ("marks", "floors"):
                if shards is None:
                    pipeline.hgetall(self._key(name))
                else:
                    pipeline.hmget(self._key(name), list(shards) or [""])
            pipeline.hgetall(self._key("offsets"))
            marks, floors, offsets = await pipeline.execute()
        return State(
            _numbers(marks, shards),
            _numbers(floors, shards),
            {int(partition): int(offset) for partition, offset in offsets.items()},
        )

    def read(
        self,
        shard: str,
        watched: Sequence[bytes],
        below: Sequence[bytes],
        after: int,
        up_to: int,
    ) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        """Yield what was told to `watched` or below `below`; see the port."""
        return self._reader.read(shard, watched, below, after, up_to)

    async def wait_for(self, shard: str, number: int, timeout_s: float) -> bool:
        """Wait until the shard's mark is at least `number`; see the port."""
        return await self._waiter.wait_for(shard, number, timeout_s)

    async def close(self) -> None:
        """Give back the connections."""
        await self._waiter.close()
        await self._redis.aclose()


def _numbers(answer: Any, shards: Sequence[str] | None) -> dict[str, int]:
    if shards is None:
        return {shard.decode(): int(number) for shard, number in answer.items()}
    pairs = zip(shards, answer, strict=False)
    return {shard: int(number) for shard, number in pairs if number is not None}
