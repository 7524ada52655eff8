"""The composition root of a worker: everything is made here and handed its plain arguments."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import faust
from mode import get_logger

from pipeline.agents.derive import Deriver, make_deriving_agent
from pipeline.dead_letter import DeadLetters
from pipeline.event_types import registry
from pipeline.metrics import Metrics
from pipeline.transport.consumer import BatchApp
from pipeline.transport.producer import BatchProducer
from schemas import topics
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.event_types.base import EventType
    from pipeline.settings import PipelineSettings

logger = get_logger(__name__)

GROUP: Final = "storage-events"
_FETCH_BYTES = 1024 * 1024
_YEAR_S = 365 * 24 * 60 * 60.0
_QUEUE_CHUNKS = 4096


def chosen_event_types(names: Sequence[str]) -> list[EventType]:
    """Return the derived event types of these names, all if there are no names.

    Raises:
        SettingsError: there is no such event type.
    """
    known = registry.all()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingsError(
            f"STORAGE_EVENTS_EVENT_TYPES: no event type {unknown[0]}; there are {', '.join(known)}"
        )
    return [kind for name, kind in known.items() if not names or name in names]


def group_id(settings: PipelineSettings) -> str:
    """Return the deriving consumer group: one for each choice of event types.

    Workers that derive different event types must each see all of billing.
    """
    chosen = "-".join(sorted(settings.event_types))
    return f"{settings.topic_prefix}{GROUP}" + (f"-{chosen}" if chosen else "")


def create_faust_app(settings: PipelineSettings) -> BatchApp:
    """Make the Faust app with every setting that matters said, none left to a default."""
    session_s = settings.session_timeout_s
    return BatchApp(
        group_id(settings),
        broker=";".join(f"kafka://{one.strip()}" for one in settings.bootstrap.split(",")),
        max_in_flight_bytes=settings.max_in_flight_bytes,
        max_settle_s=settings.settle_s,
        autodiscover=False,  # agents are made below, not found by importing everything
        processing_guarantee=faust.types.enums.ProcessingGuarantee.AT_LEAST_ONCE,  # positions
        # name events for ever, so repeats are dropped; Faust's exactly_once is not reliable
        web_enabled=False,  # it would listen on all addresses and by-pass the permission model
        topic_disable_leader=True,  # no leader election topic: nothing here needs a leader
        topic_allow_declare=False,  # topics are made by schemas.kafka_topics, with our retention
        topic_partitions=settings.partitions,
        table_standby_replicas=0,  # no tables: the replay log is in Redis
        store="memory://",  # the same
        reply_create_topic=False,  # agents are never asked
        consumer_auto_offset_reset="earliest",  # a new group begins with all there is
        consumer_group_instance_id=settings.instance_id or None,  # static membership
        consumer_max_fetch_size=_FETCH_BYTES,
        broker_max_poll_records=settings.batch_records,  # bounds a chunk's work, so latency
        broker_session_timeout=session_s,  # a killed worker's partitions rest this long
        broker_heartbeat_interval=session_s / 3,
        broker_request_timeout=max(30.0, session_s + 1),  # Faust wants it above the session's
        broker_rebalance_timeout=max(10.0, 2 * settings.settle_s),
        broker_max_poll_interval=_YEAR_S,  # a slow output is no reason to lose partitions
        broker_commit_every=2**31,  # by time only; counting messages would count chunks
        broker_commit_interval=settings.commit_interval_s,
        stream_wait_empty=True,  # a rebalance or stop waits (max_settle_s) for what was begun
        stream_buffer_maxsize=_QUEUE_CHUNKS,  # never the limit: bytes in flight are
        stream_recovery_delay=0.0,  # nothing to recover
        stream_processing_timeout=_YEAR_S,  # health tells when nothing moves, with the reason
        broker_commit_livelock_soft_timeout=_YEAR_S,  # the same
        worker_redirect_stdouts=False,  # standard output is the caller's
        producer_threaded=False,  # Faust's own producer is started, but never sends
    )


def clock_us() -> int:
    """Return the time in epoch microseconds."""
    return time.time_ns() // 1000


class Pipeline:
    """A worker's deriving part: the Faust app and what its agent uses.

    Args:
        settings: the worker's settings.
        metrics: where to count.
    """

    def __init__(self, settings: PipelineSettings, metrics: Metrics) -> None:
        event_types = chosen_event_types(settings.event_types)
        prefix = settings.topic_prefix
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
            dead_letters=DeadLetters(self._producer, prefix=prefix, clock_us=clock_us),
            metrics=metrics,
            on_bug=self._on_bug,
        )
        self.billing = prefix + topics.BILLING.name
        self.agent = make_deriving_agent(self.app, topic=self.billing, deriver=self._deriver)
        self._crashes: set[asyncio.Task[Any]] = set()
        metrics.gauge("in_flight_bytes", self._in_flight)
        metrics.gauge("lag_records", self._lag)

    def _on_bug(self, error: BaseException) -> None:
        self._crashes.add(asyncio.get_running_loop().create_task(self.app.crash(error)))

    def _in_flight(self) -> dict[str, float]:
        consumer = self.app._consumer  # noqa: SLF001 - the property would make one
        return {"": float(consumer.in_flight_bytes if consumer else 0)}

    def _lag(self) -> dict[str, float]:
        return {
            f'{{topic="{topic}",partition="{partition}"}}': float(end - done)
            for (topic, partition), (end, done) in self.progress().items()
        }

    def progress(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return, for each assigned partition, its end offset and the committed one."""
        consumer = self.app._consumer  # noqa: SLF001 - the property would make one
        return {} if consumer is None else consumer.progress()

    async def stop(self) -> None:
        """Stop reading, let what was begun finish, commit, and give back the connections."""
        await self.app.stop()
        await self._deriver.stop()
        await self._producer.stop()


def create_app(settings: PipelineSettings) -> Any:
    """Make the Faust app of a deriving worker: what the Faust command line runs."""
    return Pipeline(settings, Metrics()).app
