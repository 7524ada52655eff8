"""The secrets that macaroons are signed with: each has an id and an end, and is replaced in time.

A secret signs for `rotate_s` and is kept until the last macaroon it may have signed has ended.
They stand in one file that only the storage's account can read; losing it ends all macaroons.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY_S: Final = 24 * 60 * 60.0
LONGEST_S: Final = 7 * DAY_S
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 6
_FOREIGN_BITS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Key:
    """A secret.

    Attributes:
        id: 8 characters of base64url; stands in every macaroon it signs.
        secret: what nobody else may know.
        made_s: when it was made, epoch seconds.
        expires_s: when it is forgotten, epoch seconds; no macaroon it signs lives longer.
    """

    id: str
    secret: bytes = field(repr=False)
    made_s: float
    expires_s: float


class MacaroonKeys:
    """The secrets of one storage.

    Args:
        path: the file; made with mode 0600 when it is missing.
        rotate_s: how long a secret signs new macaroons, in seconds.
        longest_s: the longest life of a macaroon, in seconds.
        clock: epoch seconds.

    Raises:
        SettingsError: the file can be read by others, or is not what was written.
    """

    def __init__(
        self,
        path: Path,
        *,
        rotate_s: float = DAY_S,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._rotate_s = rotate_s
        self._longest_s = longest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = {key.id: key for key in self._load()}

    def signing(self) -> Key:
        """Return the secret to sign with now; makes a new one when it is time for that."""
        now = self._clock()
        with self._lock:
            newest = max(self._keys.values(), key=lambda key: key.made_s, default=None)
            if newest is None or now >= newest.made_s + self._rotate_s:
                newest = self._add(now)
            return newest

    def lookup(self, key_id: str) -> bytes | None:
        """Return the secret with that id; None if there is none, or it has ended."""
        key = self._keys.get(key_id)
        return key.secret if key is not None and self._clock() < key.expires_s else None

    def _add(self, now: float) -> Key:
        key = Key(
            secrets.token_urlsafe(_ID_BYTES),
            secrets.token_bytes(_KEY_BYTES),
            now,
            now + self._rotate_s + self._longest_s,
        )
        keys = {old.id: old for old in self._keys.values() if now < old.expires_s} | {key.id: key}
        self._save(keys)
        self._keys = keys
        return key

    def _load(self) -> list[Key]:
        if not self._path.exists():
            return []
        if self._path.stat().st_mode & _FOREIGN_BITS:
            raise SettingsError(f"{self._path}: others can read it; chmod 600 it")
        try:
            return [
                Key(
                    entry["id"],
                    base64.b64decode(entry["secret"]),
                    entry["made_s"],
                    entry["expires_s"],
                )
                for entry in json.loads(self._path.read_text())
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{self._path}: not a file of macaroon secrets") from error

    def _save(self, keys: dict[str, Key]) -> None:
        """Replace the file whole: a crash leaves the old one or the new one."""
        entries = [
            {
                "id": key.id,
                "secret": base64.b64encode(key.secret).decode(),
                "made_s": key.made_s,
                "expires_s": key.expires_s,
            }
            for key in keys.values()
        ]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(entries, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
