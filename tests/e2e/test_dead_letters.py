"""Records that nobody can read: set aside with where they stood and why; the stream goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import codec, topics

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack
    from schemas.records import DeadLetter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

BAD = {
    b"not Avro at all": "Confluent frame",
    codec.FRAME.pack(0, 4_000_000) + b"\x00\x02": "unknown schema id 4000000",
    codec.FRAME.pack(0, 1) + b"\xff\xff\xff\xff": "not a billing record",
}


async def produce(bootstrap: str, partition: int, values: list[bytes]) -> list[int]:
    """Write values to a partition of billing and return their offsets."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        topic = topics.BILLING.name
        sent = [await producer.send_and_wait(topic, v, partition=partition) for v in values]
    return [record.offset for record in sent]


async def busiest_partition(bootstrap: str) -> int:
    """Return the partition of billing that the storage writes to."""
    async with AIOKafkaConsumer(topics.BILLING.name, bootstrap_servers=bootstrap) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
    return max(ends, key=lambda partition: ends[partition]).partition


async def dead_letters(bootstrap: str, offsets: list[int]) -> list[DeadLetter]:
    """Wait for the dead letters about these offsets."""
    found: list[DeadLetter] = []
    async with AIOKafkaConsumer(
        topics.DEAD_LETTER.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(60):
            while len(found) < len(offsets):
                record = await consumer.getone()
                letter = codec.decode(topics.DEAD_LETTER.schema, record.value)
                if letter["offset"] in offsets:
                    found.append(letter)  # type: ignore[arg-type]
    return sorted(found, key=lambda letter: letter["offset"])


async def test_bad_records_are_set_aside_and_the_stream_goes_on(
    stack: Stack, alice: httpx.Client, directory: str, listener: Callable[..., Listener]
) -> None:
    """Garbage, an unknown schema id and a broken body, amid good records of the same partition."""
    ear = listener()
    assert ear.watch(directory).status_code == 201
    ear.start()
    (await asyncio.to_thread(alice.put, f"{directory}/before", content=b"x")).raise_for_status()
    partition = await busiest_partition(stack.bootstrap)
    offsets = await produce(stack.bootstrap, partition, list(BAD))
    (await asyncio.to_thread(alice.put, f"{directory}/after", content=b"x")).raise_for_status()

    letters = await dead_letters(stack.bootstrap, offsets)
    assert [letter["offset"] for letter in letters] == offsets
    for letter, (value, reason) in zip(letters, BAD.items(), strict=True):
        assert letter["topic"] == topics.BILLING.name
        assert letter["partition"] == partition
        assert letter["value"] == value
        assert reason in letter["reason"]
    closed = ("IN_CLOSE_WRITE", "after")
    assert await asyncio.to_thread(
        ear.wait, lambda: closed in [(heard.flag, heard.name) for heard in ear.heard]
    )
    assert len(ear.heard) == 8
