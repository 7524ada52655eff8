"""Who is next: as few jobs of each (rule, user) at once as can be, and all of them in turn. Pure.

One user with a million files, or one rule, does not keep the others waiting: the next job is one
of the group that has the fewest running, and among those of the one that waited longest.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

Group = tuple[str, str]


class Turns:
    """Remembers who runs and who was served when."""

    def __init__(self) -> None:
        self._running: Counter[Group] = Counter()
        self._served: dict[Group, int] = {}
        self._count = 0

    def next(self, due: Collection[Group]) -> Group | None:
        """Return whose turn it is of those who have something due."""
        if not due:
            return None
        return min(
            due, key=lambda group: (self._running[group], self._served.get(group, 0), group)
        )

    def began(self, group: Group) -> None:
        """A job of the group runs."""
        self._count += 1
        self._running[group] += 1
        self._served[group] = self._count

    def ended(self, group: Group) -> None:
        """A job of the group has ended, however it did."""
        self._running[group] -= 1
        if not self._running[group]:
            del self._running[group]
