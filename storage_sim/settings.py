"""What can be set of the storage, and from which variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas import settings
from schemas.errors import SettingsError
from schemas.service_settings import KafkaSettings
from schemas.settings import Secret, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class StorageSettings(KafkaSettings):
    """Settings of `python -m storage_sim serve`."""

    name: str = setting(
        "STORAGE_EVENTS_STORAGE_NAME", "sim", "The storage instance's name; its shards begin so."
    )
    folder: str = setting(
        "STORAGE_EVENTS_STORAGE_FOLDER",
        ".run/storage",
        "Where namespace, contents and outbox are kept.",
    )
    users_file: str = setting(
        "STORAGE_EVENTS_USERS_FILE",
        "deploy/demo/users.toml",
        "TOML file with users, groups and the directories to begin with.",
    )
    webdav_port: int = setting("WEBDAV_PORT", 2880, "TCP port of the WebDAV door.")
    rest_port: int = setting("REST_PORT", 3881, "TCP port of the REST interface.")
    shard_depth: int = setting(
        "STORAGE_EVENTS_SHARD_DEPTH",
        0,
        "How many first path components belong to a shard's name; 0: one shard for all.",
    )
    sync: bool = setting(
        "STORAGE_EVENTS_SYNC",
        True,  # noqa: FBT003 - the default
        "Whether what was confirmed survives a loss of power, not only of the process.",
    )
    bill_reads: bool = setting(
        "STORAGE_EVENTS_BILL_READS",
        True,  # noqa: FBT003 - the default
        "Whether reading a file is told.",
    )
    bill_listings: bool = setting(
        "STORAGE_EVENTS_BILL_LISTINGS",
        False,  # noqa: FBT003 - the default
        "Whether listing a directory is told.",
    )
    max_upload_bytes: int = setting(
        "STORAGE_EVENTS_MAX_UPLOAD_BYTES", 0, "Largest file that may be uploaded; 0: any."
    )
    max_body_bytes: int = setting(
        "STORAGE_EVENTS_STORAGE_MAX_BODY_BYTES",
        1 * MEBIBYTES,
        "Largest body of a request that is not an upload.",
    )
    webdav_threads: int = setting(
        "STORAGE_EVENTS_WEBDAV_THREADS",
        32,
        "Requests that the WebDAV door serves at once.",
        least=1,
    )
    rest_threads: int = setting(
        "STORAGE_EVENTS_REST_THREADS",
        32,
        "Requests that the REST interface serves at once.",
        least=1,
    )
    service_key: Secret = setting(  # noqa: RUF009 - a str does not change
        "STORAGE_EVENTS_SERVICE_KEY",
        Secret(""),
        "Key of the API: who sends it is told a watch's position and believed about addresses.",
    )
    tls_certificate: str = setting(
        "STORAGE_EVENTS_STORAGE_TLS_CERTIFICATE",
        "",
        "PEM file with the certificate chain of both doors; empty: HTTP.",
    )
    tls_key: str = setting("STORAGE_EVENTS_STORAGE_TLS_KEY", "", "PEM file with the private key.")
    issuers_file: str = setting(
        "STORAGE_EVENTS_ISSUERS_FILE",
        "",
        "TOML file of the issuers whose JSON Web Tokens are accepted; empty: none.",
    )
    macaroons_over_http: str = setting(
        "STORAGE_EVENTS_MACAROONS_OVER_HTTP",
        "loopback",
        "Who may ask for a macaroon without TLS: none, or loopback.",
        among=("none", "loopback"),
    )
    copy_networks: tuple[str, ...] = setting(
        "STORAGE_EVENTS_COPY_NETWORKS",
        (),
        "Addresses and networks, with commas, that third-party copies may be made with.",
    )
    copy_ca: str = setting(
        "STORAGE_EVENTS_COPY_CA",
        "",
        "File, or directory ending in /, of certificates for them; empty: the system's.",
    )
    metrics_for: tuple[str, ...] = setting(
        "STORAGE_EVENTS_STORAGE_METRICS_FOR",
        ("127.0.0.0/8", "::1"),
        "Addresses or networks that may read /metrics, which counts everybody's activity.",
    )
    drain_s: float = setting(
        "STORAGE_EVENTS_DRAIN_S", 5.0, "How long a stop waits for records to reach Kafka, seconds."
    )


def from_env(environ: Mapping[str, str]) -> StorageSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable, or a value that cannot be used.
    """
    read = settings.from_env(StorageSettings, environ)
    if not _NAME.fullmatch(read.name):
        raise SettingsError("STORAGE_EVENTS_STORAGE_NAME: letters, digits, '.', '_' and '-' only")
    return read
