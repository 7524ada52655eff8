"""What is said while a service is away: a line at the beginning, one a minute, one at the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from logging import Logger

_AGAIN_S: Final = 60.0


class Outage:
    """Tells the log that somebody waits; however many wait and however often they try.

    Args:
        what: who waits for what, as the line begins.
        logger: where to say it.
        clock: seconds that only go forward.
    """

    def __init__(
        self, what: str, logger: Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._logger = logger
        self._clock = clock
        self._waiting: set[Hashable] = set()
        self._began_s = 0.0
        self._said_s = 0.0

    def note(self, error: Exception, who: Hashable = None) -> None:
        """Note that one who waits has tried in vain."""
        now = self._clock()
        if not self._waiting:
            self._began_s = now
        if not self._waiting or now - self._said_s >= _AGAIN_S:
            self._said_s = now
            waited_s = now - self._began_s
            self._logger.warning("%s, for %.0f s now: %s", self._what, waited_s, error)
        self._waiting.add(who)

    def over(self, who: Hashable = None) -> None:
        """Note that one goes on, or waits no more."""
        if who in self._waiting:
            self._waiting.remove(who)
            if not self._waiting:
                waited_s = self._clock() - self._began_s
                self._logger.warning("%s no more, after %.0f s", self._what, waited_s)
