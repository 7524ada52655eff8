"""What can be set about replication, from the environment; read once, at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas import settings
from schemas.service_settings import KafkaSettings
from schemas.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping

MINUTES: Final = 60.0


@dataclass(frozen=True)
class ReplicationSettings(KafkaSettings):
    """Settings of `python -m pipeline.replication`."""

    rules: str = setting("STORAGE_EVENTS_REPLICATION_RULES", "rules.toml", "The rules file, TOML.")
    state: str = setting(
        "STORAGE_EVENTS_REPLICATION_STATE",
        ".run/replication/catalogue.sqlite",
        "The file of the catalogue and of the ledger.",
    )
    at_once: int = setting(
        "STORAGE_EVENTS_REPLICATION_AT_ONCE", 8, "Copies that run at once.", least=1
    )
    retry_first_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_RETRY_FIRST_S", 1.0, "Wait before the second try, in seconds."
    )
    retry_longest_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_RETRY_LONGEST_S",
        5 * MINUTES,
        "Longest wait between tries, in seconds.",
    )
    attempts: int = setting(
        "STORAGE_EVENTS_REPLICATION_ATTEMPTS", 15, "Tries before a copy is given up.", least=1
    )
    macaroon_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_MACAROON_S",
        60 * MINUTES,
        "How long the macaroons of one copy live, in seconds: longer than it takes.",
    )
    idle_s: float = setting(
        "STORAGE_EVENTS_REPLICATION_IDLE_S",
        60.0,
        "A copy of which nothing is heard for so long has failed, in seconds.",
    )
    verify: bool = setting(
        "STORAGE_EVENTS_REPLICATION_VERIFY",
        True,  # noqa: FBT003 - the default
        "Whether a copy without a checksum to compare fails.",
    )
    keep_changes: int = setting(
        "STORAGE_EVENTS_REPLICATION_KEEP_CHANGES",
        1_000_000,
        "How many changes the command `since` can tell.",
    )

    health_port: int = setting(
        "STORAGE_EVENTS_REPLICATION_HEALTH_PORT",
        0,
        "TCP port of /health/live, /health/ready and /metrics; 0: none.",
    )

    @property
    def rules_path(self) -> Path:
        """The rules file."""
        return Path(self.rules)

    @property
    def state_path(self) -> Path:
        """The file of catalogue and ledger."""
        return Path(self.state)


def from_env(environ: Mapping[str, str]) -> ReplicationSettings:
    """Read the settings.

    Raises:
        SettingsError: an unknown variable, or a value that cannot be used.
    """
    return settings.from_env(ReplicationSettings, environ)
