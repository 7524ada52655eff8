"""Billing records by the million: some hundred real ones, renumbered in their bytes."""

from __future__ import annotations

import collections
import random
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from benchmarks import billing
from schemas import codec
from tests.integration.worker_site import PARTITIONS, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    Billing = tuple[bytes, bytes, int]

SHARDS_OF_A_PARTITION = 2
_MIXED = 400
_BLOCK = 200
_BATCH_BYTES = 900_000
_FRAME_BYTES = 5
_OPERATION_BYTES = 33


def shard_names() -> list[str]:
    """Return as many shards for each partition."""
    found: dict[int, list[str]] = collections.defaultdict(list)
    number = 0
    while sum(map(len, found.values())) < PARTITIONS * SHARDS_OF_A_PARTITION:
        same = found[partition_of(f"sim{number}".encode())]
        if len(same) < SHARDS_OF_A_PARTITION:
            same.append(f"sim{number}")
        number += 1
    return [shard for shards in zip(*found.values(), strict=True) for shard in shards]


def _long(value: int) -> bytes:
    """Write a positive number as Avro does."""
    value *= 2
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


class Mill:
    """Makes the records of one shard, numbered from 1 on; the same ones again for the same time.

    Args:
        shard: its name.
        time_us: when they are said to have happened, a millisecond for each thousand.
    """

    def __init__(self, shard: str, time_us: int) -> None:
        self.key = shard.encode()
        self.number = 0
        self._time_us = time_us
        rng = random.Random(shard)
        encode = codec.encoder("billing")
        tree = billing.tree(40, shard)
        self._head = b""
        self._parts = []
        for _ in range(_MIXED):
            record = billing.record(shard, 1, rng.choice(billing._MIX), rng, tree)
            value = encode(record)
            at = _FRAME_BYTES + 1 + len(self.key)  # where the number is, one byte long
            time_at = at + 1 + _OPERATION_BYTES
            rest = value[time_at + len(_long(record["time_us"])) :]
            self._head = value[:at]
            self._parts.append((value[at + 1 : time_at], rest))

    def records(self, count: int, time_us: int = 0) -> Iterator[Billing]:
        """Make the next ones: key, value, timestamp in ms."""
        for number in range(self.number + 1, self.number + count + 1):
            at_us = time_us or self._time_us + number // 1000 * 1000
            operation, rest = self._parts[number % _MIXED]
            value = b"".join((self._head, _long(number), operation, _long(at_us), rest))
            yield self.key, value, at_us // 1000
        self.number += count


def backlog(count: int, time_us: int) -> Iterator[Billing]:
    """Make a backlog of `count` records, the shards taking turns."""
    mills = [Mill(shard, time_us) for shard in shard_names()]
    while count:
        for mill in mills:
            block = min(count, _BLOCK)
            yield from mill.records(block)
            count -= block


async def fill(bootstrap: str, topic: str, records: Iterator[Billing]) -> None:
    """Write records as the publisher does, in large batches."""
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=_BATCH_BYTES
    ) as producer:
        batches = {n: producer.create_batch() for n in range(PARTITIONS)}
        for key, value, timestamp in records:
            partition = partition_of(key)
            while batches[partition].append(key=key, value=value, timestamp=timestamp) is None:
                full = batches[partition]
                batches[partition] = producer.create_batch()
                await producer.send_batch(full, topic, partition=partition)
        for partition, batch in batches.items():
            if batch.record_count():
                await producer.send_batch(batch, topic, partition=partition)
