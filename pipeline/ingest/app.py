"""Composition: an agent or a runner from settings; the only place that picks real parts."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from pipeline.event_types import ingest
from pipeline.ingest import agent, rules_file
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
    await _patiently(stopped, lambda: _ensure_topics(settings, bootstrap, wanted))
    async with httpx.AsyncClient(timeout=_CONNECT_S) as client:

        def work() -> Awaitable[None]:
            return agent.IngestAgent(
                rules,
                bootstrap=bootstrap,
                group=f"{settings.topic_prefix}{rules.client_id or 'ingest'}",
                client=client,
                prefix=settings.topic_prefix,
                batch_records=settings.batch_records,
                instance_id=settings.instance_id,
            ).run(stopped)

        await _patiently(stopped, work)


async def run_runner(settings: IngestSettings, stopped: asyncio.Event) -> None:
    """Run the functions that triggers ask for until `stopped` is set.

    Raises:
        SettingsError: something set cannot be used.
    """
    rules = load_rules(settings)
    if not _runner_topics(rules):
        raise SettingsError(f"{settings.rules}: no ingest rule names a function")
    wanted = [topics.DEAD_LETTER, ingest.EVENT_TYPE.topic, *agent.trigger_topics(rules)]
    await _patiently(stopped, lambda: _ensure_topics(settings, settings.bootstrap, wanted))
    ledger = Ledger(Path(settings.state))
    try:
        await _execute(settings, rules, ledger, stopped)
    finally:
        ledger.close()


async def _execute(
    settings: IngestSettings, rules: RuleSet, ledger: Ledger, stopped: asyncio.Event
) -> None:
    publisher = OutboxPublisher(bootstrap=settings.bootstrap, prefix=settings.topic_prefix)
    timeout = httpx.Timeout(settings.transfer_idle_s, connect=_CONNECT_S)
    async with httpx.AsyncClient(timeout=timeout) as client:
        executor = Executor(
            rules,
            ledger=ledger,
            runner=_runner(settings, rules, Transfers(client, settings.transfer_longest_s)),
            shard=f"ingest:{settings.name}:{ledger.identity}",
            at_once=settings.at_once,
            patience=Patience(
                settings.retry_first_s, settings.retry_longest_s, settings.retry_for_s
            ),
            on_outbox=publisher.wake,
        )

        def take() -> Awaitable[None]:
            return Intake(
                bootstrap=settings.bootstrap,
                group=f"{settings.topic_prefix}ingest-runner",
                topics=[settings.topic_prefix + name for name in _runner_topics(rules)],
                queue_jobs=settings.queue_jobs,
                instance_id=settings.name,
            ).run(executor, ledger, stopped)

        async with asyncio.TaskGroup() as group:
            group.create_task(executor.run(stopped))
            group.create_task(_patiently(stopped, take))
            group.create_task(_patiently(stopped, lambda: publisher.run(ledger, stopped)))
            group.create_task(_prune(ledger, settings.keep_days * _DAY_S, stopped))


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
