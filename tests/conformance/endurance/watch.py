"""Watches a worker from outside: its memory, and how far commits lag behind the work."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import time
from typing import TYPE_CHECKING

import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.worker_site import Site, WorkerProcess

_EVERY_S = 0.25
_MEBIBYTE = 2**20


class Watch:
    """What was seen of one worker.

    Attributes:
        memory_mb: the most memory it had (RSS).
        lag_s: the longest time from when records were derived to when they were seen committed.
        rate: records a second, from the first one on.
    """

    def __init__(self, site: Site, worker: WorkerProcess) -> None:
        self._site = site
        self._worker = worker
        self._process = psutil.Process(worker.process.pid)
        self._times: list[float] = []
        self._done: list[int] = []
        self.memory_mb = 0.0
        self.lag_s = 0.0
        self.rate = 0.0

    async def run(self) -> None:
        """Look at it four times a second until cancelled."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._site.bootstrap)
        await admin.start()
        try:
            while True:
                await self._look(admin)
                await asyncio.sleep(_EVERY_S)
        finally:
            await admin.close()

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        self.memory_mb = max(self.memory_mb, self._process.memory_info().rss / _MEBIBYTE)
        self._times.append(time.monotonic())
        self._done.append(await self._worker.count("records_total"))
        self.rate = self._done[-1] / (self._times[-1] - self._begin_s() + 1e-9)
        try:
            offsets = await admin.list_consumer_group_offsets(self._site.group())
        except KafkaError:  # stopped by the test
            return
        committed = sum(max(0, found.offset) for found in offsets.values())
        self.lag_s = max(self.lag_s, time.monotonic() - self._when_done(committed))

    def _when_done(self, records: int) -> float:
        """Return when so many records had been derived."""
        at = bisect.bisect_right(self._done, records)
        if at in {0, len(self._done)}:
            return time.monotonic()
        share = (records - self._done[at - 1]) / (self._done[at] - self._done[at - 1])
        return self._times[at - 1] + share * (self._times[at] - self._times[at - 1])

    def _begin_s(self) -> float:
        first = bisect.bisect_right(self._done, 0)
        return self._times[max(0, first - 1)]


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
