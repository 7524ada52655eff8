"""Composition: an agent or a runner from settings; the only place that picks real parts."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from pipeline import health
from pipeline.event_types import ingest
from pipeline.ingest import agent, notices, report, rules_file
from pipeline.ingest.claims import Claims
from pipeline.ingest.executor import Executor
from pipeline.ingest.intake import Intake, OutboxPublisher
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.outcomes import Patience
from pipeline.ingest.runners.local import LocalRunner
from pipeline.ingest.transfers import Transfers
from schemas import kafka_topics, topics
from schemas.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pipeline.ingest.rules import RuleSet
    from pipeline.ingest.runners.base import Runner
    from pipeline.ingest.settings import IngestSettings

logger = logging.getLogger(__name__)

_DAY_S: Final = 86_400.0
_START_REST_S: Final = 2.0
_CONNECT_S: Final = 10.0


def load_rules(settings: IngestSettings) -> RuleSet:
    """Read the rules file.

    Raises:
        SettingsError: there is a mistake in it, or no storage is known.
    """
    rules = rules_file.load(settings.rules_path, storage=settings.storage())
    if not rules.storages:
        raise SettingsError(
            f"{settings.rules}: no storage is known: give [storages.NAME] a url, user and "
            "password, or set STORAGE_EVENTS_INGEST_STORAGE_USER and _PASSWORD"
        )
    return rules


async def run_agent(settings: IngestSettings, stopped: asyncio.Event) -> None:
    """Run the ingest agent until `stopped` is set.

    Raises:
        SettingsError: something set cannot be used.
    """
    rules = load_rules(settings)
    bootstrap = settings.kafka_bootstrap or rules.kafka_bootstrap or settings.bootstrap
    wanted = [topics.BILLING, topics.DEAD_LETTER, *agent.trigger_topics(rules)]
    agents: list[agent.IngestAgent] = []
    served = health.served(
        host=settings.host,
        port=settings.agent_health_port,
        variable="STORAGE_EVENTS_INGEST_AGENT_HEALTH_PORT",
        troubles=health.readiness(
            bootstrap, lambda: agents[-1].troubles() if agents else ["it has not started yet"]
        ),
        metrics=lambda: report.agent(sum(each.triggers_sent for each in agents)),
    )
    async with served, httpx.AsyncClient(timeout=_CONNECT_S) as client:
        await _patiently(stopped, lambda: _ensure_topics(settings, bootstrap, wanted))

        def work() -> Awaitable[None]:
            agents.append(
                agent.IngestAgent(
                    rules,
                    bootstrap=bootstrap,
                    group=f"{settings.topic_prefix}{rules.client_id or 'ingest'}",
                    client=client,
                    prefix=settings.topic_prefix,
                    batch_records=settings.batch_records,
                    instance_id=settings.instance_id,
                )
            )
            return agents[-1].run(stopped)

        await _patiently(stopped, work)


async def run_runner(settings: IngestSettings, stopped: asyncio.Event) -> None:
    """Run the functions that triggers ask for until `stopped` is set.

    Raises:
        SettingsError: something set cannot be used.
    """
    rules = load_rules(settings)
    if not _runner_topics(rules):
        raise SettingsError(f"{settings.rules}: no ingest rule names a function")
    ledger = Ledger(Path(settings.state))
    timeout = httpx.Timeout(settings.transfer_idle_s, connect=_CONNECT_S)
    try:
        async with httpx.AsyncClient(timeout=timeout) as client:
            await _Running(settings, rules, ledger, client, stopped).run()
    finally:
        ledger.close()


class _Running:
    """The parts of a runner, made and run.

    Args:
        settings: of the process.
        rules: the functions, and the topics of their triggers.
        ledger: what became of every trigger.
        client: what speaks HTTP to the storages.
        stopped: ends it.
    """

    def __init__(
        self,
        settings: IngestSettings,
        rules: RuleSet,
        ledger: Ledger,
        client: httpx.AsyncClient,
        stopped: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._ledger = ledger
        self._stopped = stopped
        self._shard = f"ingest:{settings.name}:{ledger.identity}"
        self._publisher = OutboxPublisher(
            bootstrap=settings.bootstrap, prefix=settings.topic_prefix
        )
        self._executor = Executor(
            rules,
            ledger=ledger,
            runner=_runner(settings, rules, Transfers(client, settings.transfer_longest_s)),
            shard=self._shard,
            at_once=settings.at_once,
            patience=Patience(
                settings.retry_first_s, settings.retry_longest_s, settings.retry_for_s
            ),
            on_outbox=self._publisher.wake,
        )
        self._intake: Intake | None = None
        self._claims: Claims | None = None

    async def run(self) -> None:
        """Run all of them until `stopped` is set."""
        settings, stopped = self._settings, self._stopped
        wanted = [
            topics.DEAD_LETTER,
            notices.CLAIMS,
            ingest.EVENT_TYPE.topic,
            *agent.trigger_topics(self._rules),
        ]
        async with health.served(
            host=settings.host,
            port=settings.runner_health_port,
            variable="STORAGE_EVENTS_INGEST_RUNNER_HEALTH_PORT",
            troubles=health.readiness(settings.bootstrap, self._troubles),
            metrics=lambda: report.runner(self._ledger.outcomes(), self._ledger.unsent()),
        ):
            await _patiently(stopped, lambda: _ensure_topics(settings, settings.bootstrap, wanted))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._executor.run(stopped))
                group.create_task(_patiently(stopped, self._take))
                group.create_task(_patiently(stopped, self._follow_claims))
                group.create_task(
                    _patiently(stopped, lambda: self._publisher.run(self._ledger, stopped))
                )
                group.create_task(_prune(self._ledger, settings.keep_days * _DAY_S, stopped))

    def _take(self) -> Awaitable[None]:
        settings = self._settings
        self._intake = Intake(
            bootstrap=settings.bootstrap,
            group=f"{settings.topic_prefix}ingest-runner",
            topics=[settings.topic_prefix + name for name in _runner_topics(self._rules)],
            queue_jobs=settings.queue_jobs,
            instance_id=settings.name,
        )
        return self._intake.run(self._executor, self._ledger, self._stopped)

    def _follow_claims(self) -> Awaitable[None]:
        self._claims = Claims(
            self._ledger,
            bootstrap=self._settings.bootstrap,
            partitions=self._settings.partitions,
            prefix=self._settings.topic_prefix,
            runner=self._shard,
            claimed=self._publisher.wake,
            decided=self._executor.wake,
        )
        return self._claims.run(self._stopped)

    def _troubles(self) -> list[str]:
        if self._intake is None or self._claims is None:
            return ["it has not started yet"]
        said = (self._executor.trouble, self._intake.trouble, self._claims.trouble)
        return [trouble for trouble in said if trouble]


def _runner_topics(rules: RuleSet) -> list[str]:
    """Return the topics with triggers that name a function."""
    return sorted({rule.topic for rule in rules.rules if rule.function})


def _runner(settings: IngestSettings, rules: RuleSet, transfers: Transfers) -> Runner:
    if settings.runner != "local":
        raise SettingsError(
            f"STORAGE_EVENTS_INGEST_RUNNER: there is no runner {settings.runner!r}; known: local"
        )
    directory = (Path(settings.state) / "work").resolve()
    return LocalRunner(rules.functions.values(), directory=directory, transfers=transfers)


async def _ensure_topics(
    settings: IngestSettings, bootstrap: str, wanted: list[topics.Topic]
) -> None:
    await kafka_topics.ensure_topics(
        bootstrap, wanted, partitions=settings.partitions, prefix=settings.topic_prefix
    )


async def _patiently(stopped: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Do it; while what it needs is away, wait and begin again."""
    while not stopped.is_set():
        try:
            await work()
        except Unavailable as error:
            logger.warning("Waiting: %s", error)
            await asyncio.sleep(_START_REST_S)
        else:
            return


async def _prune(ledger: Ledger, keep_s: float, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        ledger.prune(time.time() - keep_s)
        try:
            await asyncio.wait_for(stopped.wait(), _DAY_S / 24)
        except TimeoutError:
            continue
