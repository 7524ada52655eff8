"""The composition root: catalogue, follower, ledger and executor in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from pipeline import health
from pipeline.event_types.replication import EVENT_TYPE
from pipeline.replication import report, rules_file
from pipeline.replication.catalogue import Catalogue
from pipeline.replication.database import Database
from pipeline.replication.engine import Engine
from pipeline.replication.executors.tpc import ThirdPartyCopies
from pipeline.replication.follower import Follower
from pipeline.replication.ledger import Ledger
from pipeline.replication.obligations import Obligations
from pipeline.replication.retries import Retries
from schemas import topics
from schemas.errors import Unavailable
from schemas.kafka_topics import ensure_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.replication.executors.base import Executor
    from pipeline.replication.rules import RuleSet
    from pipeline.replication.settings import ReplicationSettings

logger = logging.getLogger(__name__)

_KAFKA_AGAIN_S = 2.0


async def run(settings: ReplicationSettings) -> None:
    """Follow and replicate until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    rules = rules_file.load(settings.rules_path)
    executor = ThirdPartyCopies(
        rules.storages,
        lifetime_s=settings.macaroon_s,
        idle_s=settings.idle_s,
        verify=settings.verify,
    )
    await replicate(settings, rules, executor, stopped)


async def replicate(
    settings: ReplicationSettings, rules: RuleSet, executor: Executor, stopped: asyncio.Event
) -> None:
    """Follow and replicate until `stopped` is set.

    Args:
        settings: of the process.
        rules: what is wanted.
        executor: who moves the bytes.
        stopped: ends it.
    """
    database = Database(settings.state_path)
    followers: list[Follower] = []
    try:
        obligations = Obligations(rules)
        catalogue = Catalogue(database, obligations, keep_changes=settings.keep_changes)
        retries = Retries(settings.retry_first_s, settings.retry_longest_s, settings.attempts)
        engine = Engine(Ledger(database, obligations, retries), executor, at_once=settings.at_once)

        def make() -> Follower:
            followers[:] = [_follower(settings, catalogue, engine)]
            return followers[0]

        async with _health(settings, database, followers), asyncio.TaskGroup() as group:
            group.create_task(engine.run(stopped))
            group.create_task(_follow(settings, make, stopped))
            logger.info("replicating by %d rules", len(rules.rules))
    finally:
        database.close()


def _follower(settings: ReplicationSettings, catalogue: Catalogue, engine: Engine) -> Follower:
    return Follower(
        catalogue,
        bootstrap=settings.bootstrap,
        partitions=settings.partitions,
        prefix=settings.topic_prefix,
        changed=engine.wake,
    )


async def _follow(
    settings: ReplicationSettings, make: Callable[[], Follower], stopped: asyncio.Event
) -> None:
    """Follow, and begin again when Kafka was away: copies go on meanwhile."""
    while not stopped.is_set():
        try:
            await ensure_topics(
                settings.bootstrap,
                [EVENT_TYPE.topic, topics.DEAD_LETTER],
                partitions=settings.partitions,
                prefix=settings.topic_prefix,
            )
            await make().run(stopped)
        except Unavailable as error:
            logger.warning("%s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KAFKA_AGAIN_S):
                    await stopped.wait()


def _health(
    settings: ReplicationSettings, database: Database, followers: Sequence[Follower]
) -> contextlib.AbstractAsyncContextManager[None]:
    """Answer for the process meanwhile."""

    def troubles() -> list[str]:
        said = [follower.trouble for follower in followers] or ["it has not started yet"]
        return [trouble for trouble in said if trouble]

    def metrics() -> str:
        with database.reading() as db:
            return report.text(db)

    return health.served(
        host=settings.host,
        port=settings.health_port,
        variable="STORAGE_EVENTS_REPLICATION_HEALTH_PORT",
        troubles=health.readiness(settings.bootstrap, troubles),
        metrics=metrics,
    )
