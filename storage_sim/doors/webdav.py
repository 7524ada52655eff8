"""The WebDAV door: WsgiDAV before the storage, behind a gate that knows who is asking.

The gate stands outermost: it refuses malformed requests, finds the client's address and identity,
and hands both on in the WSGI environment. Whatever stands between it and WsgiDAV (third-party
copies, digests, macaroon requests) finds them there.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from cheroot import wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter
from wsgidav.dav_error import DAVError, get_http_status_string
from wsgidav.error_printer import ErrorPrinter
from wsgidav.mw.base_mw import BaseMiddleware
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

from schemas.errors import Refused, SettingsError, Unavailable
from storage_sim.authentication import TooManyAttempts
from storage_sim.billing import Origin
from storage_sim.doors.dav_resource import ORIGIN, PRINCIPAL
from storage_sim.doors.dav_resources import StorageProvider
from storage_sim.doors.http_requests import Connection
from storage_sim.doors.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from pipeline.authz.principal import Principal
    from storage_sim.authentication import Authenticator
    from storage_sim.storage import Storage

    Layer = Callable[[WSGIApplication], WSGIApplication]

log = logging.getLogger(__name__)

DOOR: Final = "webdav"
_BLOCK_BYTES: Final = 1 << 18
_HEADERS_MAX_BYTES: Final = 1 << 16
_TIMEOUT_S: Final = 60
_BACKLOG: Final = 512
_KEPT_ALIVE: Final = 10_000
_UPLOADS: Final = frozenset({"PUT"})


def who(environ: WSGIEnvironment, authenticator: Authenticator) -> Principal | None:
    """Return who makes a request; None when it carries no credentials.

    Raises:
        Refused: wrong credentials.
    """
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return authenticator.authenticate(
        environ.get("HTTP_AUTHORIZATION"), query.get("authz", []), environ.get("REMOTE_ADDR", "")
    )


class _PlainErrors(BaseMiddleware):  # type: ignore[misc] # WsgiDAV has no types
    """Says errors in one line, the same each time: WsgiDAV's page tells its version and the time.

    Equal refusals are equal bytes.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or say how an error is to be told."""
        try:
            yield from self.next_app(environ, start_response)
        except DAVError as error:
            if not error.err_condition:
                error.get_response_page = functools.partial(_error_page, error)
            raise


def _error_page(error: Any) -> tuple[str, bytes]:
    text = f"{get_http_status_string(error)}: {error.get_user_info()}\n"
    return "text/plain; charset=utf-8", text.encode()


def dav_application(storage: Storage) -> WSGIApplication:
    """Return WsgiDAV before the storage; it finds the principal in the environment."""
    provider = StorageProvider(storage)
    application: WSGIApplication = WsgiDAVApp(
        {
            "provider_mapping": {"/": provider},
            "middleware_stack": [ErrorPrinter, _PlainErrors, RequestResolver],
            "http_authenticator": {"accept_basic": False, "accept_digest": False},
            "lock_storage": None,
            "property_manager": None,
            "honor_mtime_header": True,
            "mutable_live_props": ["{DAV:}getlastmodified"],
            "block_size": _BLOCK_BYTES,
            "suppress_version_info": True,
            "verbose": 1,
            "logging": {"enable": False},
        }
    )
    provider.set_lock_manager(Locks(storage))
    # it logs each refused upload with a traceback; what is a bug is logged by its error printer
    logging.getLogger("wsgidav.request_server").setLevel(logging.CRITICAL)
    return application


class Gate:
    """Lets requests through with what they are: by whom, from where.

    Args:
        inside: what answers them.
        authenticator: tells who asks.
        max_body_bytes: the largest body of what is not an upload.
    """

    def __init__(
        self, inside: WSGIApplication, *, authenticator: Authenticator, max_body_bytes: int
    ) -> None:
        self._inside = inside
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        try:
            return self._admit(environ, start_response)
        except TooManyAttempts as error:
            headers = [("Retry-After", str(error.retry_after_s))]
            return _refuse(environ, start_response, "429 Too Many Requests", str(error), headers)
        except Refused as error:
            return _challenge(environ, start_response, str(error))
        except Unavailable as error:
            headers = [("Retry-After", str(error.retry_after_s))]
            return _refuse(environ, start_response, "503 Service Unavailable", str(error), headers)

    def _admit(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        problem = _malformed(environ)
        if problem:
            return _refuse(environ, start_response, "400 Bad Request", problem)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if environ["REQUEST_METHOD"] not in _UPLOADS and length > self._max_body_bytes:
            return _refuse(environ, start_response, "413 Content Too Large", "body too large")
        principal = who(environ, self._authenticator)
        if principal is None:
            return _challenge(environ, start_response, "authentication required")
        environ[PRINCIPAL] = principal
        environ[ORIGIN] = Origin(environ.get("REMOTE_ADDR", ""), DOOR, "http")
        environ["wsgidav.auth.user_name"] = principal.user
        return self._inside(environ, start_response)


def _malformed(environ: WSGIEnvironment) -> str:
    """Say what is wrong with a request that nothing can be done with; "" if nothing."""
    try:
        environ["PATH_INFO"].encode("latin-1").decode()
        environ.get("HTTP_DESTINATION", "").encode("latin-1").decode()
    except UnicodeError:
        return "the path is not UTF-8"
    return ""


def _challenge(
    environ: WSGIEnvironment, start_response: StartResponse, text: str
) -> Iterable[bytes]:
    if "HTTP_SUPPRESS_WWW_AUTHENTICATE" in environ:
        headers = [("Suppress-WWW-Authenticate", "suppressed")]
    else:
        headers = [("WWW-Authenticate", 'Basic realm="storage"')]
    return _refuse(environ, start_response, "401 Unauthorized", text, headers)


def _refuse(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    text: str,
    headers: Sequence[tuple[str, str]] = (),
) -> Iterable[bytes]:
    """Answer without WsgiDAV."""
    log.info(
        "%s: %s %r from %s: %s",
        status, environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("REMOTE_ADDR"), text,
    )  # fmt: skip
    body = f"{text}\n".encode()
    start_response(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *headers,
        ],
    )
    return [body]


class _Server(wsgi.Server):
    """Cheroot, with its complaints in our log."""

    ConnectionClass = Connection
    max_request_header_size = _HEADERS_MAX_BYTES
    keep_alive_conn_limit = _KEPT_ALIVE

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's
        """Write a line."""
        log.log(level, "%s", msg, exc_info=traceback)


def server(
    storage: Storage,
    authenticator: Authenticator,
    *,
    host: str,
    port: int,
    threads: int,
    max_body_bytes: int,
    layers: Sequence[Layer] = (),
    tls: tuple[str, str] | None = None,
) -> Any:
    """Return the door, bound and ready to `serve`; `stop` ends it.

    Args:
        storage: what is behind the door.
        authenticator: tells who asks.
        host: address to listen on.
        port: port to listen on; 0: any free one.
        threads: requests served at once.
        max_body_bytes: the largest body of what is not an upload.
        layers: what stands between gate and WsgiDAV, the outermost first.
        tls: files of certificate chain and private key; None: plain HTTP.

    Raises:
        SettingsError: the port is taken.
    """
    inside = functools.reduce(
        lambda inner, layer: layer(inner), reversed(layers), dav_application(storage)
    )
    gate = Gate(inside, authenticator=authenticator, max_body_bytes=max_body_bytes)
    door = _Server(
        (host, port),
        gate,
        numthreads=threads,
        max=threads,
        request_queue_size=_BACKLOG,
        timeout=_TIMEOUT_S,
    )
    if tls is not None:
        door.ssl_adapter = BuiltinSSLAdapter(*tls)
    try:
        door.prepare()
    except OSError as error:
        raise SettingsError(f"WEBDAV_PORT: {host}:{port} is taken, or not ours") from error
    return door
