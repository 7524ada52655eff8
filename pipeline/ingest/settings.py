"""What can be set about processing on ingest, from the environment; read once, at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.rules.storages import Storage
from schemas import settings
from schemas.errors import SettingsError
from schemas.service_settings import KafkaSettings
from schemas.settings import Secret, setting

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTES: Final = 1 << 20
MINUTES: Final = 60.0


@dataclass(frozen=True)
class IngestSettings(KafkaSettings):
    """Settings of `python -m pipeline.ingest`, agent and runner alike."""

    webdav_port: int = setting("WEBDAV_PORT", 2880, "WebDAV door's port where no URL is set.")
    rules: str = setting(
        "STORAGE_EVENTS_INGEST_RULES", "rules.toml", "The rules file, TOML or YAML."
    )
    storage_url: str = setting(
        "STORAGE_EVENTS_INGEST_STORAGE_URL",
        "",
        "WebDAV door of the storages that the rules file does not name; empty: this host, "
        "WEBDAV_PORT, if there is a user.",
    )
    storage_user: str = setting(
        "STORAGE_EVENTS_INGEST_STORAGE_USER",
        "",
        "The account there whose macaroons the functions get; empty: only named storages count.",
    )
    storage_password: Secret = setting(  # noqa: RUF009 - a Secret is a str, immutable
        "STORAGE_EVENTS_INGEST_STORAGE_PASSWORD", Secret(""), "Its password."
    )
    batch_records: int = setting(
        "STORAGE_EVENTS_INGEST_BATCH_RECORDS",
        500,
        "Most billing records the agent takes at once.",
        least=1,
    )
    instance_id: str = setting(
        "STORAGE_EVENTS_INGEST_AGENT_INSTANCE_ID",
        "",
        "A name that this agent has for ever and no other has: restarted, it has its partitions "
        "at once. Empty: it joins anew.",
    )
    runner: str = setting("STORAGE_EVENTS_INGEST_RUNNER", "local", "What runs the functions.")
    name: str = setting(
        "STORAGE_EVENTS_INGEST_RUNNER_NAME",
        "runner",
        "A name that this runner has for ever and no other has: its job events are counted by it.",
    )
    state: str = setting(
        "STORAGE_EVENTS_INGEST_STATE",
        ".run/ingest",
        "Directory of the runner's ledger and of its working directories.",
    )
    at_once: int = setting(
        "STORAGE_EVENTS_INGEST_AT_ONCE", 2, "Functions that run at once.", least=1
    )
    queue_jobs: int = setting(
        "STORAGE_EVENTS_INGEST_QUEUE_JOBS",
        1000,
        "Triggers taken from Kafka and not finished; then no more are taken.",
        least=1,
    )
    retry_first_s: float = setting(
        "STORAGE_EVENTS_INGEST_RETRY_FIRST_S", 1.0, "Wait before the second try, in seconds."
    )
    retry_longest_s: float = setting(
        "STORAGE_EVENTS_INGEST_RETRY_LONGEST_S", 60.0, "Longest wait between tries, in seconds."
    )
    retry_for_s: float = setting(
        "STORAGE_EVENTS_INGEST_RETRY_FOR_S",
        15 * MINUTES,
        "How long a job waits for a storage that is away, full or failing, in seconds.",
    )
    transfer_idle_s: float = setting(
        "STORAGE_EVENTS_INGEST_TRANSFER_IDLE_S",
        30.0,
        "A transfer in which nothing moves for so long has failed, in seconds.",
    )
    transfer_longest_s: float = setting(
        "STORAGE_EVENTS_INGEST_TRANSFER_LONGEST_S",
        60 * MINUTES,
        "A transfer that takes longer has failed, in seconds.",
    )
    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that health listens on.")
    agent_health_port: int = setting(
        "STORAGE_EVENTS_INGEST_AGENT_HEALTH_PORT",
        0,
        "TCP port of the agent's /health/live, /health/ready and /metrics; 0: none.",
    )
    runner_health_port: int = setting(
        "STORAGE_EVENTS_INGEST_RUNNER_HEALTH_PORT", 0, "The same of the runner; 0: none."
    )
    keep_days: float = setting(
        "STORAGE_EVENTS_INGEST_KEEP_DAYS",
        30.0,
        "How long the ledger remembers a finished trigger, in days; longer than Kafka keeps it.",
    )

    @property
    def rules_path(self) -> Path:
        """The rules file."""
        return Path(self.rules)

    def storage(self) -> Storage | None:
        """Return the storage of records whose own the rules file does not name; None: no such.

        Raises:
            SettingsError: there is a URL and no user.
        """
        if not self.storage_user:
            if self.storage_url:
                raise SettingsError(
                    "STORAGE_EVENTS_INGEST_STORAGE_URL needs STORAGE_EVENTS_INGEST_STORAGE_USER"
                )
            return None
        url = self.storage_url or f"http://127.0.0.1:{self.webdav_port}/"
        return Storage(url, self.storage_user, self.storage_password)


def from_env(environ: Mapping[str, str]) -> IngestSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable, or a value that cannot be used.
    """
    return settings.from_env(IngestSettings, environ)
