"""Counters and gauges, in Prometheus's text format."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PREFIX = "storage_events_worker_"
_HELP = {
    "records_total": "Billing records read.",
    "repeats_total": "Billing records dropped because their number was derived before.",
    "holes_total": "Holes in a shard's numbers: losses upstream.",
    "dead_letters_total": "Records set aside.",
    "events_total": "Derived messages.",
    "replayed_total": "Derived messages written to the replay log.",
    "unreadable_total": "Derived messages that the replay agent could not read.",
    "lag_records": "Records behind the end of a partition.",
    "in_flight_bytes": "Bytes read and not yet written.",
}


def values(name: str, meaning: str, kind: str, by_label: Mapping[str, float]) -> str:
    """Return the lines of one metric.

    Args:
        name: its full name.
        meaning: one sentence.
        kind: `counter` or `gauge`.
        by_label: its values by label text, e.g. `{topic="billing"}`.
    """
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{label} {value:.17g}" for label, value in by_label.items()]
    return "\n".join(lines) + "\n"


class Metrics:
    """What a worker counts; made once per process."""

    def __init__(self) -> None:
        self._counters: collections.Counter[tuple[str, str]] = collections.Counter()
        self._gauges: dict[str, Callable[[], dict[str, float]]] = {}

    def add(self, name: str, amount: int, *, event_type: str = "") -> None:
        """Add to a counter."""
        if amount:
            label = f'{{event_type="{event_type}"}}' if event_type else ""
            self._counters[name, label] += amount

    def value(self, name: str, *, event_type: str = "") -> int:
        """Return a counter's value."""
        label = f'{{event_type="{event_type}"}}' if event_type else ""
        return self._counters[name, label]

    def gauge(self, name: str, read: Callable[[], dict[str, float]]) -> None:
        """Register a gauge: `read` returns values by label text, e.g. `{topic="billing"}`."""
        self._gauges[name] = read

    def text(self) -> str:
        """Return all values in Prometheus's text format."""
        lines = []
        names = sorted({name for name, _ in self._counters} | {"records_total"})
        for name in names:
            lines += [f"# HELP {_PREFIX}{name} {_HELP[name]}", f"# TYPE {_PREFIX}{name} counter"]
            found = {label: n for (key, label), n in sorted(self._counters.items()) if key == name}
            lines += [f"{_PREFIX}{name}{label} {n}" for label, n in (found or {"": 0}).items()]
        for name, read in self._gauges.items():
            lines += [f"# HELP {_PREFIX}{name} {_HELP[name]}", f"# TYPE {_PREFIX}{name} gauge"]
            lines += [f"{_PREFIX}{name}{label} {value:g}" for label, value in read().items()]
        return "\n".join(lines) + "\n"
