"""How a night looks in the terminal: bars that grow, and lines of what happens above them."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.local.night import Night

_BAR = 30
_LINE_S = 5.0
_PER_MINUTE = 60


class Screen:
    """Shows a night: live in a terminal, as a line now and then in a log.

    Args:
        night: what is shown.
        count: how many exposures there are to be.
    """

    def __init__(self, night: Night, count: int) -> None:
        self._night = night
        self._count = count
        self._live = sys.stdout.isatty()
        self._begin_s = time.monotonic()
        self._shown_s = 0.0
        self._lines = 0
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Tell what happened."""
        with self._lock:
            self._erase()
            print(f"  {_clock(self._elapsed_s())}  {line}", flush=True)
            self._draw()

    def show(self, *, at_last: bool = False) -> None:
        """Show how far it is; in a log every five seconds, and at last as bars."""
        with self._lock:
            if self._live or at_last:
                self._live = True
                self._erase()
                self._draw()
            elif time.monotonic() - self._shown_s > _LINE_S:
                self._shown_s = time.monotonic()
                steps = self._night.steps(self._count)
                said = ", ".join(f"{short} {done}/{of}" for short, _, done, of in steps)
                print(f"  {_clock(self._elapsed_s())}  {said}", flush=True)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._begin_s

    def _erase(self) -> None:
        if self._live and self._lines:
            print(f"\x1b[{self._lines}F\x1b[J", end="")
            self._lines = 0

    def _draw(self) -> None:
        if not self._live:
            return
        steps = self._night.steps(self._count)
        lines = [_bar(what, done, of) for _, what, done, of in steps]
        lines.append(f"  {_clock(self._elapsed_s())}  {self._pace(steps)}")
        print("\n".join(lines), flush=True)
        self._lines = len(lines)

    def _pace(self, steps: list[tuple[str, str, int, int]]) -> str:
        """Say how fast it goes, and how long it will take by that."""
        done, of = sum(step[2] for step in steps), sum(step[3] for step in steps)
        if done in {0, of}:
            return "all done" if done else "waiting for the first exposure"
        left_s = self._elapsed_s() * (of - done) / done
        files_per_minute = done / of * self._count / self._elapsed_s() * _PER_MINUTE
        return f"{files_per_minute:.0f} exposures a minute, about {_clock(left_s)} to go"


def _bar(what: str, done: int, of: int) -> str:
    filled = _BAR * done // max(1, of)
    tick = "✓" if done >= of else " "
    return f"  {'█' * filled}{'░' * (_BAR - filled)} {done:5}/{of:<5} {tick} {what}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), _PER_MINUTE)
    return f"{minutes:2}:{rest:02}"
