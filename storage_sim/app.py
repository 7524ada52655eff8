"""The composition root: store, doors and publisher in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from pipeline.authz import issuers as issuer_files
from pipeline.authz import tokens
from pipeline.authz.caveat_values import BadCaveat, parse_networks
from schemas.errors import SettingsError
from storage_sim import macaroon_login
from storage_sim.authentication import Authenticator
from storage_sim.billing import Biller
from storage_sim.doors import webdav
from storage_sim.doors.layers import layers
from storage_sim.doors.rest import Rest
from storage_sim.macaroon_keys import MacaroonKeys
from storage_sim.publisher import Publisher
from storage_sim.storage import Storage
from storage_sim.users import Users

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from storage_sim.settings import StorageSettings

log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 75


def open_storage(settings: StorageSettings, users: Users) -> Storage:
    """Open the storage, end what died with an earlier process, make the first directories."""
    storage = Storage(
        Path(settings.folder),
        biller=Biller(settings.name, settings.shard_depth),
        sync=settings.sync,
        bill_reads=settings.bill_reads,
        bill_listings=settings.bill_listings,
        max_upload_bytes=settings.max_upload_bytes,
    )
    interrupted = storage.recover()
    if interrupted:
        log.warning("%d uploads were cut off by the last stop and have failed", interrupted)
    storage.prepare(users.directories)
    return storage


def _authenticator(settings: StorageSettings, users: Users, keys: MacaroonKeys) -> Authenticator:
    """Return what knows passwords, macaroons and JSON Web Tokens."""
    file = settings.issuers_file
    issuers = issuer_files.read_issuers(Path(file)) if file else {}
    readers = [
        macaroon_login.reader(keys.lookup),
        tokens.reader(issuers.values(), users.find, time.time),
    ]
    return Authenticator(users, token_readers=readers)


async def serve(settings: StorageSettings) -> None:
    """Serve until SIGTERM or SIGINT, then give Kafka what it takes within a few seconds."""
    users = Users(Path(settings.users_file))
    storage = open_storage(settings, users)
    keys = MacaroonKeys(Path(settings.folder) / "macaroon-keys.json")
    authenticator = _authenticator(settings, users, keys)
    publisher = Publisher(
        storage,
        bootstrap=settings.bootstrap,
        partitions=settings.partitions,
        topic_prefix=settings.topic_prefix,
    )
    rest = Rest(
        storage,
        authenticator,
        publisher,
        service_key=settings.service_key,
        max_body_bytes=settings.max_body_bytes,
        threads=settings.rest_threads,
        metrics_for=_networks(settings.metrics_for),
    )
    door = webdav.server(
        storage,
        authenticator,
        host=settings.host,
        port=settings.webdav_port,
        threads=settings.webdav_threads,
        max_body_bytes=settings.max_body_bytes,
        layers=layers(
            storage,
            keys,
            macaroons_over_http=settings.macaroons_over_http,
            copy_networks=settings.copy_networks,
            copy_ca=settings.copy_ca,
        ),
        tls=_tls_files(settings),
    )
    try:
        await _run(settings, publisher, rest, door)
    finally:
        storage.close()


def _networks(named: Sequence[str]) -> tuple[str, ...]:
    """Check the networks of a setting.

    Raises:
        SettingsError: one is none.
    """
    try:
        return parse_networks(",".join(named)) if named else ()
    except BadCaveat as error:
        raise SettingsError(f"STORAGE_EVENTS_STORAGE_METRICS_FOR: {error}") from error


def _tls_files(settings: StorageSettings) -> tuple[str, str] | None:
    """Return certificate and key; None for plain HTTP.

    Raises:
        SettingsError: one without the other.
    """
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsError("a TLS certificate needs its key, and a key its certificate")
    return (settings.tls_certificate, settings.tls_key) if settings.tls_key else None


async def _run(settings: StorageSettings, publisher: Publisher, rest: Rest, door: Any) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    publishing = asyncio.create_task(publisher.run())
    rest_server = _rest_server(settings, rest)
    serving_rest = asyncio.create_task(rest_server.serve())
    serving_dav = threading.Thread(target=door.serve, name="webdav", daemon=True)
    serving_dav.start()
    log.info(
        "storage %s: WebDAV on %s:%d, REST on %s:%d",
        settings.name, settings.host, settings.webdav_port, settings.host, settings.rest_port,
    )  # fmt: skip
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, publishing, serving_rest}, return_when="FIRST_COMPLETED")
        log.info("stopping")
        rest_server.should_exit = True
        await asyncio.to_thread(door.stop)
        await serving_rest
        if not publishing.done():
            left = await publisher.drain(settings.drain_s)
            log.info("stopped; %d records are left for the next start", left)
    finally:
        stopping.cancel()
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing


class _RestServer(uvicorn.Server):
    """Uvicorn without its signal handlers: ours stop both doors, in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _rest_server(settings: StorageSettings, rest: Rest) -> uvicorn.Server:
    config = uvicorn.Config(
        rest.application(),
        host=settings.host,
        port=settings.rest_port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )
    return _RestServer(config)
