"""The executor: triggers in, outcomes out, N functions at once.

A trigger is taken over in steps, each certain before the next: into the ledger, its offset
committed on Kafka, claimed (see `claims`), run. What runs when this process is killed runs again
after its restart, what is done is never done again, and nothing has two outcomes. A job that waits
for a storage holds no place among the N; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final

from pipeline.event_types import ingest
from pipeline.ingest import notices, outcomes, triggers
from pipeline.ingest.runners.base import FunctionFailed, Job, job_name
from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.ingest.ledger import Ledger
    from pipeline.ingest.ledger_rows import Arrived, Message, Row
    from pipeline.ingest.outcomes import Patience
    from pipeline.ingest.rules import RuleSet
    from pipeline.ingest.runners.base import Runner

logger = logging.getLogger(__name__)

_IDLE_S: Final = 2.0
"""How often the ledger is looked at in any case: `retry` is another process."""


class Executor:
    """Runs what triggers ask for.

    Args:
        rules: the functions and their limits.
        ledger: what became of every trigger.
        runner: what makes a try.
        shard: the shard of its job events, and its name in claims.
        at_once: how many functions run at once.
        patience: how failures are borne.
        clock: epoch seconds.
        on_outbox: called when there is something to send.
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        ledger: Ledger,
        runner: Runner,
        shard: str,
        at_once: int,
        patience: Patience,
        clock: Callable[[], float] = time.time,
        on_outbox: Callable[[], None] = lambda: None,
    ) -> None:
        self._rules = rules
        self._ledger = ledger
        self._runner = runner
        self._shard = shard
        self._at_once = at_once
        self._patience = patience
        self._clock = clock
        self._on_outbox = on_outbox
        self._changed = asyncio.Event()
        self.trouble = "functions are being loaded"

    def take(self, arrived: Iterable[Arrived]) -> None:
        """Take triggers over; when this returns, the ledger has them and claims them."""
        good: list[Arrived] = []
        letters: list[Message] = []
        for each in arrived:
            try:
                trigger, _ = triggers.read(each.headers, each.data)
                if not trigger.function:
                    continue  # somebody else listens to this topic, too
                if trigger.function not in self._rules.functions:
                    raise BadRecord(f"this runner has no function {trigger.function!r}")  # noqa: TRY301
            except BadRecord as error:
                logger.warning("Trigger at offset %s of %s: %s", each.offset, each.topic, error)
                letters.append(notices.dead_letter(each, str(error), self._now_us()))
            else:
                good.append(each._replace(id=trigger.id))
        self._ledger.accept(
            good, letters, self._clock(), lambda job_id: notices.claim(job_id, self._shard)
        )
        self._on_outbox()

    def wake(self) -> None:
        """Say that there may be something to run."""
        self._changed.set()

    async def run(self, stopped: asyncio.Event) -> None:
        """Run jobs until `stopped` is set; what runs then is run again next time."""
        names = [job_name(job_id) for job_id in self._ledger.unfinished_ids()]
        await self._runner.start(names)
        self.trouble = ""
        running: set[asyncio.Task[None]] = set()
        stop = asyncio.create_task(stopped.wait())
        try:
            while not stopped.is_set():
                while len(running) < self._at_once and (row := self._ledger.begin(self._clock())):
                    task = asyncio.create_task(self._try(row))
                    running.add(task)
                    task.add_done_callback(lambda _: self._changed.set())
                await self._wait(stop, has_room=len(running) < self._at_once)
                for task in [task for task in running if task.done()]:
                    running.discard(task)
                    task.result()
        finally:
            stop.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._runner.close()

    async def _wait(self, stop: asyncio.Task[Any], *, has_room: bool) -> None:
        """Wait until something changed, a job is due and has room, or it is time to stop."""
        due_s = self._ledger.next_due_s() if has_room else None
        wait_s = _IDLE_S if due_s is None else min(_IDLE_S, max(0.01, due_s - self._clock()))
        changed = asyncio.create_task(self._changed.wait())
        await asyncio.wait({changed, stop}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        self._changed.clear()

    async def _try(self, row: Row) -> None:
        trigger, urls = triggers.read(row.arrived.headers, row.arrived.data)
        function = self._rules.functions.get(trigger.function)
        if function is None:
            self._give_up(row, trigger, f"this runner has no function {trigger.function!r}", "")
            return
        job = Job(trigger, urls, function, is_last_try=row.failures + 1 >= function.attempts)

        def begun() -> None:
            self._ledger.tell([self._event(trigger, row, ingest.STARTED)])
            self._on_outbox()

        try:
            await self._runner.run(job, begun)
        except (FunctionFailed, Unavailable, Refused) as error:
            self._failed(error, row, job)
        else:
            done = [self._event(trigger, row, ingest.DONE)]
            self._ledger.finish(
                trigger.id, state=ingest.DONE, reason="", now_s=self._clock(), messages=done
            )
            self._on_outbox()
            logger.info("Done: %s", trigger.id)
        if self._ledger.is_finished(trigger.id):
            await self._runner.forget(job)

    def _failed(self, error: FunctionFailed | Unavailable | Refused, row: Row, job: Job) -> None:
        now_s = self._clock()
        found = outcomes.verdict(
            error,
            row,
            attempts=job.function.attempts,
            patience=self._patience,
            now_s=now_s,
            chance=random.random(),  # noqa: S311 - spreads retries
        )
        if found.again_in_s is None:
            self._give_up(row, job.trigger, found.reason, found.told)
            return
        logger.info("Again in %.1f s: %s: %s", found.again_in_s, job.trigger.id, found.reason)
        self._ledger.again(
            job.trigger.id,
            due_s=now_s + found.again_in_s,
            failures=found.failures,
            waiting_since_s=found.waiting_since_s,
            reason=found.reason,
        )

    def _give_up(self, row: Row, trigger: triggers.Trigger, reason: str, told: str) -> None:
        logger.warning("Failed: %s: %s", trigger.id, reason)
        self._ledger.finish(
            trigger.id,
            state=ingest.FAILED,
            reason=reason,
            now_s=self._clock(),
            messages=[
                self._event(trigger, row, ingest.FAILED, told),
                notices.dead_letter(row.arrived, reason, self._now_us()),
            ],
        )
        self._on_outbox()

    def _event(self, trigger: triggers.Trigger, row: Row, state: str, reason: str = "") -> Message:
        return notices.job_event(
            self._shard,
            trigger,
            state=state,
            attempt=row.attempt,
            time_us=self._now_us(),
            reason=reason,
        )

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)
