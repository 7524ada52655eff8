"""A worker as the process that users run, with topics of its own, and what must come out of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2

from benchmarks import billing
from deploy.local.processes import free_ports
from pipeline.agents.derivation import Derivation
from pipeline.choice import chosen_event_types
from pipeline.event_types import registry
from pipeline.faust_app import group_id
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect
from pipeline.settings import from_env
from schemas import codec, kafka_topics, topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

PARTITIONS = 4
ROOT_ID = billing.file_id("/")
_READY_S = 120
_DONE_S = 120
_END_S = 60


@dataclass
class WorkerProcess:
    """One `python -m pipeline worker`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    async def get(self, path: str) -> httpx.Response | None:
        """Ask its health server; None: it does not answer."""
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(timeout=5) as client:
                return await client.get(self.url + path)
        return None

    async def until_ready(self) -> None:
        """Wait until it says it is ready."""
        async with asyncio.timeout(_READY_S):
            while (answer := await self.get("/health/ready")) is None or answer.status_code != 200:
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def until_missing(self, word: str) -> None:
        """Wait until it says it is not ready, with `word` in the reason."""
        async with asyncio.timeout(_READY_S):
            while True:
                answer = await self.get("/health/ready")
                if answer is not None and answer.status_code == 503 and word in answer.text:
                    return
                await asyncio.sleep(0.05)

    async def count(self, name: str) -> int:
        """Return a counter of its metrics, summed over labels."""
        answer = await self.get("/metrics")
        lines = answer.text.splitlines() if answer is not None else []
        wanted = f"storage_events_worker_{name}"
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(wanted))

    async def until_count(self, name: str, least: int, timeout_s: float = _DONE_S) -> None:
        """Wait until a counter has reached `least`."""
        async with asyncio.timeout(timeout_s):
            while await self.count(name) < least:
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """End it without a chance to do anything."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_END_S)


@dataclass
class Site:
    """Topics and keys of one test."""

    bootstrap: str
    redis_url: str
    topic_prefix: str
    redis_prefix: str
    folder: Path
    chosen: str = "inotify,transfer"
    workers: list[WorkerProcess] = field(default_factory=list)
    records: list[tuple[bytes, bytes, int]] = field(default_factory=list)

    def environ(self, **settings: str) -> dict[str, str]:
        """Return the environment of a worker."""
        return {
            **os.environ,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "REDIS_URL": self.redis_url,
            "STORAGE_EVENTS_TOPIC_PREFIX": self.topic_prefix,
            "STORAGE_EVENTS_REDIS_PREFIX": self.redis_prefix,
            "STORAGE_EVENTS_PARTITIONS": str(PARTITIONS),
            "STORAGE_EVENTS_EVENT_TYPES": self.chosen,
            "STORAGE_EVENTS_WORKER_BATCH_RECORDS": "200",
            **settings,
        }

    def event_types(self) -> list[str]:
        """Return what its workers derive."""
        return [kind.name for kind in chosen_event_types(from_env(self.environ()).event_types)]

    def group(self) -> str:
        """Return the consumer group of its workers' deriving."""
        return group_id(from_env(self.environ()))

    def start(self, name: str = "one", **settings: str) -> WorkerProcess:
        """Start a worker; it has a name for ever, so its partitions come back at once."""
        port = free_ports(1)[0]
        log = self.folder / f"{name}-{len(self.workers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "worker"],
                env=self.environ(
                    WORKER_HEALTH_PORT=str(port),
                    STORAGE_EVENTS_WORKER_INSTANCE_ID=name,
                    **settings,
                ),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        worker = WorkerProcess(process, f"http://127.0.0.1:{port}", log)
        self.workers.append(worker)
        return worker

    async def make_topics(self) -> None:
        """Make the topic that the storage would make."""
        await kafka_topics.ensure_topics(
            self.bootstrap, [topics.BILLING], partitions=PARTITIONS, prefix=self.topic_prefix
        )

    async def publish(self, count: int, *, shards: int = 6) -> None:
        """Let the storage do `count` more operations."""
        done = len(self.records)
        new = list(billing.encoded(count, shards=shards, first=done // shards + 1, seed=done + 1))
        self.records += new
        await self.send(new)

    async def send(self, records: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Put records on `billing` as they are."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        try:
            for key, value, timestamp in records:
                await producer.send(
                    f"{self.topic_prefix}billing",
                    value,
                    key=key,
                    partition=partition_of(key),
                    timestamp_ms=timestamp,
                )
        finally:
            await producer.stop()

    def expected(self, event_type: str) -> dict[str, list[bytes]]:
        """Return what an undisturbed run derives, by shard."""
        found: dict[str, list[bytes]] = {}
        derivation = Derivation([registry.get(event_type)])
        fakes = [_Record(key, value, n) for n, (key, value, _) in enumerate(self.records)]
        for message in derivation.derive(fakes).messages[event_type]:
            found.setdefault((message.key or b"").decode(), []).append(message.value)
        return found

    async def derived(self, topic: str) -> list[Any]:
        """Return all records of a topic."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            tps = [TopicPartition(f"{self.topic_prefix}{topic}", n) for n in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            found: list[Any] = []
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    found += await _some(consumer, tp)
            return found
        finally:
            await consumer.stop()

    async def until_dead_letters(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many records were set aside; return all of them."""
        async with asyncio.timeout(_DONE_S):
            while len(found := await self.derived("dead-letter")) < count:
                await asyncio.sleep(0.05)
        return [codec.decode("dead_letter", record.value) for record in found]

    @contextlib.asynccontextmanager
    async def log(self, event_type: str) -> AsyncIterator[RedisReplayLog]:
        """Open a replay log as a reader does."""
        redis = connect(self.redis_url, timeout_s=10)
        log = RedisReplayLog(
            redis, prefix=self.redis_prefix, event_type=event_type, max_age_s=0, max_bytes=0
        )
        try:
            yield log
        finally:
            await log.close()

    async def until_replayable(self, event_type: str = "inotify") -> None:
        """Wait until the replay log holds everything that was published."""
        wanted = {
            shard: codec.decode_head(values[-1])["number"]
            for shard, values in self.expected(event_type).items()
        }
        async with self.log(event_type) as log, asyncio.timeout(_DONE_S):
            for shard, number in wanted.items():
                while not await log.wait_for(shard, number, 1):
                    for worker in self.workers:
                        assert worker.process.poll() in {None, 0, -9}, worker.log.read_text()

    async def check(self, event_type: str) -> int:
        """Compare topic and replay log with an undisturbed run; return how many were repeated."""
        expected = self.expected(event_type)
        topic = registry.get(event_type).topic.name
        once: dict[str, list[bytes]] = {}
        marks: dict[str, int] = {}
        repeats = 0
        for record in await self.derived(topic):
            head = codec.decode_head(record.value)
            assert record.key == head["shard"].encode()
            assert record.partition == partition_of(record.key)
            if head["number"] <= marks.get(head["shard"], 0):
                repeats += 1
                continue
            marks[head["shard"]] = head["number"]
            once.setdefault(head["shard"], []).append(record.value)
        found, wanted = _numbers(once), _numbers(expected)
        for shard, numbers in wanted.items():
            missing = sorted(set(numbers) - set(found.get(shard, ())))
            assert not missing, f"{topic}: {shard} lacks {missing} of {len(numbers)}"
        assert once == expected
        async with self.log(event_type) as log:
            for shard, values in expected.items():
                chunks = [c async for c in log.read(shard, [], [ROOT_ID], 0, 10**12)]
                assert [value for chunk in chunks for _, value in chunk] == values
        return repeats

    def stop(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()


@dataclass(frozen=True)
class _Record:
    key: bytes
    value: bytes
    offset: int


def _numbers(messages: dict[str, list[bytes]]) -> dict[str, list[int]]:
    return {
        shard: [codec.decode_head(value)["number"] for value in values]
        for shard, values in messages.items()
    }


async def _some(consumer: AIOKafkaConsumer, tp: TopicPartition) -> list[Any]:
    read = await consumer.getmany(tp, timeout_ms=1000)
    return [record for records in read.values() for record in records]


def partition_of(key: bytes) -> int:
    """Return the partition that Kafka's default partitioner gives a key."""
    partition: int = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
    return partition
