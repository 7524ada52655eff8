"""The outermost layer: every request is counted, every error becomes an answer and an audit line.

Nothing that goes wrong inside reaches a client as a traceback, and no answer of this service may
be stored by caches or sniffed for another type.
"""

from __future__ import annotations

import logging
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from api import audit, problems
from pipeline.authz.addresses import client_of
from schemas import http_head

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.limits import Limits
    from api.metrics import Metrics
    from api.origin import Origin
    from pipeline.authz.principal import Principal

LOGGER: Final = logging.getLogger("storage_events.api")
ACCESS: Final = logging.getLogger("storage_events.access")
VISIT: Final = "storage_events.visit"
_MARKS: Final = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
_CLIENT_LEFT: Final = 499
_AUDITED: Final = {400, 401, 403, 404, 408, 413, 415, 429}


@dataclass(slots=True)
class Visit:
    """What is known about a request while it is served.

    Attributes:
        address: the client's.
        who: the user, as soon as that is known.
    """

    address: str
    who: Principal | None = None


class Edge:
    """Wraps the application.

    Args:
        app: the application.
        origin: finds the client's address.
        limits: the rate for each address.
        metrics: counts answers.
    """

    def __init__(self, app: ASGIApp, origin: Origin, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._origin = origin
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = Visit(self._origin.address(scope, headers))
        scope[VISIT] = visit
        began_s = time.monotonic()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _mark(message)
            await send(message)

        try:
            self._admit(scope, visit)
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            status = status or _CLIENT_LEFT
        except Exception as error:
            problem = problems.as_problem(error)
            _record(scope, visit, problem, error)
            if status:
                raise
            await problems.response(problem, headers)(scope, receive, send_marked)
        finally:
            self._metrics.answers[status] += 1
            ACCESS.info(
                "%s %s %s %s %s %.1f ms",
                visit.address,
                visit.who.user if visit.who else "-",
                scope["method"],
                _path(scope),
                status,
                (time.monotonic() - began_s) * 1000,
            )

    def _admit(self, scope: Scope, visit: Visit) -> None:
        """Check what counts whatever the request asks for.

        Raises:
            Problem: 429, 400.
        """
        self._limits.requests_per_address.spend(client_of(visit.address))
        fault = http_head.fault(scope)
        if fault:
            raise problems.bad_request(fault)


def _path(scope: Scope) -> str:
    """Return the path as it came: without the query, where tokens are, and with no line ends."""
    raw = scope.get("raw_path") or urllib.parse.quote(scope["path"]).encode()
    return ascii(raw.partition(b"?")[0].decode("latin-1"))[1:-1]


def _record(scope: Scope, visit: Visit, problem: problems.Problem, error: Exception) -> None:
    if problem.status >= 500:
        is_bug = problem.status == 500
        LOGGER.log(
            logging.ERROR if is_bug else logging.WARNING,
            "%s %s: %s",
            scope["method"],
            _path(scope),
            problem.reason,
            exc_info=error if is_bug else None,
        )
    if problem.status in _AUDITED:
        audit.line(
            f"{scope['method']} {_path(scope)}",
            "refused",
            who=visit.who,
            address=visit.address,
            status=problem.status,
            reason=problem.reason,
        )


def _mark(message: Message) -> None:
    headers = list(message.get("headers", ()))
    present = {name.lower() for name, _ in headers}
    message["headers"] = headers + [pair for pair in _MARKS if pair[0].lower() not in present]
