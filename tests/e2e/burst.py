"""Many operations, one after the other, that can be repeated after a crash without a doubt.

Each is one transaction of the storage, and the answer to a repeat tells whether the first try was
committed. So what a watcher must be told is known beforehand, whatever is killed meanwhile. That
is true of `DIRECTORIES`; `FILES` tell more for each operation, where the storage is not killed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Told = tuple[str, str, str]
_AGAIN_S = 0.05
_GIVE_UP_S = 120.0
_DONE_BEFORE = {"MKCOL": 405, "MOVE": 404, "DELETE": 404}


class Step(NamedTuple):
    """One operation of a cycle; `{}` in names stands for the cycle's number.

    Attributes:
        method: what is asked for.
        name: of what.
        told: flag and name of each event that follows.
        target: its new name.
        content: what is sent.
    """

    method: str
    name: str
    told: Sequence[tuple[str, str]]
    target: str = ""
    content: bytes = b""


DIRECTORIES = (
    Step("MKCOL", "a{}", [("IN_CREATE,IN_ISDIR", "a{}")]),
    Step(
        "MOVE",
        "a{}",
        [("IN_MOVED_FROM,IN_ISDIR", "a{}"), ("IN_MOVED_TO,IN_ISDIR", "b{}")],
        target="b{}",
    ),
    Step("MKCOL", "c{}", [("IN_CREATE,IN_ISDIR", "c{}")]),
    Step("DELETE", "b{}", [("IN_DELETE,IN_ISDIR", "b{}")]),
)
FILES = (
    Step(
        "PUT",
        "f{}",
        [(one, "f{}") for one in ("IN_CREATE", "IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE")],
        content=b"x",
    ),
    Step("GET", "f{}", [(one, "f{}") for one in ("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE")]),
    Step("MOVE", "f{}", [("IN_MOVED_FROM", "f{}"), ("IN_MOVED_TO", "g{}")], target="g{}"),
)


@dataclass
class Burst:
    """Operations in one directory.

    Attributes:
        webdav_url: the door.
        login: user and password.
        directory: where.
        count: how many operations.
        rate_per_s: how many a second at most; 0: as many as the door takes.
        waits_while: asked before each operation.
        cycle: what is done, over and over.
        done: how many were so far.
    """

    webdav_url: str
    login: tuple[str, str]
    directory: str
    count: int
    rate_per_s: float = 0.0
    waits_while: Callable[[], bool] = lambda: False
    cycle: Sequence[Step] = DIRECTORIES
    done: int = 0
    error: BaseException | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    def expected(self) -> list[Told]:
        """Return what a watcher of the directory must be told, in order."""
        told: list[Told] = []
        for index in range(self.count):
            number, step = divmod(index, len(self.cycle))
            for flags, name in self.cycle[step].told:
                told.append((self.directory, flags, name.format(number)))
        return told

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="burst")
        self._thread.start()

    def _run(self) -> None:
        try:
            with httpx.Client(auth=self.login, timeout=30) as client:
                begin_s = time.monotonic()
                while (index := self.done) < self.count:
                    if self.rate_per_s:
                        due_s = begin_s + index / self.rate_per_s
                        time.sleep(max(0.0, due_s - time.monotonic()))
                    while self.waits_while() and self.count:
                        time.sleep(_AGAIN_S)
                    number, step = divmod(index, len(self.cycle))
                    self._perform(client, self.cycle[step], number)
                    with self._changed:
                        self.done = index + 1
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def _perform(self, client: httpx.Client, step: Step, number: int) -> None:
        url = f"{self.webdav_url}{self.directory}"
        method, name, target = step.method, step.name.format(number), step.target.format(number)
        headers = {"Destination": f"{url}/{target}"} if target else {}
        begin, tries = time.monotonic(), 0
        while True:
            tries += 1
            try:
                answer = client.request(
                    method, f"{url}/{name}", headers=headers, content=step.content
                )
            except httpx.TransportError:
                answer = None
            if answer is not None:
                if answer.is_success or (tries > 1 and answer.status_code == _DONE_BEFORE[method]):
                    return
                if answer.status_code < 500:
                    raise AssertionError(f"{method} {name}: {answer.status_code} {answer.text}")
            if time.monotonic() - begin > _GIVE_UP_S:
                raise AssertionError(f"{method} {name}: not done after {tries} tries")
            time.sleep(_AGAIN_S)

    def finish(self) -> None:
        """Let it end after the operation that it is at; `count` is then what was done.

        Raises:
            AssertionError: an operation was refused.
        """
        self.count = 0
        assert self._thread is not None
        self._thread.join(_GIVE_UP_S)
        self.wait_done(0)
        self.count = self.done

    def wait_done(self, count: int, *, timeout_s: float = 120.0) -> bool:
        """Wait until that many are done; return whether they are.

        Raises:
            AssertionError: an operation was refused.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.done >= count or self.error, timeout_s)
        if self.error is not None:
            raise self.error
        return self.done >= count
