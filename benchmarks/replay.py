"""What the replay log costs: writing, memory for each event, and reading after an absence.

    python -m benchmarks replay [--events 1000000] [--own 100000] [--json]

In one log: `--own` uploads to one directory ("its own"), then `--events` to others, 2,000
directories, among which one directory has 100. Read back, from the log: all its own; the 100 among
the others, as a plain and as a recursive watch. And as clients of an API node, a process of its
own: each connects, gets its first event, is gone, and comes back with that event's id; counted is
from the request to the last byte of all it has missed (an upload is three events, or one for who
asks for IN_CLOSE_WRITE alone).
*plain Redis* is one XADD an event in pipelines, to a stream per directory: the baseline.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks import options, replay_client, streams
from benchmarks.stream_server import INOTIFY, ROOT, directory
from pipeline.replay.log import Batch, Entry
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect
from schemas import codec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio import Redis

_BATCH = 500
_FEW = 100
_BASELINE_EVENTS = 50_000
QUICK = {"events": 50_000, "own": 10_000}
TAKES_S = (90, 10)


class Events:
    """Endless uploads to directories: real messages of files of their own."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.directories = [directory(number) for number in range(2000)]
        self.number = 0
        self._encode = codec.encoder("inotify")
        (message,) = INOTIFY.derive(streams.record("UPLOAD"))
        self._message: dict[str, Any] = dict(message)

    def entry(self, parent: bytes) -> Entry:
        """Return the next event, of a file in a directory."""
        self.number += 1
        file, message = self._rng.randbytes(18), self._message
        message["number"] = self.number
        message["watched"], message["ancestors"] = parent + file, ROOT + parent
        message["inode"] = file
        value = self._encode(message)
        return Entry("sim", self.number, message["watched"], message["ancestors"], value)


def batches(events: Events, count: int, choose: Callable[[int], bytes]) -> Iterator[list[Entry]]:
    """Yield batches of entries as the replay agent gives them."""
    for begin in range(0, count, _BATCH):
        size = min(_BATCH, count - begin)
        yield [events.entry(choose(begin + n)) for n in range(size)]


async def write(
    log: RedisReplayLog, entries: Iterator[list[Entry]], offset: int
) -> dict[str, Any]:
    """Append, and say how fast and with how much CPU of ours."""
    count = bytes_written = 0
    spent = cpu = 0.0
    for batch in entries:
        count += len(batch)
        bytes_written += sum(len(entry.value) for entry in batch)
        begin, begin_cpu = time.perf_counter(), time.process_time()
        await log.append([Batch(0, offset + count, batch)])
        spent += time.perf_counter() - begin
        cpu += time.process_time() - begin_cpu
    return {
        "events": count,
        "events_per_s": count / spent,
        "cpu_s_per_million": cpu / count * 1e6,
        "message_bytes": bytes_written / count,
    }


async def read(
    log: RedisReplayLog, watched: Sequence[bytes], below: Sequence[bytes], after: int, up_to: int
) -> tuple[int, float]:
    """Read all; return how many and the time in seconds."""
    begin = time.perf_counter()
    count = 0
    async for chunk in log.read("sim", watched, below, after, up_to):
        count += len(chunk)
    return count, time.perf_counter() - begin


async def _plain(redis: Redis, key: str, events: Events) -> dict[str, Any]:
    """Write one XADD an event, in pipelines: what one would do without a design."""
    used = await _memory(redis)
    entries = [
        entry
        for batch in batches(events, _BASELINE_EVENTS, lambda n: events.directories[n % 2000])
        for entry in batch
    ]
    begin = time.perf_counter()
    for at in range(0, len(entries), _BATCH):
        pipeline = redis.pipeline(transaction=False)
        for entry in entries[at : at + _BATCH]:
            stream = f"{key}:{entry.watched[:18].hex()}"
            pipeline.xadd(stream, {"m": entry.value}, id=f"{entry.number}-0")
        await pipeline.execute()
    elapsed = time.perf_counter() - begin
    message = sum(len(entry.value) for entry in entries) / len(entries)
    grown = (await _memory(redis) - used) / len(entries)
    return {
        "events_per_s": len(entries) / elapsed,
        "memory_bytes_per_event": grown,
        "beyond_message_bytes": grown - message,
    }


async def _memory(redis: Redis) -> int:
    info: Any = await redis.info("memory")
    return int(info["used_memory"])


