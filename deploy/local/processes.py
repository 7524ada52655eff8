"""Processes in the background, known by a pid file and a log file in one directory.

A pid file names a process by its pid *and* its start time, so that after a crash or a reboot
nothing else is ever stopped in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_STEP_S = 0.05
_SAME_START_S = 0.02
_KILL_WAIT_S = 10.0
_PORT_WAIT_S = 1.0
_GIVEN_FROM = range(10_100, 20_000)  # no browser talks to 10080
_CHANCE = random.SystemRandom()
_given: set[int] = set()


class StartError(Exception):
    """Something could not be started; the message says what and shows the log's last lines."""


class PortTakenError(StartError):
    """A port is in use by somebody else; the message names the variable that changes it."""


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Ask again and again until `condition` holds; return whether it ever did."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP_S)
    return True


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ports that nobody listens on now, all different, and none that was given before.

    None that the system gives to connections: it would be taken again before it is used, or while
    its server is killed and started.
    """
    found: list[int] = []
    while len(found) < count:
        port = _CHANCE.choice(_GIVEN_FROM)
        if port not in _given and _can_bind(host, port):
            _given.add(port)
            found.append(port)
    return found


def free_range(count: int, choose: random.Random) -> int:
    """Return the first of `count` consecutive ports that nobody listens on now."""
    while True:
        first = choose.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def _listener(port: int) -> str:
    """Say who listens on `port`, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                name = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f" by process {connection.pid} ({name})"
    return ""


def _can_bind(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(host: str, port: int, *, what: str, variable: str) -> None:
    """Check that a port can be had.

    Args:
        host: the address to listen on.
        port: the port.
        what: who wants it, for the message.
        variable: the environment variable that changes it, for the message.

    Raises:
        PortTakenError: it is in use.
    """
    if not wait_until(lambda: _can_bind(host, port), timeout_s=_PORT_WAIT_S):
        raise PortTakenError(
            f"{what} wants port {port} on {host}, which is taken{_listener(port)}; "
            f"stop that or choose another port with {variable}=..."
        )


@dataclass
class Process:
    """One program in the background.

    Attributes:
        name: of its pid file and its log.
        command: the program and its arguments.
        run: the directory of pid file and log; made when missing, readable by the owner only.
        environ: settings it gets beside this process's own environment.
        cwd: where it runs; None: here.
    """

    name: str
    command: Sequence[str]
    run: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.run / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Where it is remembered."""
        return self.run / f"{self.name}.pid"

    def start(self) -> None:
        """Start it, unless it runs as it should. It lives on when this process ends.

        One that runs with another command or other settings is stopped first.
        """
        if self.current():
            return
        self.stop()
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environ},
                cwd=self.cwd,
                start_new_session=True,
            )
        with contextlib.suppress(psutil.NoSuchProcess):
            started_s = psutil.Process(self._child.pid).create_time()
            remembered = {"pid": self._child.pid, "started_s": started_s, "as": self._as()}
            self.pid_file.write_text(json.dumps(remembered))

    def _as(self) -> str:
        """Return a digest of how it is run, which does not tell its secrets."""
        how = repr((list(self.command), sorted(self.environ.items()), str(self.cwd)))
        return hashlib.sha256(how.encode()).hexdigest()

    def _remembered(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.pid_file.read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def current(self) -> bool:
        """Whether it runs, with this command and these settings."""
        return self.running() and self._remembered().get("as") == self._as()

    def _found(self) -> psutil.Process | None:
        remembered = self._remembered()
        try:
            found = psutil.Process(remembered["pid"])
            same = abs(found.create_time() - remembered["started_s"]) < _SAME_START_S
            alive = same and self._alive(found)
        except (KeyError, psutil.Error):
            return None
        return found if alive else None

    def _alive(self, found: psutil.Process) -> bool:
        if self._child is not None and self._child.pid == found.pid:
            return self._child.poll() is None  # reaps it; it is no zombie while threads still end
        return bool(found.status() != psutil.STATUS_ZOMBIE)

    def running(self) -> bool:
        """Whether the process that the pid file names is alive."""
        return self._found() is not None

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        found = self._found()
        return None if found is None else found.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to the children it has made, if it runs."""
        found = self._found()
        if found is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(found.pid, number)

    def kill(self) -> None:
        """End it as a power cut would (kill -9) and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if not wait_until(lambda: not self.running(), timeout_s=_KILL_WAIT_S):
            raise StartError(f"{self.name} does not end, not even by kill -9")
        self.pid_file.unlink(missing_ok=True)

    def stop(self, *, timeout_s: float = 20.0) -> bool:
        """Ask it to end (SIGTERM), and kill it when it does not within `timeout_s`.

        Returns:
            Whether it ended when asked (or was not there).
        """
        self.signal(signal.SIGTERM)
        asked = wait_until(lambda: not self.running(), timeout_s=timeout_s)
        self.kill()
        return asked

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of its log, indented."""
        if not self.log.exists():
            return "    (no log)"
        tail = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in tail) or "    (the log is empty)"

    def wait_ready(self, missing: Callable[[], str], *, timeout_s: float) -> None:
        """Wait until nothing is missing.

        Args:
            missing: says what is not ready yet; "" when all is.
            timeout_s: how long to wait.

        Raises:
            StartError: the process ended, or the time is over; with the log's last lines.
        """
        said = [""]

        def settled() -> bool:
            said[0] = missing()
            return not said[0] or not self.running()

        settled_in_time = wait_until(settled, timeout_s=timeout_s)
        if not said[0] and self.running():
            return
        state = (
            "ended at its start" if settled_in_time else f"is not ready after {timeout_s:.0f} s"
        )
        raise StartError(
            f"{self.name} {state}: {said[0]}\nThe end of {self.log}:\n{self.log_tail()}"
        )
