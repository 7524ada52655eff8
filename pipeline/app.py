"""The composition root of a worker: everything is made here and handed its plain arguments."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from typing import TYPE_CHECKING, Any

from mode import get_logger

from pipeline.agents.derive import Deriver, make_deriving_agent
from pipeline.agents.replay import ReplayWriter, make_consumer
from pipeline.choice import chosen_event_types, make_topics
from pipeline.dead_letter import DeadLetters
from pipeline.faust_app import FETCH_BYTES, create_faust_app, group_id
from pipeline.health import Movement, kafka_trouble, served
from pipeline.metrics import Metrics
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect
from pipeline.transport.producer import BatchProducer
from schemas import topics
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from pipeline.settings import PipelineSettings
    from pipeline.transport.consumer import BatchApp, BatchConsumer

logger = get_logger(__name__)

_COLLECT_AFTER = 20_000
_TRY_AGAIN_S = 1.0
_STOP_S = 4.0


def collect_seldom() -> None:
    """Let the garbage collector look seldom, and only at what is made from now on.

    A batch makes ten thousand objects that die without it; looking through them again and again
    is a tenth of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


class Deriving:
    """The deriving part of a worker: the Faust app and what its agent uses.

    Args:
        settings: the worker's settings.
        metrics: where to count.
    """

    def __init__(self, settings: PipelineSettings, metrics: Metrics) -> None:
        event_types = chosen_event_types(settings.event_types)
        prefix = settings.topic_prefix
        self._settings = settings
        self.app = create_faust_app(settings)
        self._producer = BatchProducer(
            bootstrap=settings.bootstrap,
            max_batch_bytes=settings.max_batch_bytes,
            compression=settings.compression,
        )
        self._deriver = Deriver(
            event_types=event_types,
            topics={kind.name: prefix + kind.topic.name for kind in event_types},
            producer=self._producer,
            dead_letters=DeadLetters(
                self._producer, prefix=prefix, clock_us=lambda: time.time_ns() // 1000
            ),
            metrics=metrics,
            make_topics=self._make_topics,
            on_bug=self._on_bug,
        )
        make_deriving_agent(self.app, topic=prefix + topics.BILLING.name, deriver=self._deriver)
        self._stop_s = settings.settle_s + _STOP_S
        self._crashes: set[asyncio.Task[Any]] = set()
        metrics.gauge("in_flight_bytes", self._in_flight)

    def _on_bug(self, error: BaseException) -> None:
        self._crashes.add(asyncio.get_running_loop().create_task(self.app.crash(error)))

    async def _make_topics(self) -> None:
        """Make what somebody has deleted meanwhile, if Kafka is there to do it."""
        with contextlib.suppress(Unavailable):
            await make_topics(self._settings)

    @property
    def in_flight_bytes(self) -> int:
        """What was read and is not yet written, in bytes."""
        consumer = self._consumer
        return consumer.in_flight_bytes if consumer else 0

    def _in_flight(self) -> dict[str, float]:
        return {"": float(self.in_flight_bytes)}

    @property
    def _consumer(self) -> BatchConsumer | None:
        consumer: BatchConsumer | None = self.app._consumer  # noqa: SLF001 - `.consumer` makes one
        return consumer

    async def run(self, stopping: asyncio.Event) -> None:
        """Derive until `stopping` is set; then finish and commit what was begun.

        Raises:
            BaseException: the Faust app crashed, for that reason.
        """
        await self.app.start()
        crashed = asyncio.create_task(self.app._crashed.wait())  # noqa: SLF001 - no public event
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (crashed, stopped):
            task.cancel()
        try:
            async with asyncio.timeout(self._stop_s):
                await self.app.stop()
                await self._deriver.stop()
                await self._producer.stop()
        except TimeoutError:
            logger.warning("Kafka does not let go in time: what is not committed is read again")
        if self.app.crash_reason is not None:
            raise self.app.crash_reason

    def progress(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return, for each assigned partition, its end offset and the committed one."""
        consumer = self._consumer
        return {} if consumer is None else consumer.progress()

    async def troubles(self) -> list[str]:
        """Say what keeps it from being ready."""
        consumer = self._consumer
        if consumer is None or not self.app.consumer_generation_id:
            return ["derive: has not joined the group of workers yet"]
        if not consumer.flow_active or self.app.rebalancing:
            return ["derive: partitions are being divided among the workers"]
        return []


class Replaying:
    """The replay part of a worker.

    Args:
        settings: the worker's settings.
        metrics: where to count.
    """

    def __init__(self, settings: PipelineSettings, metrics: Metrics) -> None:
        self._redis = connect(settings.redis, timeout_s=settings.redis_timeout_s)
        prefix = settings.topic_prefix
        instance = settings.instance_id
        self._writer = ReplayWriter(
            consumer=make_consumer(
                bootstrap=settings.bootstrap,
                group=f"{group_id(settings)}-replay",
                instance_id=f"{instance}-replay" if instance else "",
                session_timeout_s=settings.session_timeout_s,
                fetch_bytes=FETCH_BYTES,
            ),
            logs={
                prefix + kind.topic.name: RedisReplayLog(
                    self._redis,
                    prefix=settings.redis_prefix,
                    event_type=kind.name,
                    max_age_s=settings.replay_max_age_s,
                    max_bytes=settings.replay_max_bytes,
                )
                for kind in chosen_event_types(settings.event_types)
            },
            batch_records=settings.batch_records,
            metrics=metrics,
        )
        self.progress = self._writer.progress

    async def run(self, stopping: asyncio.Event) -> None:
        """Write until `stopping` is set."""
        writing = asyncio.create_task(self._writer.run())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({writing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self._writer.stop()
        await writing
        await self._redis.aclose()

    async def troubles(self) -> list[str]:
        """Say what keeps it from being ready."""
        return [f"replay: {self._writer.trouble}"] if self._writer.trouble else []


class Worker:
    """One worker process: its parts, its topics, its health.

    Args:
        settings: the worker's settings.
    """

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._stopping = asyncio.Event()
        self._parts: list[Deriving | Replaying] = []
        if "derive" in settings.parts:
            self._parts.append(Deriving(settings, self._metrics))
        if "replay" in settings.parts:
            self._parts.append(Replaying(settings, self._metrics))
        self._movement = Movement(settings.stall_s)
        self._stalls: list[str] = []
        self._waiting_for = "starting"
        self._metrics.gauge("lag_records", self._lag)

    async def run(self) -> None:
        """Work until `stop`; waits for Kafka if it is away at the start.

        Raises:
            Exception: a bug, or a setting that cannot be; the process should end.
        """
        async with served(
            host=self._settings.host,
            port=self._settings.health_port,
            variable="WORKER_HEALTH_PORT",
            troubles=self.troubles,
            metrics=self._metrics.text,
        ):
            watching = asyncio.create_task(self._watch())
            try:
                await self._make_topics()
                if not self._stopping.is_set():
                    async with asyncio.TaskGroup() as group:
                        for part in self._parts:
                            group.create_task(self._run_part(part))
            finally:
                watching.cancel()

    async def _run_part(self, part: Deriving | Replaying) -> None:
        """Run a part; when it ends, however, the others end too."""
        try:
            await part.run(self._stopping)
        finally:
            self._stopping.set()

    def stop(self) -> None:
        """Ask the worker to end."""
        self._stopping.set()

    async def _make_topics(self) -> None:
        while not self._stopping.is_set():
            try:
                await make_topics(self._settings)
            except Unavailable as error:
                self._waiting_for = str(error)
                logger.warning("Waiting for Kafka: %s", error)
                await asyncio.sleep(_TRY_AGAIN_S)
            else:
                self._waiting_for = ""
                return

    async def _watch(self) -> None:
        while True:
            self._stalls = self._movement.stalls(self._progress())
            await asyncio.sleep(_TRY_AGAIN_S)

    def _progress(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {tp: ends for part in self._parts for tp, ends in part.progress().items()}

    def _lag(self) -> dict[str, float]:
        return {
            f'{{topic="{topic}",partition="{partition}"}}': float(max(0, end - done))
            for (topic, partition), (end, done) in self._progress().items()
        }

    async def troubles(self) -> list[str]:
        """Say what is missing, in sentences; nothing: ready."""
        if self._waiting_for:
            return [self._waiting_for]
        away = await kafka_trouble(self._settings.bootstrap)
        found = [away] if away else []
        for part in self._parts:
            found += await part.troubles()
        return found + self._stalls


def create_app(settings: PipelineSettings) -> BatchApp:
    """Make the Faust app of a deriving worker: what the Faust command line runs."""
    return Deriving(settings, Metrics()).app
