"""The storage's REST interface: dCache's `/api/v1/user` and `/api/v1/namespace`, health, metrics.

Who holds the service key (the events API) is told in the same transaction what a watch begins
with, and is believed about its clients' addresses. Absent and forbidden are the same bytes.
"""

from __future__ import annotations

import errno
import hmac
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote_to_bytes

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas import json_text
from schemas.errors import Refused, Unavailable
from storage_sim.authentication import BadCredentials, TooManyAttempts
from storage_sim.billing import Origin
from storage_sim.doors import rest_actions, rest_json
from storage_sim.doors.health import Health
from storage_sim.doors.rest_heads import OneMeaning
from storage_sim.errors import OperationFailed, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request

    from pipeline.authz.principal import Principal
    from storage_sim.authentication import Authenticator
    from storage_sim.publisher import Publisher
    from storage_sim.storage import Storage

log = logging.getLogger(__name__)

DOOR: Final = "rest"
SERVICE_KEY: Final = "Storage-Events-Key"
NAMESPACE: Final = "/api/v1/namespace"
ID: Final = "/api/v1/id"

_STATUSES: Final = {
    errno.ENOENT: HTTPStatus.NOT_FOUND,
    errno.ENOTDIR: HTTPStatus.NOT_FOUND,
    errno.ELOOP: HTTPStatus.NOT_FOUND,
    errno.EACCES: HTTPStatus.FORBIDDEN,
    errno.EPERM: HTTPStatus.FORBIDDEN,
    errno.EEXIST: HTTPStatus.CONFLICT,
    errno.EBUSY: HTTPStatus.CONFLICT,
    errno.EXDEV: HTTPStatus.CONFLICT,
    errno.ENOSPC: HTTPStatus.INSUFFICIENT_STORAGE,
}
_HIDDEN: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM})
"""What a GET tells no one apart."""


