"""Many operations, one after the other, that can be repeated after a crash without a doubt.

Each is one transaction of the storage, and the answer to a repeat tells whether the first try was
committed. So what a watcher must be told is known beforehand, whatever is killed meanwhile.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

Told = tuple[str, str, str]
_AGAIN_S = 0.05
_GIVE_UP_S = 120.0
_DONE_BEFORE = {"MKCOL": 405, "MOVE": 404, "DELETE": 404}


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
        done: how many were so far.
    """

    webdav_url: str
    login: tuple[str, str]
    directory: str
    count: int
    rate_per_s: float = 0.0
    waits_while: Callable[[], bool] = lambda: False
    done: int = 0
    error: BaseException | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    def _operation(self, index: int) -> tuple[str, str, str]:
        """Return the method, the name and the new name of an operation."""
        number, step = divmod(index, 4)
        return [
            ("MKCOL", f"a{number}", ""),
            ("MOVE", f"a{number}", f"b{number}"),
            ("MKCOL", f"c{number}", ""),
            ("DELETE", f"b{number}", ""),
        ][step]

    def expected(self) -> list[Told]:
        """Return what a watcher of the directory must be told, in order."""
        told = []
        for index in range(self.count):
            method, name, target = self._operation(index)
            if method == "MOVE":
                told += [("IN_MOVED_FROM", name), ("IN_MOVED_TO", target)]
            else:
                told += [("IN_CREATE" if method == "MKCOL" else "IN_DELETE", name)]
        return [(self.directory, f"{flag},IN_ISDIR", name) for flag, name in told]

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
                    self._perform(client, *self._operation(index))
                    with self._changed:
                        self.done = index + 1
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def _perform(self, client: httpx.Client, method: str, name: str, target: str) -> None:
        url = f"{self.webdav_url}{self.directory}"
        headers = {"Destination": f"{url}/{target}"} if target else {}
        begin, tries = time.monotonic(), 0
        while True:
            tries += 1
            try:
                answer = client.request(method, f"{url}/{name}", headers=headers)
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
