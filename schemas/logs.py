"""What a library says again and again is logged once a minute, with how often it was said."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_AGAIN_S: Final = 60.0
_MOST: Final = 1000


class OnceAMinute(logging.Filter):
    """Lets one line of a kind through in a minute: of a logger, and a text without its values.

    While Kafka is away aiokafka would fill the disk: some hundred lines a second.

    Args:
        names: whose lines, by the beginning of the loggers' names; all others pass.
        clock: seconds that only go forward.
    """

    def __init__(self, *names: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._names = names
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line passes; it then tells how many like it did not."""
        if not record.name.startswith(self._names):
            return True
        kind = (record.name, str(record.msg)[:60])
        now = self._clock()
        last_s, left_out = self._said.get(kind, (-_AGAIN_S, 0))
        if now - last_s < _AGAIN_S:
            self._said[kind] = (last_s, left_out + 1)
            return False
        if len(self._said) > _MOST:
            self._said.clear()
        self._said[kind] = (now, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} more like this)"
            record.args = None
        return True


def repeat_seldom(*names: str) -> None:
    """Let the process log each kind of line of these loggers once a minute at most."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(OnceAMinute(*names))