async def _measure(kafka: str, url: str, given: argparse.Namespace) -> dict[str, Any]:
    redis = connect(url, timeout_s=60)
    prefix = streams.new_prefix()
    log = RedisReplayLog(
        redis, prefix=prefix, event_type="inotify", max_age_s=86400, max_bytes=8 * 2**30
    )
    events = Events(1)
    own, few, *others = events.directories
    used = await _memory(redis)
    rng = random.Random(2)
    rare = set(range(0, given.events, max(1, given.events // _FEW)))
    try:
        written_own = await write(log, batches(events, given.own, lambda _: own), 0)
        mark = events.number
        written = await write(
            log,
            batches(events, given.events, lambda n: few if n in rare else rng.choice(others)),
            given.own,
        )
        grown = (await _memory(redis) - used) / events.number
        end = events.number
        count, seconds = await read(log, [own], [], 0, end)
        assert count == given.own, count
        fews = [await read(log, [few], [], mark, end) for _ in range(5)]
        below = [await read(log, [], [few], mark, end) for _ in range(5)]
        assert {n for n, _ in fews + below} == {len(rare)}, (fews, below)
        state = [await read(log, [few], [], end - 1000, end) for _ in range(5)]
        return {
            "benchmark": "replay",
            "write_one_directory": written_own,
            "write_2000_directories": written,
            "memory_bytes_per_event": grown,
            "beyond_message_bytes": grown - written["message_bytes"],
            "read_own_events_per_s": count / seconds,
            "read_few_ms": 1000 * statistics.median(s for _, s in fews),
            "read_few_recursive_ms": 1000 * statistics.median(s for _, s in below),
            "read_nearly_nothing_ms": 1000 * statistics.median(s for _, s in state),
            **await replay_client.measure(kafka, url, prefix, own=given.own, few=len(rare)),
            "plain_redis": await _plain(redis, prefix, events),
        }
    finally:
        async for key in redis.scan_iter(f"{prefix}*", count=10_000):
            await redis.unlink(key)
        await log.close()


def _client(result: dict[str, Any], name: str) -> str:
    speed, cpu = result[f"client_own_{name}_per_s"], result[f"client_own_{name}_cpu_us"]
    return f"{speed:,.0f} events/s, {cpu:.1f} µs of server CPU each"


def _table(result: dict[str, Any], given: argparse.Namespace) -> str:
    one, many = result["write_one_directory"], result["write_2000_directories"]
    plain = result["plain_redis"]
    rows = [
        ("write, one directory", f"{one['events_per_s']:,.0f} events/s"),
        ("write, 2,000 directories", f"{many['events_per_s']:,.0f} events/s"),
        ("our CPU of it", f"{many['cpu_s_per_million']:.1f} s per million"),
        ("plain Redis, XADD an event", f"{plain['events_per_s']:,.0f} events/s"),
        (
            "memory beyond a message",
            f"{result['beyond_message_bytes']:.0f} bytes an event of {many['message_bytes']:.0f}",
        ),
        ("plain Redis, beyond a message", f"{plain['beyond_message_bytes']:.0f} bytes an event"),
        (f"read {given.own:,} of its own", f"{result['read_own_events_per_s']:,.0f} events/s"),
        (f"read 100 among {given.events:,}", f"{result['read_few_ms']:.1f} ms"),
        ("the same, recursive", f"{result['read_few_recursive_ms']:.1f} ms"),
        ("read what is (nearly) nothing", f"{result['read_nearly_nothing_ms']:.1f} ms"),
        (
            f"a client comes back for {3 * given.own:,} of its own",
            _client(result, "all"),
        ),
        (
            f"the same for IN_CLOSE_WRITE alone, {given.own:,}",
            _client(result, "one_of_three"),
        ),
        (
            f"a client comes back for 100 among {given.events:,}",
            f"{result['client_few_ms']:.1f} ms, without the log {result['client_none_ms']:.1f} ms",
        ),
    ]
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON, and return what was measured."""
    parser = options.parser("replay", __doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--own", type=int, default=100_000)
    given = options.given(parser, arguments, QUICK)
    with (
        streams.services() as (kafka, url),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
    ):
        result = loop.run(_measure(kafka, url, given))
    if not given.json:
        print(_table(result, given))
    print(json.dumps(result))
    return result
