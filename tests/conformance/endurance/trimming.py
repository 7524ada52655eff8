"""What it costs Redis to let go of the oldest events while new ones are appended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from pipeline.replay.redis_script import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.worker_site import Site, WorkerProcess

_EVERY_S = 1.0


class Cost:
    """Redis's own time for its scripts, over events appended, by the microsecond."""

    def __init__(self, site: Site, worker: WorkerProcess, redis: Any) -> None:
        self._site = site
        self._worker = worker
        self._redis = redis
        self._trims = (0, 0)
        self._last = (0, 0)

    @property
    def before_us(self) -> float:
        """For an event, until it began to let go."""
        spent_us, events = self._trims
        return spent_us / max(1, events)

    @property
    def meanwhile_us(self) -> float:
        """For an event, from then on."""
        spent_us, events = (
            last - first for last, first in zip(self._last, self._trims, strict=True)
        )
        return spent_us / max(1, events)

    async def run(self) -> None:
        """Look once a second until cancelled."""
        async with self._site.log("inotify") as log:
            while True:
                stats = await self._redis.info("commandstats")
                spent_us = stats.get("cmdstat_evalsha", {}).get("usec", 0)
                self._last = (spent_us, await self._worker.count("replayed_total"))
                if not (await log.state()).floors:
                    self._trims = self._last
                await asyncio.sleep(_EVERY_S)


@contextlib.asynccontextmanager
async def trimming(site: Site, worker: WorkerProcess) -> AsyncIterator[Cost]:
    """Measure meanwhile."""
    redis = connect(site.redis_url, timeout_s=30)
    cost = Cost(site, worker, redis)
    task = asyncio.create_task(cost.run())
    try:
        yield cost
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await redis.aclose()
