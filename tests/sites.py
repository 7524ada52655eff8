"""Storages of the tests' own: a real storage behind a real WebDAV door, in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from schemas import codec
from storage_sim import macaroon_login
from storage_sim.authentication import Authenticator
from storage_sim.billing import Biller
from storage_sim.core import SYSTEM
from storage_sim.doors import webdav
from storage_sim.doors.layers import layers
from storage_sim.macaroon_keys import MacaroonKeys
from storage_sim.storage import Storage
from storage_sim.users import Users

if TYPE_CHECKING:
    from schemas.records import BillingRecord

USERS = Path(__file__).parent.parent / "deploy" / "demo" / "users.toml"


class Site:
    """A storage with its door on a free port; `close` ends it.

    Args:
        folder: where it keeps its things.
        name: of the storage.
        copy_networks: where third-party copies may go.
        port: of the door; 0: any.
        copy_ca: whose certificates third-party copies trust.
        keys: macaroon secrets of another site, to take the same macaroons.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        copy_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128"),
        port: int = 0,
        copy_ca: str = "",
        keys: Path | None = None,
    ) -> None:
        users = Users(USERS)
        self.name = name
        self._begun = 0
        self.storage = Storage(folder / name, biller=Biller(name, 0), sync=False)
        self.storage.recover()
        self.storage.prepare(users.directories)
        self.keys = MacaroonKeys(keys or folder / f"{name}-keys.json")
        self._door = webdav.server(
            self.storage,
            Authenticator(users, token_readers=[macaroon_login.reader(self.keys.lookup)]),
            host="127.0.0.1",
            port=port,
            threads=32,
            max_body_bytes=1 << 20,
            layers=layers(
                self.storage,
                self.keys,
                macaroons_over_http="loopback",
                copy_networks=copy_networks,
                copy_ca=copy_ca,
                copy_timeout_s=10,
            ),
        )
        self.port = self._door.bind_addr[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._door.serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End door and storage."""
        self._door.stop()
        self._thread.join()
        self.storage.close()

    def macaroon(self, path: str = "/", *caveats: str, user: str = "alice") -> str:
        """Ask the door for a macaroon, as a client does."""
        answer = httpx.post(
            self.url + path,
            auth=(user, f"{user}-demo"),
            headers={"Content-Type": "application/macaroon-request"},
            json={"caveats": list(caveats), "validity": "PT1H"},
        )
        assert answer.status_code == 200, answer.reason_phrase
        token: str = answer.json()["macaroon"]
        return token

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make a request as alice."""
        more.setdefault("auth", ("alice", "alice-demo"))
        return httpx.request(method, self.url + path, **more)

    def put(self, path: str, content: bytes) -> None:
        """Upload a file as alice."""
        assert self.ask("PUT", path, content=content).status_code in (201, 204)

    def get(self, path: str) -> bytes | None:
        """Return a file's content; None if it is absent."""
        answer = self.ask("GET", path)
        return answer.content if answer.status_code == 200 else None

    def begin(self) -> None:
        """Empty /data, and forget what was billed before: another test begins."""
        for entry in self.storage.listing(SYSTEM, "/data"):
            if entry.name != "exp":
                self.storage.delete_tree(SYSTEM, f"/data/{entry.name}")
        with self.storage.database.read() as db:
            (self._begun,) = db.execute("SELECT max(sequence) FROM outbox").fetchone()

    def billed(self) -> list[BillingRecord]:
        """Return what stands in the outbox since `begin`."""
        query = "SELECT value FROM outbox WHERE sequence > ? ORDER BY sequence"
        with self.storage.database.read() as db:
            rows = db.execute(query, (self._begun,)).fetchall()
        return [codec.decode("billing", value) for (value,) in rows]  # type: ignore[misc]
