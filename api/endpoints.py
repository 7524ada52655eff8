"""What an endpoint is: the table that router, OPTIONS, 405 and the OpenAPI text are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api import problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.types import Receive, Scope, Send

    Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        method: HTTP's.
        path: as Starlette writes it, e.g. `/api/v1/events/channels/{channel_id}`.
        handler: answers it.
        summary: one sentence.
        answers: each status with a sentence.
        body: JSON Schema of the request body; None: none is read.
        answer: JSON Schema of a successful answer; None: it has no JSON body.
        query: query parameters with a sentence each.
        is_public: whether it answers without credentials.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, str]
    body: Mapping[str, Any] | None = None
    answer: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False


class Methods:
    """The endpoints of one path as an ASGI application; HEAD goes to GET, OPTIONS tells Allow."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._handlers = {endpoint.method: endpoint.handler for endpoint in endpoints}
        if "GET" in self._handlers:
            self._handlers.setdefault("HEAD", self._handlers["GET"])
        self._allow = ", ".join(sorted({*self._handlers, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        handler = self._handlers.get(scope["method"])
        if handler is None and scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"Allow": self._allow})(scope, receive, send)
            return
        if handler is None:
            raise problems.Problem(405, "Method Not Allowed", headers={"Allow": self._allow})
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


def routes(endpoints: Iterable[Endpoint]) -> list[Route]:
    """Return a route for each path, in the table's order; a slash at the end is not minded."""
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    made = []
    for path, group in by_path.items():
        methods = Methods(group)
        made.append(Route(path, methods))
        if not path.endswith(("/", ":path}")):
            made.append(Route(path + "/", methods))
    return made
