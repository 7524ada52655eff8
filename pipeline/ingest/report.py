"""What a monitoring system is told of ingest, in Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.metrics import values

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX: Final = "storage_events_ingest_"


def agent(triggers: int) -> str:
    """Return what the agent tells: how many triggers it has sent."""
    return values(f"{_PREFIX}triggers_total", "Triggers sent.", "counter", {"": triggers})


def runner(jobs: Mapping[str, int], unsent: int) -> str:
    """Return what a runner tells.

    Args:
        jobs: how many there are in each state.
        unsent: messages that Kafka does not have yet.
    """
    counted = {f'{{state="{state}"}}': count for state, count in sorted(jobs.items())}
    return values(
        f"{_PREFIX}jobs",
        "Jobs in the ledger by state; FAILED ones need somebody.",
        "gauge",
        counted,
    ) + values(f"{_PREFIX}unsent", "Messages that wait for Kafka.", "gauge", {"": unsent})
