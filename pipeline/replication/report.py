"""What a monitoring system is told of replication, in Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.metrics import values
from pipeline.replication import queries

if TYPE_CHECKING:
    import sqlite3

_PREFIX: Final = "storage_events_replication_"


def text(db: sqlite3.Connection) -> str:
    """Return how many replicas, bytes and jobs there are."""
    replicas = sorted(queries.replica_counts(db).items())
    jobs = sorted(queries.counts(db).items())
    return "".join(
        values(_PREFIX + name, meaning, "gauge", by_label)
        for name, meaning, by_label in (
            (
                "replicas",
                "Files in the catalogue.",
                {f'{{storage="{storage}"}}': files for storage, (files, _) in replicas},
            ),
            (
                "bytes",
                "Their size.",
                {f'{{storage="{storage}"}}': size for storage, (_, size) in replicas},
            ),
            (
                "jobs",
                "Copies, frees and removals by state; DEAD ones need somebody.",
                {
                    f'{{rule="{rule}",action="{action}",state="{state}"}}': count
                    for (rule, action, state), count in jobs
                },
            ),
        )
    )
