"""Watches a worker from outside: its memory, and how far commits lag behind the work."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import time
from typing import TYPE_CHECKING

import psutil
from aiokafka.errors import KafkaError

from tests.conformance.endurance import told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import AIOKafkaConsumer

    from tests.integration.worker_site import Site, WorkerProcess

_EVERY_S = 0.25
_MEBIBYTE = 2**20


class Watch:
    """What was seen of one worker.

    Attributes:
        memory_mb: the most memory it had (RSS).
        lag_s: the longest time from when a record was done (Kafka had its `inotify` message, each
            of these records has one) to when it was seen committed.
        lag_work_s: the most work, in the worker's CPU seconds, from when a record was derived (so
            before it was sent) to when it was seen committed. Another's load does not count here.
        work_s: all its work, in CPU seconds.
    """

    def __init__(self, site: Site, worker: WorkerProcess) -> None:
        self._site = site
        self._worker = worker
        self._process = psutil.Process(worker.process.pid)
        self._derived = _Series()
        self._done = _Series()
        self.memory_mb = 0.0
        self.lag_s = 0.0
        self.lag_work_s = 0.0
        self.work_s = 0.0

    def __str__(self) -> str:
        return (
            f"memory at most {self.memory_mb:.0f} MB; commits at most {self.lag_s:.2f} s behind, "
            f"or {self.lag_work_s:.2f} s of work (CPU, of {self.work_s:.0f} s in all)"
        )

    async def run(self) -> None:
        """Look at it four times a second until cancelled."""
        async with told.outside(self._site) as consumer:
            while True:
                with contextlib.suppress(KafkaError):  # stopped by the test
                    await self._look(consumer)
                await asyncio.sleep(_EVERY_S)

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        self.memory_mb = max(self.memory_mb, self._process.memory_info().rss / _MEBIBYTE)
        self._derived.add(await self._worker.count("records_total"), self._spent_s())
        outputs = await consumer.end_offsets(told.partitions(self._site, "inotify"))
        self._done.add(sum(outputs.values()), time.monotonic())
        committed = 0
        for tp in told.partitions(self._site, "billing"):
            committed += await consumer.committed(tp) or 0
        self.lag_s = max(self.lag_s, self._done.since(committed, time.monotonic()))
        self.lag_work_s = max(self.lag_work_s, self._derived.since(committed, self._spent_s()))

    def _spent_s(self) -> float:
        spent = self._process.cpu_times()
        self.work_s = spent.user + spent.system
        return self.work_s


class _Series:
    """A count as it grows, with when that was."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._counts: list[int] = []

    def add(self, count: int, when: float) -> None:
        self._times.append(when)
        self._counts.append(count)

    def since(self, count: int, now: float) -> float:
        """Return how long ago it passed `count`; 0 if it has not."""
        at = bisect.bisect_right(self._counts, count)
        if at in {0, len(self._counts)}:
            return 0.0
        share = (count - self._counts[at - 1]) / (self._counts[at] - self._counts[at - 1])
        return now - self._times[at - 1] - share * (self._times[at] - self._times[at - 1])


@contextlib.asynccontextmanager
async def watched(site: Site, worker: WorkerProcess) -> AsyncIterator[Watch]:
    """Watch a worker meanwhile."""
    watch = Watch(site, worker)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
