"""One flusher for all streams of a node: frames are joined per stream and written once a tick.

When little happens a stream is written to at once. Under load ticks come apart: a flush that took
long makes the next one wait a multiple of that time, so writing never takes more than its share
of the processor, and each write carries more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, Protocol

logger = logging.getLogger(__name__)

SHARE: Final = 4
"""After a flush of `d` seconds the next one comes after `SHARE * d` seconds at the earliest."""

LONGEST_TICK_S: Final = 0.02


class Flushable(Protocol):
    """What is written to: a stream."""

    def flush(self) -> None:
        """Write what is pending."""

    def cut_off(self) -> None:
        """End at once; the reader comes back and gets what it has missed."""


class Flusher:
    """Writes streams that have something pending."""

    def __init__(self) -> None:
        self._dirty: dict[Flushable, None] = {}
        self._scheduled = False
        self._next_s = 0.0

    def mark(self, stream: Flushable) -> None:
        """Have a stream flushed, once, soon."""
        self._dirty[stream] = None
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            wait_s = self._next_s - time.perf_counter()
            if wait_s <= 0:
                loop.call_soon(self._flush)
            else:
                loop.call_later(wait_s, self._flush)

    def forget(self, stream: Flushable) -> None:
        """Leave a stream out that has ended."""
        self._dirty.pop(stream, None)

    def _flush(self) -> None:
        started_s = time.perf_counter()
        dirty, self._dirty = self._dirty, {}
        self._scheduled = False
        for stream in dirty:
            try:
                stream.flush()
            except Exception:
                logger.exception("a stream that cannot be written to is cut off")
                stream.cut_off()
        ended_s = time.perf_counter()
        self._next_s = ended_s + min(LONGEST_TICK_S, SHARE * (ended_s - started_s))
