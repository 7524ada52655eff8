"""A steady stream of records, and how long each takes until its event can be read live."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.conformance.endurance import load
from tests.conformance.endurance.told import partitions
from tests.integration.worker_site import partition_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.worker_site import Site

_TICK_S = 0.02
_ALL_READ_S = 300


class Live:
    """Publishes records at an even rate as the storage does, and reads `inotify` as a node does.

    Attributes:
        published: how many records were confirmed.
        delays: (when published, seconds until read) of each event.
    """

    def __init__(self, site: Site, per_s: int) -> None:
        self._site = site
        self._per_tick = max(1, round(per_s * _TICK_S))
        self._mills = [load.Mill(shard, 0) for shard in load.shard_names()]
        self._stopping = False
        self.published = 0
        self.delays: list[tuple[float, float]] = []

    async def publish(self) -> None:
        """Publish until `stop`."""
        topic = f"{self._site.topic_prefix}billing"
        turn = 0
        async with AIOKafkaProducer(
            bootstrap_servers=self._site.bootstrap, enable_idempotence=True
        ) as producer:
            due = time.monotonic()
            while not self._stopping:
                mill = self._mills[turn % len(self._mills)]
                turn += 1
                new = list(mill.records(self._per_tick, time.time_ns() // 1000))
                self._site.records += new
                for key, value, timestamp in new:
                    await producer.send(
                        topic, value, key, partition=partition_of(key), timestamp_ms=timestamp
                    )
                self.published += len(new)
                due = max(due + _TICK_S, time.monotonic() - 1)
                await asyncio.sleep(due - time.monotonic())

    def stop(self) -> None:
        """Let `publish` end once Kafka has everything."""
        self._stopping = True

    async def listen(self) -> None:
        """Read live events until cancelled."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self._site.bootstrap, enable_auto_commit=False
        ) as consumer:
            consumer.assign(partitions(self._site, "inotify"))
            while True:
                read = await consumer.getmany(timeout_ms=1000)
                now = time.time()
                for records in read.values():
                    for record in records:
                        at = record.timestamp / 1000
                        self.delays.append((at, now - at))

    def between(self, begin: float, end: float) -> tuple[int, float, float, float]:
        """Return count, median, 99th percentile and most, in ms, of what was published then."""
        delays = sorted(delay for at, delay in self.delays if begin <= at < end)
        count = len(delays)
        middle, high = delays[count // 2], delays[count * 99 // 100]
        return count, 1000 * middle, 1000 * high, 1000 * delays[-1]

    async def until_all_read(self) -> None:
        """Wait until each published record's event was read (repeats count, too)."""
        async with asyncio.timeout(_ALL_READ_S):
            while len(self.delays) < self.published:
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def streaming(site: Site, per_s: int) -> AsyncIterator[Live]:
    """Publish and listen meanwhile; at the end everything was read."""
    live = Live(site, per_s)
    listening = asyncio.create_task(live.listen())
    await asyncio.sleep(1)  # it begins at the end, where it must be by then
    publishing = asyncio.create_task(live.publish())
    try:
        yield live
        live.stop()
        await publishing
        await live.until_all_read()
    finally:
        for task in (publishing, listening):
            task.cancel()
        await asyncio.gather(publishing, listening, return_exceptions=True)
