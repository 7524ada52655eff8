"""Users, groups and first directories, from a TOML file that is read again when it changes.

[groups]
alice = 1001
exp = 2000

[users.alice]
uid = 1001
groups = ["alice", "exp"]        # the first one is the primary one
home = "/home/alice"
password = "$argon2id$…"         # from `python -m storage_sim hash-password`
roles = []                       # what `alice#role` may assert

[[directories]]                  # made at start where they are missing
path = "/data/exp"
owner = "admin"
group = "exp"
mode = "0770"
"""

from __future__ import annotations

import logging
import threading
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import argon2

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

# OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@dataclass(frozen=True, slots=True)
class User:
    """A user as the file has them.

    Attributes:
        name: user name.
        uid: numeric id.
        gids: group ids, the primary one first.
        home: home directory.
        password_hash: argon2's text.
        roles: the roles they may assert.
    """

    name: str
    uid: int
    gids: tuple[int, ...]
    home: str
    password_hash: str = field(repr=False)
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that the storage begins with."""

    path: str
    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class _Content:
    users: Mapping[str, User]
    directories: tuple[Directory, ...]


class Users:
    """The users of a file.

    Args:
        file: the TOML file.

    Raises:
        SettingsError: it cannot be read; the message says where.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._content = _read(file)

    def find(self, name: str) -> User | None:
        """Return the user of that name, as the file has them now."""
        self._refresh()
        return self._content.users.get(name)

    @property
    def directories(self) -> tuple[Directory, ...]:
        """The directories that the storage begins with."""
        return self._content.directories

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _refresh(self) -> None:
        """Read a changed file; one that cannot be read changes nothing, and is told once."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        with self._lock:
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._content = _read(self._file)
                log.info("users read again from %s", self._file)
            except SettingsError as error:
                log.error("%s; going on with the users of before", error)  # noqa: TRY400


def hash_password(password: str) -> str:
    """Return what stands for a password in the file."""
    return _HASHER.hash(password)


def password_fits(password_hash: str, password: str) -> bool:
    """Whether a password is the one of a hash; takes tens of milliseconds, on purpose."""
    try:
        return _HASHER.verify(password_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _read(file: Path) -> _Content:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"users file {file}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"users file {file}: {error}") from error
    try:
        return _parse(raw)
    except (KeyError, TypeError, ValueError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else error
        raise SettingsError(f"users file {file}: {text}") from error


def _parse(raw: dict[str, Any]) -> _Content:
    groups: dict[str, int] = raw.get("groups", {})
    users = {name: _user(name, entry, groups) for name, entry in raw.get("users", {}).items()}
    directories = tuple(
        Directory(
            path=entry["path"],
            uid=users[entry["owner"]].uid,
            gid=groups[entry["group"]],
            mode=int(entry["mode"], 8),
        )
        for entry in raw.get("directories", [])
    )
    return _Content(users, directories)


def _user(name: str, entry: dict[str, Any], groups: Mapping[str, int]) -> User:
    unknown = set(entry) - {"uid", "groups", "home", "password", "roles"}
    if unknown:
        raise ValueError(f"user {name}: unknown {', '.join(sorted(unknown))}")
    absent = [group for group in entry["groups"] if group not in groups]
    if absent or not entry["groups"]:
        raise ValueError(f"user {name}: no such group {', '.join(absent)}")
    if not isinstance(entry["uid"], int) or not 0 <= entry["uid"] < 2**31:
        raise ValueError(f"user {name}: uid must be a number from 0 to 2147483647")
    argon2.extract_parameters(entry["password"])
    return User(
        name=name,
        uid=entry["uid"],
        gids=tuple(groups[group] for group in entry["groups"]),
        home=entry.get("home", "/"),
        password_hash=entry["password"],
        roles=frozenset(entry.get("roles", [])),
    )
