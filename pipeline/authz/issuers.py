"""The issuers of tokens, from a TOML file, and their keys, from a file or a URL.

[[issuers]]
issuer = "https://iam.example.org/"          # the `iss` claim
audience = ["https://storage.example.org"]   # a token needs one of these
keys = "https://iam.example.org/jwk"         # or a file, beside this one
algorithms = ["RS256", "ES256"]              # what it signs with
base_path = "/data"                          # the paths in scopes are below
default_user = ""                            # who all other subjects are; "": nobody

[issuers.users]                              # `sub` claim to user name
"7f6d0c1e-…" = "alice"

[issuers.groups]                             # group claim to group id
"/exp" = 2000
"""

from __future__ import annotations

import threading
import tomllib
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt.exceptions import PyJWKClientConnectionError

from pipeline.authz.tokens import ALGORITHMS, Issuer, Keys
from schemas.errors import Refused, SettingsError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_REMEMBER_S: Final = 900.0
_TIMEOUT_S: Final = 5.0
_MEMBERS: Final = {
    "issuer", "audience", "keys", "algorithms", "base_path", "default_user", "users", "groups",
}  # fmt: skip


def _unknown_key() -> Refused:
    return Refused("token: signed with a key that its issuer does not have")


def _pick(keys: list[jwt.PyJWK], kid: str | None) -> jwt.PyJWK:
    found = [key for key in keys if key.key_id == kid] if kid is not None else keys
    if len(found) != 1:
        raise _unknown_key()
    return found[0]


class FileKeys:
    """Keys from a file, read again when it changes. Thread-safe.

    Raises:
        SettingsError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._keys = self._read()

    def find(self, kid: str | None) -> jwt.PyJWK:
        """Return the key of that id; without one, the only key.

        Raises:
            Refused: there is none.
            Unavailable: the file has been changed to something else.
        """
        with self._lock:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                try:
                    self._keys, self._stamp = self._read(), stamp
                except SettingsError as error:
                    raise Unavailable(str(error)) from error
            return _pick(self._keys, kid)

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> list[jwt.PyJWK]:
        try:
            return list(jwt.PyJWKSet.from_json(self._file.read_text(encoding="utf-8")).keys)
        except OSError as error:
            raise SettingsError(f"keys {self._file}: {error.strerror}") from error
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            raise SettingsError(f"keys {self._file}: not a JSON Web Key Set: {error}") from error


class UrlKeys:
    """Keys from a URL, remembered for a quarter of an hour. Thread-safe.

    An id that is not among them asks again, at most twice a minute.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = jwt.PyJWKClient(url, lifespan=_REMEMBER_S, timeout=_TIMEOUT_S)

    def find(self, kid: str | None) -> jwt.PyJWK:
        """Return the key of that id; without one, the only key.

        Raises:
            Refused: there is none.
            Unavailable: the URL does not answer.
        """
        try:
            if kid is None:
                return _pick(list(self._client.get_jwk_set().keys), None)
            return self._client.get_signing_key(kid)
        except PyJWKClientConnectionError as error:
            raise Unavailable(f"the keys of {self._url} cannot be had") from error
        except jwt.PyJWTError as error:
            raise _unknown_key() from error


def _keys(where: str, folder: Path) -> Keys:
    if where.startswith(("https://", "http://")):
        return UrlKeys(where)
    return FileKeys(folder / where)


def _texts(entry: dict[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = entry.get(name, list(default))
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"{name} must be an array of strings")
    return tuple(value)


def _text(entry: dict[str, Any], name: str, default: str | None = None) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise ValueError(f"{name} must be a string")
    return value


def _table(entry: dict[str, Any], name: str, kind: type) -> dict[str, Any]:
    value = entry.get(name, {})
    if not isinstance(value, dict) or not all(type(item) is kind for item in value.values()):
        raise ValueError(f"{name} must be a table of {kind.__name__}")
    return value


def _issuer(entry: dict[str, Any], folder: Path) -> Issuer:
    unknown = sorted(set(entry) - _MEMBERS)
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}")
    audience = _texts(entry, "audience", ())
    if not audience:
        raise ValueError("audience must name at least one: a token for others is not for us")
    algorithms = _texts(entry, "algorithms", ("RS256", "ES256"))
    weak = sorted(set(algorithms) - ALGORITHMS)
    if weak or not algorithms:
        raise ValueError(f"algorithms must be of {', '.join(sorted(ALGORITHMS))}")
    base_path = _text(entry, "base_path", "/")
    if not base_path.startswith("/"):
        raise ValueError("base_path must begin with /")
    return Issuer(
        url=_text(entry, "issuer"),
        audience=audience,
        keys=_keys(_text(entry, "keys"), folder),
        algorithms=algorithms,
        base_path=base_path.rstrip("/") or "/",
        users=_table(entry, "users", str),
        default_user=_text(entry, "default_user", ""),
        groups=_table(entry, "groups", int),
    )


def _entries(raw: dict[str, Any]) -> list[dict[str, Any]]:
    entries = raw.pop("issuers", [])
    if raw:
        raise ValueError(f"unknown {', '.join(sorted(raw))}")
    if not isinstance(entries, list):
        raise TypeError("issuers must be [[issuers]], each a table")
    return entries


def read_issuers(file: Path) -> dict[str, Issuer]:
    """Read a file of issuers; return them by their `iss` claim.

    Raises:
        SettingsError: it cannot be used; the message says where and why.
    """
    try:
        entries = _entries(tomllib.loads(file.read_text(encoding="utf-8")))
        issuers = [_issuer(entry, file.parent) for entry in entries]
    except OSError as error:
        raise SettingsError(f"issuers file {file}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise SettingsError(f"issuers file {file}: {error}") from error
    return {issuer.url: issuer for issuer in issuers}
