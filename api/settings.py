"""What can be set about an API node, from the environment; read once, when the process starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from api.origin import networks
from schemas import settings
from schemas.errors import SettingsError
from schemas.service_settings import RedisSettings
from schemas.settings import LEVELS, Secret, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

KIBIBYTES: Final = 1024
MEBIBYTES: Final = 1024 * KIBIBYTES
GIBIBYTES: Final = 1024 * MEBIBYTES
MINUTES: Final = 60
HOURS: Final = 60 * MINUTES
DAYS: Final = 24 * HOURS

_KEY_CHARACTERS: Final = 32


@dataclass(frozen=True)
class ApiSettings(RedisSettings):
    """Settings of `python -m api serve`; variable, unit and meaning stand beside each."""

    port: int = setting("API_PORT", 3880, "TCP port to listen on.")
    base_url: str = setting(
        "STORAGE_EVENTS_API_BASE_URL",
        "",
        "Scheme and host that clients use, e.g. https://events.example.org; empty: as the request "
        "says.",
    )
    trusted_proxies: tuple[str, ...] = setting(
        "STORAGE_EVENTS_API_TRUSTED_PROXIES",
        (),
        "Addresses or networks whose X-Forwarded-For, -Proto and -Host are believed.",
    )
    tls_certificate: str = setting(
        "STORAGE_EVENTS_API_TLS_CERTIFICATE",
        "",
        "PEM file with the certificate chain; empty: HTTP.",
    )
    tls_key: str = setting("STORAGE_EVENTS_API_TLS_KEY", "", "PEM file with the private key.")
    require_tls: bool = setting(
        "STORAGE_EVENTS_API_REQUIRE_TLS",
        False,  # noqa: FBT003 - a default
        "Whether passwords and tokens that came without TLS are refused, except from loopback.",
    )
    allowed_origins: tuple[str, ...] = setting(
        "STORAGE_EVENTS_API_ALLOWED_ORIGINS",
        (),
        "Origins of web pages elsewhere that may use this API, e.g. https://portal.example.org.",
    )

    storage_url: str = setting(
        "STORAGE_EVENTS_STORAGE_URL", "", "The storage's REST; empty: this host, REST_PORT."
    )
    storage_port: int = setting(
        "REST_PORT", 3881, "The storage's port where STORAGE_EVENTS_STORAGE_URL is not set."
    )
    storage_timeout_s: float = setting(
        "STORAGE_EVENTS_API_STORAGE_TIMEOUT_S", 10.0, "Longest wait for the storage, in seconds."
    )
    service_key: Secret = setting(  # noqa: RUF009 - immutable
        "STORAGE_EVENTS_SERVICE_KEY",
        Secret(),
        "Known to storage and API only: opens positions and permissions in the storage's answers.",
    )
    principal_cache_s: float = setting(
        "STORAGE_EVENTS_PRINCIPAL_CACHE_S",
        30.0,
        "How long the storage's answer about a user is believed, in seconds.",
    )
    issuers_file: str = setting(
        "STORAGE_EVENTS_ISSUERS_FILE",
        "",
        "The storage's TOML file of token issuers, for the paths that scopes are below; empty: /.",
    )
    server_key: Secret = setting(  # noqa: RUF009 - immutable
        "STORAGE_EVENTS_SERVER_KEY",
        Secret(),
        "Equal on all nodes, 32 characters or more; enciphers event ids and sessions; empty: "
        "made once and kept in Redis.",
    )
    session_s: int = setting(
        "STORAGE_EVENTS_API_SESSION_S",
        8 * HOURS,
        "How long a sign-in on the page lasts, in seconds.",
    )

    channels_per_user: int = setting(
        "STORAGE_EVENTS_API_CHANNELS_PER_USER", 128, "Channels that one user may own."
    )
    subscriptions_per_channel: int = setting(
        "STORAGE_EVENTS_API_SUBSCRIPTIONS_PER_CHANNEL", 10_000, "Subscriptions in one channel."
    )
    channel_timeout_s: int = setting(
        "STORAGE_EVENTS_API_CHANNEL_TIMEOUT_S",
        5 * MINUTES,
        "How long a new channel lives while nobody is connected, in seconds.",
    )
    channel_timeout_max_s: int = setting(
        "STORAGE_EVENTS_API_CHANNEL_TIMEOUT_MAX_S",
        1 * DAYS,
        "Longest such time that a client may ask for, in seconds.",
    )
    connections_per_user: int = setting(
        "STORAGE_EVENTS_API_CONNECTIONS_PER_USER",
        256,
        "Streams of one user open at once on a node.",
    )
    connections_per_address: int = setting(
        "STORAGE_EVENTS_API_CONNECTIONS_PER_ADDRESS",
        20_000,
        "Streams from one address open at once on a node.",
    )
    passed_per_user: int = setting(
        "STORAGE_EVENTS_API_PASSED_PER_USER",
        32,
        "Requests of one user that are passed through to the storage at once.",
    )
    requests_per_user_s: float = setting(
        "STORAGE_EVENTS_API_REQUESTS_PER_USER_S", 250.0, "Requests a second of one user; 0: any."
    )
    requests_per_address_s: float = setting(
        "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S",
        1000.0,
        "Requests a second from one address; 0: any.",
    )
    body_bytes: int = setting(
        "STORAGE_EVENTS_API_BODY_BYTES", 256 * KIBIBYTES, "Longest request body, in bytes."
    )
    selector_bytes: int = setting(
        "STORAGE_EVENTS_API_SELECTOR_BYTES", 64 * KIBIBYTES, "Longest selector, in bytes."
    )
    passed_body_bytes: int = setting(
        "STORAGE_EVENTS_API_PASSED_BODY_BYTES",
        16 * MEBIBYTES,
        "Longest body passed through to the storage, in bytes.",
    )
    body_timeout_s: float = setting(
        "STORAGE_EVENTS_API_BODY_TIMEOUT_S", 20.0, "How long a body may take, in seconds."
    )
    head_bytes: int = setting(
        "STORAGE_EVENTS_API_HEAD_BYTES",
        64 * KIBIBYTES,
        "Longest request line and headers together, in bytes.",
    )
    head_timeout_s: float = setting(
        "STORAGE_EVENTS_API_HEAD_TIMEOUT_S",
        20.0,
        "How long request line and headers may take, in seconds.",
    )
    free_failures: int = setting(
        "STORAGE_EVENTS_API_FREE_LOGIN_FAILURES",
        5,
        "Wrong passwords of a user at an address before it must wait.",
    )
    failure_wait_s: float = setting(
        "STORAGE_EVENTS_API_LOGIN_FAILURE_WAIT_S",
        1.0,
        "The first such wait, in seconds; it doubles each time, up to a minute.",
    )

    keep_alive_s: float = setting(
        "STORAGE_EVENTS_API_KEEP_ALIVE_S",
        15.0,
        "Time between comments on an idle stream, seconds.",
        least=0.1,
    )
    unsent_bytes: int = setting(
        "STORAGE_EVENTS_API_UNSENT_BYTES",
        1 * MEBIBYTES,
        "What may wait for one reader before it is cut off, in bytes.",
    )
    shutdown_s: int = setting(
        "STORAGE_EVENTS_API_SHUTDOWN_S", 10, "Longest time to say goodbye to readers, in seconds."
    )
    metrics_for: tuple[str, ...] = setting(
        "STORAGE_EVENTS_API_METRICS_FOR",
        ("127.0.0.0/8", "::1/128"),
        "Addresses or networks that may read /metrics, which counts everybody's activity.",
    )
    log_level: str = setting(
        "STORAGE_EVENTS_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.", among=LEVELS
    )

    @property
    def storage(self) -> str:
        """The storage's REST to use."""
        return (self.storage_url or f"http://{self.near}:{self.storage_port}").rstrip("/")


