"""A storage with its doors open, in this process, without Kafka."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage_sim.authentication import Authenticator
from storage_sim.doors import webdav
from storage_sim.doors.rest import Rest
from storage_sim.users import Users
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

    from schemas.records import BillingRecord
    from storage_sim.storage import Storage

DEMO_USERS = Path(__file__).parents[2] / "deploy" / "demo" / "users.toml"
SERVICE_KEY = "the-key-of-the-api"


class _NoPublisher:
    """What REST tells of a publisher that is not there."""

    connected = False
    published_records = 0

    def backlog(self) -> int:
        """Return nothing."""
        return 0


@dataclass(frozen=True)
class Doors:
    """A storage with its doors.

    Attributes:
        storage: the storage.
        host: host and port of the WebDAV door.
        rest: the REST interface.
    """

    storage: Storage
    host: str
    rest: Starlette

    @property
    def url(self) -> str:
        """The WebDAV door."""
        return f"http://{self.host}"

    def records(self) -> list[BillingRecord]:
        """Return all that was billed."""
        return history.records(self.storage)


def basic(user: str) -> dict[str, str]:
    """Return the header of a demo user."""
    text = base64.b64encode(f"{user}:{user}-demo".encode()).decode()
    return {"Authorization": f"Basic {text}"}


@contextlib.contextmanager
def open_doors(folder: Path, **settings: int) -> Iterator[Doors]:
    """Open a storage with the demo's users and directories."""
    users = Users(DEMO_USERS)
    storage = history.open_storage(folder, **settings)
    storage.prepare(users.directories)
    authenticator = Authenticator(users)
    door = webdav.server(
        storage, authenticator, host="127.0.0.1", port=0, threads=8, max_body_bytes=1 << 16
    )
    rest = Rest(
        storage,
        authenticator,
        _NoPublisher(),  # type: ignore[arg-type] # it has what REST asks for
        service_key=SERVICE_KEY,
        max_body_bytes=1 << 16,
        threads=4,
        metrics_for=["192.0.2.0/24"],
    )
    door.expiration_interval = 0.02  # how soon it notices that it is to stop
    serving = threading.Thread(target=door.serve)
    serving.start()
    try:
        yield Doors(storage, f"127.0.0.1:{door.bind_addr[1]}", rest.application())
    finally:
        door.stop()
        serving.join()
        storage.close()


def run(*command: str, folder: Path, stdin: str = "") -> str:
    """Run an outside client; return what it said."""
    done = subprocess.run(
        command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def send_raw(doors: Doors, request: bytes, *, close: bool = True) -> bytes:
    """Send bytes, stop sending, and return the answer."""
    host, _, port = doors.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def kinds(records: list[BillingRecord], path: str) -> list[str]:
    """Return what was told of a path."""
    return [record["kind"] for record in records if record["path"] == path]
