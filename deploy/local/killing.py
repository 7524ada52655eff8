"""kill -9 of one process after the other, at random, and the count of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.local.processes import StartError

if TYPE_CHECKING:
    import random
    import threading
    from collections.abc import Callable, Sequence

    from deploy.local.processes import Process

_BETWEEN_S = (0.2, 2.0)
_TWO_AT_ONCE = 0.2


class Killer:
    """Kills each victim once, in any order, and then any of them, again and again.

    Args:
        victims: what is killed.
        start: starts whatever does not run.
        chance: decides who, when, and whether two go at once.
        say: told each kill.
    """

    def __init__(
        self,
        victims: Sequence[Process],
        *,
        start: Callable[[], None],
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._victims = victims
        self._start = start
        self._chance = chance
        self._say = say
        self.kills: dict[str, int] = {victim.name: 0 for victim in victims}
        self.between_s = _BETWEEN_S
        self.trouble = ""

    def run(self, is_enough: Callable[[], bool], over: threading.Event) -> None:
        """Kill until each was killed and it is enough, or all is over."""
        waiting = self._chance.sample(self._victims, len(self._victims))
        try:
            while (waiting or not is_enough()) and not over.wait(
                self._chance.uniform(*self.between_s)
            ):
                chosen = [waiting.pop() if waiting else self._chance.choice(self._victims)]
                if self._chance.random() < _TWO_AT_ONCE:
                    chosen.append(self._chance.choice(self._victims))
                self._kill(chosen)
                self._start()
        except StartError as error:
            self.trouble = str(error)

    def _kill(self, chosen: Sequence[Process]) -> None:
        """Count only what was alive before and is dead afterwards."""
        killed = []
        for victim in chosen:
            if victim.running():
                victim.kill()
                self.kills[victim.name] += 1
                killed.append(victim.name)
        self._say(f"kill -9 {' and '.join(killed)}" if killed else "nothing to kill")

    def told(self) -> str:
        """Return how often each was killed, in words."""
        return ", ".join(f"{name} {times}×" for name, times in self.kills.items())

    def spared(self) -> list[str]:
        """Return who was never killed, and what could not be started again."""
        never = [f"{name} was never killed" for name, times in self.kills.items() if not times]
        return [*never, *([self.trouble] if self.trouble else [])]