class _Problem(Exception):  # noqa: N818 - it is answered, not raised to anybody
    """An answer that is an error."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Rest:
    """The interface's endpoints.

    Args:
        storage: what is behind it.
        authenticator: tells who asks.
        publisher: what health and metrics tell about.
        service_key: what the events API shows; "": nobody has it.
        max_body_bytes: the largest body of a request.
        threads: operations at once.
        metrics_for: networks that are told what counts everybody's activity.
    """

    def __init__(
        self,
        storage: Storage,
        authenticator: Authenticator,
        publisher: Publisher,
        *,
        service_key: str,
        max_body_bytes: int,
        threads: int,
        metrics_for: Sequence[str] = (),
    ) -> None:
        self._storage = storage
        self._authenticator = authenticator
        self._health = Health(publisher, metrics_for)
        self._service_key = service_key.encode()
        self._max_body_bytes = max_body_bytes
        self._threads = anyio.CapacityLimiter(threads)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route("/api/v1/user", self._answered(self._user), methods=["GET"]),
                Route(ID + "/{id}", self._answered(self._whereabouts), methods=["GET"]),
                Route(NAMESPACE, self._answered(self._get), methods=["GET"]),
                Route(NAMESPACE + "/{path:path}", self._answered(self._get), methods=["GET"]),
                Route(NAMESPACE + "/{path:path}", self._answered(self._post), methods=["POST"]),
                Route(
                    NAMESPACE + "/{path:path}", self._answered(self._delete), methods=["DELETE"]
                ),
                *self._health.routes(),
            ],
            middleware=[Middleware(OneMeaning)],
        )

    def _answered(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint whose errors are answers, and whose refusals are logged."""

        async def answer(request: Request) -> Response:
            response = await _attempt(endpoint, request)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                log.info(
                    "%d: %s %r from %s",
                    response.status_code,
                    request.method,
                    request.url.path,
                    self._address(request),
                )
            return response

        return answer

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def _is_service(self, request: Request) -> bool:
        shown = request.headers.get(SERVICE_KEY, "").encode()
        return bool(self._service_key) and hmac.compare_digest(shown, self._service_key)

    def _address(self, request: Request) -> str:
        peer = request.client.host if request.client else ""
        if self._is_service(request):
            return request.headers.get("X-Forwarded-For", peer).rpartition(",")[2].strip()
        return peer

    async def _who(self, request: Request) -> Principal | None:
        given = request.headers.getlist("Authorization")
        if len(given) > 1:
            raise BadCredentials("more than one Authorization header")
        authorization = given[0] if given else None
        query = parse_qs(request.url.query, keep_blank_values=True)
        address = self._address(request)
        principal: Principal | None = await self._in_thread(
            lambda: self._authenticator.authenticate(
                authorization, query.get("authz", []), address
            )
        )
        return principal

    async def _known(self, request: Request) -> Principal:
        principal = await self._who(request)
        if principal is None:
            raise BadCredentials("authentication required")
        return principal

    def _origin(self, request: Request) -> Origin:
        return Origin(self._address(request), DOOR, "rest")

    async def _user(self, request: Request) -> Response:
        return JSONResponse(rest_json.user(await self._who(request)))

    async def _whereabouts(self, request: Request) -> Response:
        """Tell who shows the key where an object is, or that it is gone; nobody else anything."""
        if not self._is_service(request):
            raise not_found()
        try:
            inode = bytes.fromhex(request.path_params["id"])
        except ValueError:
            raise not_found() from None
        path = await self._in_thread(lambda: self._storage.path_of(inode))
        return JSONResponse({"path": path})

    async def _get(self, request: Request) -> Response:
        principal = await self._known(request)
        path, parameters = _path(request), request.query_params
        limit, offset = _number(parameters.get("limit"), -1), _number(parameters.get("offset"), 0)
        origin = self._origin(request)
        found = await self._in_thread(
            lambda: self._storage.snapshot(
                principal,
                path,
                follow=parameters.get("follow", "true").lower() != "false",
                children=rest_json.flag(parameters, "children"),
                recursive=rest_json.flag(parameters, "recursive"),
                attributes=rest_json.flag(parameters, "xattr")
                or rest_json.flag(parameters, "labels"),
                limit=limit,
                offset=offset,
                origin=origin,
            )
        )
        depth = self._storage.shard_depth if self._is_service(request) else None
        return JSONResponse(rest_json.snapshot(found, parameters, depth=depth))

    async def _post(self, request: Request) -> Response:
        principal = await self._known(request)
        path, origin = _path(request), self._origin(request)
        body = await self._body(request)
        action = rest_actions.parse(body)
        await self._in_thread(lambda: action(self._storage, principal, path, origin))
        return JSONResponse({"status": "success"}, HTTPStatus.CREATED)

    async def _delete(self, request: Request) -> Response:
        principal = await self._known(request)
        path, origin = _path(request), self._origin(request)

        def work() -> None:
            place = self._storage.stat(principal, path, follow=False)
            remove = self._storage.rmdir if place.found.is_directory else self._storage.delete
            remove(principal, path, origin)

        await self._in_thread(work)
        return JSONResponse({"status": "success"})

    async def _body(self, request: Request) -> Any:
        """Read a JSON body of bounded size."""
        text = bytearray()
        async for chunk in request.stream():
            text += chunk
            if len(text) > self._max_body_bytes:
                detail = f"a body has at most {self._max_body_bytes} bytes"
                raise _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        try:
            return json_text.read(bytes(text))
        except (ValueError, RecursionError) as error:
            raise invalid(f"bad JSON: {error}") from error


async def _attempt(  # noqa: PLR0911 - one for each error
    endpoint: Callable[[Request], Awaitable[Response]], request: Request
) -> Response:
    """Turn what an endpoint raises into an answer; the only place with status codes."""
    try:
        return await endpoint(request)
    except _Problem as problem:
        return _problem(problem.status, str(problem), problem.headers)
    except TooManyAttempts as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        return _problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers)
    except BadCredentials as error:
        return _problem(HTTPStatus.UNAUTHORIZED, str(error), _challenge(request))
    except Refused as error:
        return _problem(HTTPStatus.FORBIDDEN, str(error), {})
    except Unavailable as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers)
    except OperationFailed as error:
        if error.code in _HIDDEN and request.method == "GET":
            return _problem(HTTPStatus.NOT_FOUND, "No such file or directory", {})
        status = _STATUSES.get(error.code, HTTPStatus.BAD_REQUEST)
        return _problem(status, str(error), {})


def _path(request: Request) -> str:
    """Return the path asked for; `%2F` and `//` are slashes here (rule R20)."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    raw = raw.partition(b"?")[0]
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise invalid("the path is not UTF-8") from None
    return "/" + path[len(NAMESPACE) :].lstrip("/")


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid(f"not a number: {text!r}")
    return int(text)


def _challenge(request: Request) -> dict[str, str]:
    if "Suppress-WWW-Authenticate" in request.headers:
        return {"Suppress-WWW-Authenticate": "suppressed"}
    return {"WWW-Authenticate": 'Basic realm="storage"'}


def _problem(status: HTTPStatus, detail: str, headers: dict[str, str]) -> Response:
    return JSONResponse(rest_json.error(status, status.phrase, detail), status, headers)
