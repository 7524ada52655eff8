"""The composition root: store, doors and publisher in one process."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.authz import issuers as issuer_files
from pipeline.authz import tokens
from pipeline.authz.caveat_values import BadCaveat, parse_networks
from schemas.errors import SettingsError
from storage_sim import macaroon_login, serving
from storage_sim.authentication import Authenticator, for_known_users
from storage_sim.billing import Biller
from storage_sim.doors import webdav
from storage_sim.doors.layers import layers
from storage_sim.doors.rest import Rest
from storage_sim.macaroon_keys import MacaroonKeys
from storage_sim.publisher import Publisher
from storage_sim.storage import Storage
from storage_sim.users import Users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage_sim.settings import StorageSettings

log = logging.getLogger(__name__)


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
        for_known_users(macaroon_login.reader(keys.lookup), users),
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
    try:
        with serving.listen(settings.host, settings.rest_port) as listening:
            door = _door(settings, storage, authenticator, keys)
            await serving.run(settings, publisher, rest=rest, listening=listening, door=door)
    finally:
        storage.close()


def _door(
    settings: StorageSettings, storage: Storage, authenticator: Authenticator, keys: MacaroonKeys
) -> Any:
    """Return the WebDAV door, bound to its port."""
    return webdav.server(
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
