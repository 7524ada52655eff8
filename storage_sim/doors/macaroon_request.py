"""Issues macaroons: `POST` with `Content-Type: application/macaroon-request`, as dCache does.

Errors stand in the status line alone, where dCache's clients look for them.
"""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pipeline.authz import caveats, macaroons
from pipeline.authz.caveat_values import BadCaveat, parse_duration
from pipeline.authz.paths import is_below, resolve
from schemas import json_text
from schemas.errors import BadRecord
from storage_sim import macaroon_login
from storage_sim.doors.dav_resource import PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from pipeline.authz.principal import Principal, Restrictions
    from storage_sim.macaroon_keys import MacaroonKeys

CONTENT_TYPE: Final = "application/macaroon-request"
DEFAULT_LIFETIME_S: Final = 24 * 60 * 60.0
LONGEST_LIFETIME_S: Final = 7 * 24 * 60 * 60.0
_MAX_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Requested:
    """What a request asks for.

    Attributes:
        caveats: further caveats, in order.
        lifetime_s: how long it shall live, in seconds.
    """

    caveats: tuple[str, ...] = ()
    lifetime_s: float = DEFAULT_LIFETIME_S


def parse(body: bytes) -> Requested:
    """Read the body of a request; empty: nothing special is asked for.

    Raises:
        BadRecord: with dCache's text.
    """
    if not body.strip():
        return Requested()
    try:
        asked = json_text.read(body)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"Unable to parse JSON: {error}") from error
    if not isinstance(asked, dict):
        raise BadRecord("Unable to parse JSON: an object was expected")
    lines = asked.get("caveats", [])
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise BadRecord("Bad requested caveat: caveats must be an array of strings")
    validity = asked.get("validity")
    if validity is None:
        return Requested(tuple(lines))
    try:
        lifetime = parse_duration(validity if isinstance(validity, str) else "")
    except BadCaveat as error:
        raise BadRecord(f"Bad validity value: {error}") from error
    return Requested(tuple(lines), lifetime)


def granted(
    restrictions: Restrictions, path: str, asked: Requested, now_s: float
) -> tuple[Restrictions, tuple[str, ...]]:
    """Decide what a new macaroon leaves, before the caveats that the user adds.

    Args:
        restrictions: what is left to the user who asks.
        path: of the request, below the user's root.
        asked: what they ask for.
        now_s: epoch seconds.

    Returns:
        The restrictions to issue, and the user's own caveats to stand after them.

    Raises:
        BadCaveat: a caveat that cannot be, or would widen.
    """
    target = resolve(restrictions.root, path)
    if is_below(target, restrictions.path):
        visible = target
    elif is_below(restrictions.path, target):
        visible = restrictions.path
    else:
        raise BadCaveat("path is outside of what may be seen")
    ends = now_s + min(asked.lifetime_s, LONGEST_LIFETIME_S)
    if restrictions.expires_s is not None:
        ends = min(ends, restrictions.expires_s)
    issued = replace(restrictions, path=visible, expires_s=ends)
    narrowed = caveats.narrow(issued, asked.caveats)
    further = tuple(line for line in asked.caveats if not line.startswith("before:"))
    return replace(issued, expires_s=narrowed.expires_s), further


class MacaroonRequests:
    """WSGI middleware that answers macaroon requests and hands on all else.

    Args:
        application: what answers the rest.
        keys: the storage's secrets.
        plain_http: which clients may ask without TLS: `none`, `loopback`.
        clock: epoch seconds.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        keys: MacaroonKeys,
        plain_http: str = "none",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._application = application
        self._keys = keys
        self._plain_http = plain_http
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or hand on."""
        if (
            environ.get("REQUEST_METHOD") != "POST"
            or environ.get("CONTENT_TYPE", "") != CONTENT_TYPE
        ):
            return self._application(environ, start_response)
        try:
            answer = self._answer(environ)
        except _Problem as problem:
            return _refuse(start_response, problem)
        body = json.dumps(answer, indent=4).encode()
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> dict[str, Any]:
        body = _read_body(environ)
        if not self._is_secure(environ):
            raise _Problem(HTTPStatus.BAD_REQUEST, "Not secure transport")
        who: Principal = environ[PRINCIPAL]
        path = environ.get("PATH_INFO", "/").encode("latin-1").decode()
        now = self._clock()
        try:
            asked = parse(body)
            restrictions, further = granted(who.restrictions, path, asked, now)
            lines = [*macaroon_login.written(who, restrictions), *further]
        except BadCaveat as error:
            said = str(error)
            prefix = "" if said.startswith("Cannot serialise") else "Bad requested caveat: "
            raise _Problem(HTTPStatus.BAD_REQUEST, prefix + said) from error
        except BadRecord as error:
            raise _Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
        key = self._keys.signing()
        token = macaroons.mint(key.secret, key.id, path, lines)
        ends = restrictions.expires_s or now
        return {"macaroon": token, "expires_in": int(ends - now), "uri": _uris(environ, token)}

    def _is_secure(self, environ: WSGIEnvironment) -> bool:
        if environ.get("wsgi.url_scheme") == "https":
            return True
        if self._plain_http != "loopback":
            return False
        try:
            return ipaddress.ip_address(environ.get("REMOTE_ADDR", "")).is_loopback
        except ValueError:
            return False


class _Problem(Exception):  # noqa: N818 - an answer, not a failure
    """An answer other than 200."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _read_body(environ: WSGIEnvironment) -> bytes:
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = -1
    if not 0 <= length <= _MAX_BODY_BYTES:
        raise _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large")
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    return body


def _uris(environ: WSGIEnvironment, token: str) -> dict[str, str]:
    base = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', 'localhost')}/"
    target = base + quote(environ.get("PATH_INFO", "/").encode("latin-1").lstrip(b"/"))
    return {
        "target": target,
        "targetWithMacaroon": f"{target}?authz={token}",
        "base": base,
        "baseWithMacaroon": f"{base}?authz={token}",
    }


def _refuse(start_response: StartResponse, problem: _Problem) -> Iterable[bytes]:
    # A status line is one line of ASCII, whatever the user wrote into the caveat it speaks of.
    said = "".join(c if " " <= c <= "~" else "?" for c in str(problem))[:200]
    headers = [("Content-Length", "0")]
    start_response(f"{problem.status.value} {said}", headers)
    return [b""]
