"""What happened, read from Kafka itself: the truth that streams are compared with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.event_types.inotify import EVENT_TYPE
from schemas import codec, vocabulary
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

Told = tuple[str, str]
"""The watched directory, and the event's JSON."""

_ARRIVES_S = 120.0


async def _read(bootstrap: str, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in await _partitions(bootstrap, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        values: list[bytes] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                records = await consumer.getmany(partition, timeout_ms=500)
                values += [one.value for one in records.get(partition, [])]
        return values
    finally:
        await consumer.stop()


async def _partitions(bootstrap: str, topic: str) -> list[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return [partition["partition"] for partition in described["partitions"]]
    finally:
        await admin.close()


def records(bootstrap: str, topic: str, schema: str) -> list[dict[str, Any]]:
    """Return a topic's records, each shard's in order, without repeats and what is no record."""
    marks: dict[str, int] = {}
    found = []
    for value in asyncio.run(_read(bootstrap, topic)):
        try:
            record = codec.decode(schema, value)
        except BadRecord:
            continue
        if record["number"] > marks.get(record["shard"], 0):
            marks[record["shard"]] = record["number"]
            found.append(record)
    return found


def until(bootstrap: str, topic: str, schema: str, path: str) -> list[dict[str, Any]]:
    """Return a topic's records as soon as one is about `path`, which is made last."""
    end_s = time.monotonic() + _ARRIVES_S
    while time.monotonic() < end_s:
        with contextlib.suppress(KafkaError):
            found = records(bootstrap, topic, schema)
            if any(record["path"] == path for record in found):
                return found
        time.sleep(0.5)
    raise AssertionError(f"nothing about {path} on {topic}")


def told(bootstrap: str, directories: Sequence[str], *, end: str) -> list[Told]:
    """Return what watches on directories that are not moved are told, from the derived topic.

    Only events with a name: the directories' own are for others to test. By path alone, so that it
    is no copy of how the API finds out.

    Args:
        bootstrap: of Kafka.
        directories: the watched ones.
        end: what was made last in the first of them.
    """
    watched = set(directories)
    found: list[Told] = []
    last = f"{directories[0]}/{end}"
    for message in until(bootstrap, "inotify", EVENT_TYPE.topic.schema, last):
        for mask, place in zip(message["masks"], message["to"], strict=True):
            name = message["names"][place]
            if name is None:
                continue
            moved_from = mask & vocabulary.IN_MOVED_FROM
            path = message["source_path"] if moved_from else message["path"]
            directory = path.rpartition("/")[0]
            if directory not in watched:
                continue
            event: dict[str, Any] = {"name": name}
            if mask & vocabulary.IN_MOVE:
                event["cookie"] = message["cookie"]
            event["mask"] = vocabulary.mask_names(mask)
            found.append((directory, json.dumps(event)))
    return found
