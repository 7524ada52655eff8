"""What was derived from a great many records, in constant memory: a count and a digest a shard."""

from __future__ import annotations

import array
import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.event_types import registry
from schemas import codec
from tests.integration.worker_site import PARTITIONS, ROOT_ID, partition_of

if TYPE_CHECKING:
    from tests.integration.worker_site import Site

DONE_S = 6000


@dataclass
class Told:
    """The messages of one shard: their numbers in order, and a digest of all their bytes."""

    numbers: array.array[int] = field(default_factory=lambda: array.array("Q"))
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, number: int, value: bytes) -> None:
        """Take the next message in."""
        self.numbers.append(number)
        self.digest.update(len(value).to_bytes(4) + value)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Told)
            and self.numbers == other.numbers
            and self.digest.digest() == other.digest.digest()
        )

    __hash__ = None  # type: ignore[assignment]

    def differs(self, other: Told) -> str:
        """Say how it differs from what was expected."""
        mine, others = set(self.numbers), set(other.numbers)
        return (
            f"{len(self.numbers)} messages, lacks {sorted(others - mine)[:10]}, has besides "
            f"{sorted(mine - others)[:10]}, {len(self.numbers) - len(mine)} twice, "
            f"{'not ' * (self.numbers != other.numbers)}the same order"
        )


Shards = dict[str, Told]


def compare(found: Shards, expected: Shards, where: str) -> None:
    """Fail, saying where, unless both are the same, byte for byte."""
    assert found.keys() == expected.keys(), where
    for shard, told in expected.items():
        assert found[shard] == told, f"{where}, {shard}: {found[shard].differs(told)}"


async def of_topic(site: Site, event_type: str) -> tuple[Shards, int]:
    """Read a derived topic, dropping repeats by their position; return how many those were."""
    topic = site.topic_prefix + registry.get(event_type).topic.name
    found: Shards = {}
    repeats = 0
    async for record in _all(site.bootstrap, topic):
        head = codec.decode_head(record.value)
        shard, number = head["shard"], head["number"]
        told = found.setdefault(shard, Told())
        assert record.key == shard.encode()
        assert record.partition == partition_of(record.key)
        if told.numbers and number <= told.numbers[-1]:
            repeats += 1
        else:
            told.add(number, record.value)
    return found, repeats


async def _all(bootstrap: str, topic: str) -> Any:
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=2**22
    ) as consumer:
        tps = [TopicPartition(topic, n) for n in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        for tp, end in (await consumer.end_offsets(tps)).items():
            while await consumer.position(tp) < end:
                read = await consumer.getmany(tp, timeout_ms=1000)
                for record in read.get(tp, ()):
                    yield record


async def of_log(site: Site, event_type: str, shards: Shards) -> Shards:
    """Read the replay log as a recursive watch on the root does; nothing is dropped."""
    found: Shards = {}
    async with site.log(event_type) as log:
        assert not (await log.state()).floors, "nothing of it was let go"
        for shard in shards:
            told = found[shard] = Told()
            async for chunk in log.read(shard, [], [ROOT_ID], 0, 10**12):
                for number, value in chunk:
                    told.add(number, value)
    return found


async def until_derived(site: Site) -> None:
    """Wait until everything on billing is derived and committed."""
    async with outside(site) as consumer, asyncio.timeout(DONE_S):
        for tp, end in (await consumer.end_offsets(partitions(site, "billing"))).items():
            while (await consumer.committed(tp) or 0) < end:
                await _pause(site)


async def until_settled(site: Site) -> None:
    """Wait until that is so, and the replay log has everything that was derived."""
    await until_derived(site)
    async with outside(site) as consumer, asyncio.timeout(DONE_S):
        for event_type in site.event_types():
            topic = registry.get(event_type).topic.name
            ends = await consumer.end_offsets(partitions(site, topic))
            wanted = {tp.partition: end for tp, end in ends.items()}
            async with site.log(event_type) as log:
                while (await log.state([])).offsets != wanted:
                    await _pause(site)


def outside(site: Site) -> AIOKafkaConsumer:
    """Return a consumer that sees what the site's workers have committed, and is none of them."""
    return AIOKafkaConsumer(
        bootstrap_servers=site.bootstrap, group_id=site.group(), enable_auto_commit=False
    )


def partitions(site: Site, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic of the site."""
    return [TopicPartition(site.topic_prefix + topic, n) for n in range(PARTITIONS)]


async def _pause(site: Site) -> None:
    alive = [worker for worker in site.workers if worker.process.poll() is None]
    assert alive, site.workers[-1].log.read_text()[-4000:]
    await asyncio.sleep(0.2)
