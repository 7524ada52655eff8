"""The outermost layer: every request is counted, every error becomes an answer and an audit line.

Nothing that goes wrong inside reaches a client as a traceback, and no answer of this service may
be stored by caches or sniffed for another type.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers

from api import audit, problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from api.limits import Limits
    from api.metrics import Metrics
    from api.origin import Origin
    from pipeline.authz.principal import Principal

LOGGER: Final = logging.getLogger("storage_events.api")
VISIT: Final = "storage_events.visit"
_MARKS: Final = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
)
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
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.answers[message["status"]] += 1
                _mark(message)
            await send(message)

        try:
            self._limits.requests_per_address.spend(visit.address)
            await self._app(scope, receive, send_marked)
        except Exception as error:
            problem = problems.as_problem(error)
            if problem.status >= 500:
                LOGGER.log(
                    logging.ERROR if problem.status == 500 else logging.WARNING,
                    "%s %s: %s",
                    scope["method"],
                    scope["path"],
                    problem.reason,
                    exc_info=error if problem.status == 500 else None,
                )
            if problem.status in _AUDITED:
                _audit(scope, visit, problem)
            if started:
                raise
            await problems.response(problem, headers)(scope, receive, send_marked)


def _mark(message: Message) -> None:
    headers = list(message.get("headers", ()))
    present = {name.lower() for name, _ in headers}
    message["headers"] = headers + [pair for pair in _MARKS if pair[0].lower() not in present]


def _audit(scope: Scope, visit: Visit, problem: problems.Problem) -> None:
    audit.line(
        f"{scope['method']} {scope['path']}",
        "refused",
        who=visit.who,
        address=visit.address,
        status=problem.status,
        reason=problem.reason,
    )
