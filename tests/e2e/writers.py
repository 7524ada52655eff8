"""Bursts in a process of their own, so that they do not wait for the interpreter of who reads."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

from tests.e2e.burst import Burst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LOOK_S = 0.05
_END_S = 150.0
_FOREVER = 10**9


class Writers:
    """Bursts without an end, until they are told to end.

    Args:
        bursts: the arguments of each, without `count` and `waits_while`.
        waits_while: asked again and again; meanwhile nothing new is begun.
    """

    def __init__(self, bursts: Sequence[dict[str, Any]], waits_while: Callable[[], bool]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._bursts = bursts
        self._waits_while = waits_while
        self._paused, self._ended = spawn.Event(), spawn.Event()
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(
            target=_write, args=(bursts, self._paused, self._ended, there), daemon=True
        )
        self._watching = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._process.start()
        self._watching.start()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            if self._waits_while():
                self._paused.set()
            else:
                self._paused.clear()

    def finish(self) -> list[Burst]:
        """Let them end after the operations that they are at; return them as they were done.

        Raises:
            AssertionError: an operation was refused.
        """
        self._ended.set()
        assert self._here.poll(_END_S), "the writers do not end"
        done, error = self._here.recv()
        self._process.join(_END_S)
        assert not error, error
        return [Burst(**one, count=count) for one, count in zip(self._bursts, done, strict=True)]

    def kill(self) -> None:
        """End them, whatever they do."""
        self._ended.set()
        self._process.kill()


def _write(bursts: Sequence[dict[str, Any]], paused: Any, ended: Any, out: Any) -> None:
    """Do it, in the process of its own; say how many operations each burst has done."""
    running = [Burst(**one, count=_FOREVER, waits_while=paused.is_set) for one in bursts]
    for one in running:
        one.start()
    ended.wait()
    error = ""
    for one in running:
        try:
            one.finish()
        except AssertionError as refused:
            error = str(refused)
    out.send(([one.done for one in running], error))
