"""The Faust app of a deriving worker, with every setting that matters said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faust.types.enums import ProcessingGuarantee

from pipeline.transport.consumer import BatchApp

if TYPE_CHECKING:
    from pipeline.settings import PipelineSettings

GROUP: Final = "storage-events"
FETCH_BYTES: Final = 1024 * 1024
_YEAR_S: Final = 365 * 24 * 60 * 60.0
_QUEUE_CHUNKS: Final = 4096


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
        # positions name events for ever, so repeats are dropped; exactly_once is not reliable
        processing_guarantee=ProcessingGuarantee.AT_LEAST_ONCE,
        web_enabled=False,  # it would listen on all addresses and by-pass the permission model
        topic_disable_leader=True,  # no leader election topic: nothing here needs a leader
        topic_allow_declare=False,  # topics are made by schemas.kafka_topics, with our retention
        topic_partitions=settings.partitions,
        table_standby_replicas=0,  # no tables: the replay log is in Redis
        store="memory://",  # the same
        reply_create_topic=False,  # agents are never asked
        consumer_auto_offset_reset="earliest",  # a new group begins with all there is
        consumer_group_instance_id=settings.instance_id or None,  # static membership
        consumer_max_fetch_size=FETCH_BYTES,
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
