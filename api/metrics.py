"""What this node counts about itself, in Prometheus's text form.

It counts everybody's activity, so it is served only to the addresses that a setting names.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Metrics:
    """Counters and gauges of a node.

    Attributes:
        answers: HTTP answers by status.
        gauges: functions that return further values by name, asked when the metrics are read.
    """

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self.gauges: list[Callable[[], Mapping[str, float]]] = []

    def text(self) -> str:
        """Return everything as Prometheus text."""
        lines = ["# TYPE storage_events_api_answers_total counter"]
        lines += [
            f'storage_events_api_answers_total{{status="{status}"}} {count}'
            for status, count in sorted(self.answers.items())
        ]
        for ask in self.gauges:
            for name, value in ask().items():
                kind = "counter" if name.endswith("_total") else "gauge"
                lines += [f"# TYPE {name} {kind}", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"
