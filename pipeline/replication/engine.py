"""Works off the ledger: several jobs at once, each with whatever moves the bytes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from pipeline.replication import jobs
from pipeline.replication.executors.base import Away, Hopeless
from schemas.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.replication.executors.base import Executor
    from pipeline.replication.jobs import Job, Place
    from pipeline.replication.ledger import Ledger

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 5.0


class Engine:
    """Takes jobs and has them done.

    Args:
        ledger: what is to be done.
        executor: who does it.
        at_once: how many jobs run at once.
    """

    def __init__(self, ledger: Ledger, executor: Executor, *, at_once: int = 8) -> None:
        self._ledger = ledger
        self._executor = executor
        self._at_once = at_once
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until `stopped` is set; jobs that are running then are done again later."""
        left = await asyncio.to_thread(self._ledger.recover)
        if left:
            logger.info("%d jobs that an earlier process left are queued again", left)
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work()) for _ in range(self._at_once)]
            await stopped.wait()
            for worker in workers:
                worker.cancel()
        await self._executor.close()

    async def _work(self) -> None:
        while True:
            taken = await asyncio.to_thread(self._ledger.take)
            if taken is None:
                await self._rest()
                continue
            self._woken.set()  # there may be one more for somebody else
            job, sources = taken
            await self._do(job, sources)

    async def _rest(self) -> None:
        self._woken.clear()
        due_s = await asyncio.to_thread(self._ledger.until_due_s)
        wait_s = _LOOK_AGAIN_S if due_s is None else min(due_s + 0.01, _LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _do(self, job: Job, sources: Sequence[Place]) -> None:
        try:
            await self._act(job, sources)
        except Away as error:
            if await asyncio.to_thread(self._ledger.postponed, job, error.storage, str(error)):
                logger.warning("storage %s cannot be reached: %s", error.storage, error)
        except (Unavailable, Refused, Hopeless) as error:
            state = await asyncio.to_thread(
                self._ledger.failed, job, str(error), for_good=isinstance(error, Hopeless)
            )
            level = logging.ERROR if state == jobs.DEAD else logging.WARNING
            logger.log(
                level,
                "%s of %s:%s to %s (rule %s, attempt %d) failed, now %s: %s",
                job.action, *job.original, job.target.storage, job.rule, job.attempts + 1, state,
                error,
            )  # fmt: skip
        else:
            await asyncio.to_thread(self._ledger.done, job)

    async def _act(self, job: Job, sources: Sequence[Place]) -> None:
        if job.action == jobs.COPY:
            await self._executor.copy(sources, job.target, job.content, replaces=job.replaces)
            for path in job.stale_paths:
                await self._forget_stale(job, path)
        elif job.action == jobs.FREE:
            copies = await asyncio.to_thread(self._ledger.copies, job)
            if not copies:
                raise Hopeless("no copy of it is safe any more")
            await self._executor.remove(job.target, job.content, safe_at=copies)
        else:
            await asyncio.to_thread(self._ledger.begin_expiry, job)
            await self._executor.remove(job.target, job.content, safe_at=[])

    async def _forget_stale(self, job: Job, path: str) -> None:
        """Remove the copy under a name that the original had before."""
        stale = job.target._replace(path=path)
        try:
            await self._executor.remove(stale, job.content, safe_at=[job.target])
        except Hopeless as error:
            logger.info("%s:%s stays: %s", *stale, error)
