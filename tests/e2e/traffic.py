"""Traffic in many directories by several writers at once, paced by the test that watches it."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence


class Traffic:
    """Uploads, overwrites, reads, moves between directories and deletions, all at random.

    Args:
        webdav_url: the door.
        login: user and password.
        directories: where.
        seed: of what happens.
        writers: how many do it at once, each with files of its own.
    """

    def __init__(
        self,
        webdav_url: str,
        login: tuple[str, str],
        directories: Sequence[str],
        *,
        seed: int,
        writers: int = 3,
    ) -> None:
        self._url, self._login, self._directories = webdav_url, login, directories
        self._changed = threading.Condition()
        self._allowed = 0
        self._begun = 0
        self.done = 0
        self.error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._write, args=(f"w{n}", random.Random(f"{seed} {n}")))
            for n in range(writers)
        ]

    def start(self) -> None:
        """Begin; nothing happens before `allow`."""
        for thread in self._threads:
            thread.start()

    def allow(self, operations: int) -> None:
        """Let so many operations be done in all."""
        with self._changed:
            self._allowed = operations
            self._changed.notify_all()

    def wait_done(self, operations: int, timeout_s: float = 120.0) -> None:
        """Wait until so many are done.

        Raises:
            AssertionError: one was refused, or they are not done in time.
        """
        with self._changed:
            in_time = self._changed.wait_for(
                lambda: self.done >= operations or self.error, timeout_s
            )
        if self.error is not None:
            raise AssertionError("an operation failed") from self.error
        assert in_time, f"only {self.done} operations of {operations}"

    def stop(self) -> None:
        """End the writers."""
        with self._changed:
            self._allowed = -1
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _may_begin(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._allowed < 0 or self._begun < self._allowed)
            if self._allowed < 0 or self.error is not None:
                return False
            self._begun += 1
            return True

    def _write(self, name: str, chance: random.Random) -> None:
        try:
            with httpx.Client(base_url=self._url, auth=self._login, timeout=60) as client:
                files: list[str] = []
                number = 0
                while self._may_begin():
                    number += 1
                    self._operate(client, chance, files, f"{name}-{number}")
                    with self._changed:
                        self.done += 1
                        self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def _operate(
        self, client: httpx.Client, chance: random.Random, files: list[str], new: str
    ) -> None:
        """Do one operation: 3.2 events on average."""
        what = chance.random() if len(files) > 5 else 0.0
        there = f"{chance.choice(self._directories)}/{new}"
        index = chance.randrange(len(files)) if files else 0
        if what < 0.55:
            answer = client.put(there, content=b"x" * chance.randrange(1, 200))
            files.append(there)
        elif what < 0.65:
            answer = client.put(files[index], content=b"y")
        elif what < 0.75:
            answer = client.get(files[index])
        elif what < 0.90:
            headers = {"Destination": f"{self._url}{there}"}
            answer = client.request("MOVE", files[index], headers=headers)
            files[index] = there
        else:
            answer = client.delete(files.pop(index))
        answer.raise_for_status()
