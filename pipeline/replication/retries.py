"""When what failed is tried again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """A policy: waits that double up to a bound, spread so that many do not come at once.

    Attributes:
        first_s: the first wait, in seconds.
        longest_s: the longest, in seconds.
        most: how many attempts there are in all.
    """

    first_s: float = 1.0
    longest_s: float = 300.0
    most: int = 15

    def wait_s(self, attempts: int, spread: float) -> float | None:
        """Return how long to wait, in seconds; None: that was the last attempt.

        Args:
            attempts: how many have failed, from 1.
            spread: a random number from 0 to 1; the wait is between half and all of it.
        """
        if attempts >= self.most:
            return None
        # 2 ** 60 and more would be no float some day
        full: float = min(self.first_s * 2 ** min(attempts - 1, 60), self.longest_s)
        return full * (0.5 + spread / 2)

    def outage_wait_s(self, away_s: float, spread: float) -> float:
        """Return how long to wait for a storage that cannot be reached, in seconds.

        It is not counted: an outage costs no file its attempts. The longer it lasts, the more
        seldom it is looked at, and afterwards nobody waits longer than it lasted.

        Args:
            away_s: for how long it has been away.
            spread: as above.
        """
        full = min(max(away_s / 2, self.first_s), self.longest_s)
        return full * (0.5 + spread / 2)
