"""What a monitoring system is told of replication, in Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.replication import queries

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_PREFIX: Final = "storage_events_replication_"


def _gauge(name: str, meaning: str, values: Iterable[tuple[str, int]]) -> list[str]:
    return [
        f"# HELP {_PREFIX}{name} {meaning}",
        f"# TYPE {_PREFIX}{name} gauge",
        *(f"{_PREFIX}{name}{{{labels}}} {value}" for labels, value in values),
    ]


def text(db: sqlite3.Connection) -> str:
    """Return how many replicas, bytes and jobs there are."""
    replicas = queries.replica_counts(db)
    jobs = queries.counts(db)
    lines = [
        *_gauge(
            "replicas",
            "Files in the catalogue.",
            ((f'storage="{name}"', files) for name, (files, _) in sorted(replicas.items())),
        ),
        *_gauge(
            "bytes",
            "Their size.",
            ((f'storage="{name}"', size) for name, (_, size) in sorted(replicas.items())),
        ),
        *_gauge(
            "jobs",
            "Copies, frees and removals by state; DEAD ones need somebody.",
            (
                (f'rule="{rule}",action="{action}",state="{state}"', count)
                for (rule, action, state), count in sorted(jobs.items())
            ),
        ),
    ]
    return "\n".join(lines) + "\n"