def from_env(environ: Mapping[str, str]) -> ApiSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown `STORAGE_EVENTS_*` variable, or a value that cannot be used.
    """
    found = settings.from_env(ApiSettings, environ)
    _check(found)
    return found


def _check(found: ApiSettings) -> None:
    """Tell at start what would only fail later.

    Raises:
        SettingsError: names the variable.
    """
    urls = {
        "REDIS_URL": (found.redis, {"redis", "rediss", "unix"}),
        "STORAGE_EVENTS_STORAGE_URL": (found.storage, {"http", "https"}),
        "STORAGE_EVENTS_API_BASE_URL": (found.base_url or "https://-", {"http", "https"}),
    }
    for variable, (url, schemes) in urls.items():
        scheme, separator, rest = url.partition("://")
        if scheme not in schemes or not separator or not rest:
            raise SettingsError(f"{variable}: must begin with {' or '.join(sorted(schemes))}://")
    for variable, written in (
        ("STORAGE_EVENTS_API_TRUSTED_PROXIES", found.trusted_proxies),
        ("STORAGE_EVENTS_API_METRICS_FOR", found.metrics_for),
    ):
        try:
            networks(written)
        except SettingsError as error:
            raise SettingsError(f"{variable}: {error}") from error
    if bool(found.tls_certificate) != bool(found.tls_key):
        raise SettingsError(
            "STORAGE_EVENTS_API_TLS_CERTIFICATE and STORAGE_EVENTS_API_TLS_KEY go together"
        )
    if found.server_key and len(found.server_key) < _KEY_CHARACTERS:
        raise SettingsError(f"STORAGE_EVENTS_SERVER_KEY: at least {_KEY_CHARACTERS} characters")
