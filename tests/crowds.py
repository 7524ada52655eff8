"""Several crowds at once, each of which is told something else."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.crowd import Crowd


class Crowds:
    """Crowds of which all is asked together.

    Args:
        crowds: none of them is started.
    """

    def __init__(self, crowds: Sequence[Crowd]) -> None:
        self.crowds = crowds

    def start(self) -> None:
        """Connect all."""
        for crowd in self.crowds:
            crowd.start()

    def stop(self) -> None:
        """Hang up."""
        for crowd in self.crowds:
            crowd.stop()

    def count(self) -> int:
        """Return how many events there were."""
        return sum(len(crowd.told) for crowd in self.crowds)

    def behind(self) -> int:
        """Return how many events somebody has not been told yet, at most."""
        return max(len(crowd.told) - crowd.slowest() for crowd in self.crowds)

    def open_on(self, node: int) -> int:
        """Return how many streams are open on a node."""
        return sum(crowd.open_on(node) for crowd in self.crowds)

    def all_are_open(self) -> bool:
        """Whether every reader has a stream."""
        return all(crowd.all_are_open() for crowd in self.crowds)

    def state(self) -> str:
        """Say how it stands, for a test that waits in vain."""
        return "\n".join(crowd.state() for crowd in self.crowds)

    def system(self) -> Counter[str]:
        """Return how often each kind of SYSTEM event was told."""
        return sum((crowd.system() for crowd in self.crowds), Counter())

    def connections(self) -> int:
        """Return how many connections there were."""
        return sum(reader.connections for crowd in self.crowds for reader in crowd.readers)
