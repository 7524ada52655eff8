"""The other side of a third-party copy, asked over HTTP, and only where that is allowed.

A user names the address, so a door that would connect to anything could be made to speak to
services behind its firewall. Each host name is resolved once, the address compared with the
networks that a setting allows, and the connection made to that very address.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SCHEMES: Final = {"http": "http", "https": "https", "dav": "http", "davs": "https"}
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "expect", "range", "upgrade"}
)
_CHUNK_BYTES: Final = 1 << 20


def parse(url: str) -> SplitResult:
    """Check the URL of the other side.

    Raises:
        BadRecord: it is not an absolute http, https, dav or davs URL of a file.
    """
    try:
        split = urlsplit(url)
        split.port  # noqa: B018 - raises when it is not a number
    except ValueError as error:
        raise BadRecord(f"bad URI: {error}") from error
    if split.scheme not in _SCHEMES or not split.hostname:
        raise BadRecord("bad URI: an absolute http or https URL is expected")
    if split.username is not None or split.fragment or re.search(r"[\x00-\x20\x7f]", url):
        raise BadRecord("bad URI: no user, fragment or blank is allowed in it")
    return split._replace(scheme=_SCHEMES[split.scheme])


def transfer_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that a request says to send to the other side (`TransferHeader<Name>`).

    Raises:
        BadRecord: one that is ours to send.
    """
    headers = {}
    for variable, value in environ.items():
        if variable.startswith("HTTP_TRANSFERHEADER"):
            name = variable.removeprefix("HTTP_TRANSFERHEADER").replace("_", "-").title()
            if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
                raise BadRecord(f"TransferHeader{name}: this header cannot be given")
            headers[name] = value
    return headers


@dataclass(frozen=True)
class Gate:
    """Where connections may be made to.

    Attributes:
        networks: addresses and networks; empty: nowhere.
        timeout_s: for how long an address, a connection and the next bytes are waited for.
        tls: how servers are checked.
        resolve: `socket.getaddrinfo`.
    """

    networks: Sequence[str] = ()
    timeout_s: float = 60.0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    resolve: Callable[..., Any] = socket.getaddrinfo

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Return the address of a host to connect to.

        Raises:
            Unavailable: the name is not known.
            Refused: none of its addresses is allowed.
        """
        try:
            found = self.resolve(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"{host}: {error.strerror or error}") from error
        for *_, (text, *_) in found:
            if self._is_allowed(text):
                return text, port
        raise Refused(f"third-party copies with {host} are not allowed")

    def _is_allowed(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(network) for network in self.networks)


class Remote:
    """A file on another server. Not for several threads, but for `close`.

    Args:
        url: as `parse` gives it.
        headers: to send with each request, as long as it goes to the host that was named.
        gate: where connections may be made to.
    """

    def __init__(self, url: SplitResult, headers: Mapping[str, str], gate: Gate) -> None:
        self._url = url
        self._headers = dict(headers)
        self._gate = gate
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self.peer = ""

    def check(self) -> None:
        """Raise `Refused` or `Unavailable` if there is no address to connect to."""
        self._gate.address(self._url.hostname or "", _port(self._url))

    def close(self) -> None:
        """End whatever is going on; may be called from another thread."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    def ask(self, method: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a request without a body and return the answer, whatever it is.

        Raises:
            Unavailable: it cannot be reached, or does not speak HTTP.
            Refused: it is, or redirects to, a place that is not allowed.
        """
        return self._follow(method, headers, None)

    def put(
        self, body: IO[bytes], size: int, sent: Callable[[int], None]
    ) -> http.client.HTTPResponse:
        """Send a file and return the answer, whatever it is; raises as `ask`.

        Args:
            body: the file.
            size: how long it is, in bytes.
            sent: called with the number of bytes sent so far.
        """
        return self._follow("PUT", {"Content-Length": str(size)}, body, sent)

    def _follow(
        self,
        method: str,
        headers: Mapping[str, str],
        body: IO[bytes] | None,
        sent: Callable[[int], None] = lambda _: None,
    ) -> http.client.HTTPResponse:
        url = self._url
        for _ in range(_MAX_REDIRECTS):
            try:
                answer = self._exchange(method, url, headers, body, sent)
            except (OSError, http.client.HTTPException) as error:
                raise Unavailable(f"{url.hostname}: {_sentence(error)}") from error
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            url = self._redirected(url, location)
            if body is not None:
                body.seek(0)
        raise Unavailable(f"{self._url.hostname}: too many redirects")

    def _redirected(self, url: SplitResult, location: str) -> SplitResult:
        try:
            target = parse(urljoin(url.geturl(), location))
        except BadRecord as error:
            raise Unavailable(f"{url.hostname}: redirects to nowhere") from error
        if target.hostname != self._url.hostname or (url.scheme, target.scheme) == (
            "https",
            "http",
        ):
            raise Refused(f"{url.hostname} redirects to elsewhere")
        return target

    def _exchange(
        self,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str],
        body: IO[bytes] | None,
        sent: Callable[[int], None],
    ) -> http.client.HTTPResponse:
        connection = self._connect(url)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {**self._headers, **headers}.items():
            # Another port of the same host may be another's service.
            if name != "Authorization" or _port(url) == _port(self._url):
                connection.putheader(name, value)
        connection.putheader("User-Agent", "storage-events")
        connection.endheaders()
        if body is not None:
            _send(connection, body, sent)
        return connection.getresponse()

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        if self._connection is not None:
            self._connection.close()
        host, port = url.hostname or "", _port(url)
        checked = self._gate.address(host, port)
        connection = http.client.HTTPConnection(host, port, timeout=self._gate.timeout_s)
        self._connection = connection
        sock = socket.create_connection(checked, self._gate.timeout_s)
        if url.scheme == "https":
            sock = self._gate.tls.wrap_socket(sock, server_hostname=host)
        connection.sock = sock
        self.peer = f"tcp:{checked[0]}:{checked[1]}"
        if self._closed:
            sock.close()
        return connection


def _send(
    connection: http.client.HTTPConnection, body: IO[bytes], sent: Callable[[int], None]
) -> None:
    total = 0
    while chunk := body.read(_CHUNK_BYTES):
        try:
            connection.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            return  # a server that refuses early has answered already
        total += len(chunk)
        sent(total)


def _port(url: SplitResult) -> int:
    return url.port or _PORTS[url.scheme]


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
