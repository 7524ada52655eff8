"""HTTP third-party copy: `COPY` with `Source` (pull) or `Destination` (push), as at dCache's door.

What can be known before bytes move is said by the status. Then 202 goes out at once, a performance
marker every few seconds, and a last line `success: Created` or `failure: ...`. A client that
closes the connection ends the transfer. A pull is an upload like any other: one that fails, or
whose checksum is not the source's, leaves nothing.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from schemas.errors import BadRecord, Refused, StorageEventsError, Unavailable
from storage_sim.billing import Origin
from storage_sim.doors.copying import Copy, Pull, Push, one_line
from storage_sim.doors.dav_resource import PRINCIPAL
from storage_sim.doors.remote import Gate, Remote, parse, transfer_headers
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from pipeline.authz.principal import Principal
    from storage_sim.storage import Storage

PROTOCOL: Final = "http-tpc"
_STATUS: Final = {
    errno.ENOENT: "404 Not Found",
    errno.EACCES: "403 Forbidden",
    errno.EPERM: "403 Forbidden",
    errno.EEXIST: "412 Precondition Failed",
    errno.EBUSY: "409 Conflict",
    errno.ENOSPC: "507 Insufficient Storage",
    errno.EDQUOT: "507 Insufficient Storage",
    errno.EFBIG: "413 Request Entity Too Large",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for.

    Attributes:
        is_pull: from there to here.
        path: the file here.
        url: the file there.
        headers: to send there.
        overwrite: whether a file at the destination may be replaced.
        verify: whether a transfer without a checksum to compare fails.
    """

    is_pull: bool
    path: str
    url: str
    headers: dict[str, str] = field(repr=False)
    overwrite: bool
    verify: bool


def parse_order(environ: WSGIEnvironment) -> Order | None:
    """Read a request; None if it is not for a third-party copy.

    Raises:
        BadRecord: it is for one, but wrong.
    """
    if environ.get("REQUEST_METHOD") != "COPY":
        return None
    source, destination = environ.get("HTTP_SOURCE", ""), environ.get("HTTP_DESTINATION", "")
    headers = transfer_headers(environ)
    is_marked = bool(headers) or "HTTP_CREDENTIAL" in environ
    if not source and not is_marked and _is_here(environ, destination):
        return None
    if bool(source) == bool(destination):
        raise BadRecord("either Source or Destination is needed, and not both")
    if environ.get("HTTP_CREDENTIAL", "none").strip().lower() != "none":
        raise BadRecord("no credential is delegated here; use TransferHeaderAuthorization")
    return Order(
        is_pull=bool(source),
        path=environ.get("PATH_INFO", "/").encode("latin-1").decode(),
        url=parse(source or destination).geturl(),
        headers=headers,
        overwrite=environ.get("HTTP_OVERWRITE", "T").strip().upper() != "F",
        verify=environ.get("HTTP_REQUIRECHECKSUMVERIFICATION", "true").strip().lower() != "false",
    )


def _is_here(environ: WSGIEnvironment, destination: str) -> bool:
    """Whether a destination is in this door: then it is WebDAV's own COPY."""
    try:
        host = urlsplit(destination).netloc
    except ValueError:
        return False
    return not host or host == environ.get("HTTP_HOST", "")


class ThirdPartyCopies:
    """WSGI middleware that does third-party copies and hands on all else.

    Args:
        application: what answers the rest.
        storage: where files are.
        gate: which addresses copies may be made with.
        door: the door's name, for billing.
        marker_interval_s: seconds between performance markers.
        max_running: copies at once; more are answered 503.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        storage: Storage,
        gate: Gate,
        door: str = "webdav",
        marker_interval_s: float = 2.0,
        max_running: int = 16,
    ) -> None:
        self._application = application
        self._storage = storage
        self._gate = gate
        self._door = door
        self._marker_interval_s = marker_interval_s
        self._places = threading.BoundedSemaphore(max_running)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Copy, or hand on."""
        try:
            order = parse_order(environ)
            if order is None:
                return self._application(environ, start_response)
            copy = self._begin(order, environ)
        except (StorageEventsError, OSError) as error:
            return _refuse(start_response, error)
        start_response("202 Accepted", [("Content-Type", "text/perf-marker-stream")])
        return copy

    def _begin(self, order: Order, environ: WSGIEnvironment) -> Copy:
        who: Principal = environ[PRINCIPAL]
        remote = Remote(parse(order.url), order.headers, self._gate)
        remote.check()
        origin = Origin(environ.get("REMOTE_ADDR", ""), self._door, PROTOCOL)
        if not self._places.acquire(blocking=False):
            raise Unavailable("too many third-party copies at once")
        try:
            work = self._pull if order.is_pull else self._push
            return Copy(
                remote,
                work(order, who, origin, remote),
                self._marker_interval_s,
                self._places.release,
            )
        except BaseException:
            self._places.release()
            raise

    def _pull(self, order: Order, who: Principal, origin: Origin, remote: Remote) -> Pull:
        try:
            upload = self._storage.upload(who, order.path, origin, exclusive=not order.overwrite)
        except OperationFailed as error:
            if error.code == errno.ENOENT:
                raise BadRecord("the directory of the destination is missing") from error
            raise
        return Pull(remote, upload, verify=order.verify)

    def _push(self, order: Order, who: Principal, origin: Origin, remote: Remote) -> Push:
        if self._storage.stat(who, order.path).found.content is None:
            raise OperationFailed(errno.EBUSY, "its upload is still running")
        if not order.overwrite and remote.ask("HEAD", {}).status == 200:
            raise OperationFailed(errno.EEXIST)
        return Push(remote, self._storage.open(who, order.path, origin), verify=order.verify)


def _status(error: Exception) -> str:
    if isinstance(error, OperationFailed):
        return _STATUS.get(error.code, "400 Bad Request")
    if isinstance(error, BadRecord):
        return "400 Bad Request"
    if isinstance(error, Refused):
        return "403 Forbidden"
    return "503 Service Unavailable"


def _refuse(start_response: StartResponse, error: Exception) -> list[bytes]:
    status = _status(error)
    body = f"{one_line(str(error))}\n".encode()
    headers: list[tuple[str, Any]] = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    if status.startswith("503"):
        headers.append(("Retry-After", str(getattr(error, "retry_after_s", 5))))
    start_response(status, headers)
    return [body]
