"""Which event types a worker derives, and the topics that it needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.event_types import registry
from schemas import kafka_topics, topics
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.event_types.base import EventType
    from pipeline.settings import PipelineSettings
    from schemas.topics import Topic


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


def needed_topics(event_types: Sequence[EventType]) -> list[Topic]:
    """Return the topics that a worker reads and writes."""
    return [topics.BILLING, topics.DEAD_LETTER, *(kind.topic for kind in event_types)]


async def make_topics(settings: PipelineSettings) -> list[Topic]:
    """Create the topics that are missing; return all that these settings need.

    Raises:
        Unavailable: Kafka is away, or does not create them in time.
        SettingsError: a topic exists with another number of partitions.
    """
    wanted = needed_topics(chosen_event_types(settings.event_types))
    await kafka_topics.ensure_topics(
        settings.bootstrap, wanted, partitions=settings.partitions, prefix=settings.topic_prefix
    )
    return wanted
