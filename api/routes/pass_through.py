"""The storage's own REST under our address, as dCache's frontend serves both under one.

A request's path is taken apart once, decoded once and written anew, so that what is checked here
is what the storage gets. Tokens travel on in the Authorization header only, never in a URL. The
key that opens positions is neither taken from a client nor sent on.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import TYPE_CHECKING, Final

import httpx
from starlette.responses import Response

from api import bodies, credentials, problems, services
from api.endpoints import Endpoint
from api.storage_client import SERVICE_KEY
from pipeline.authz import paths
from pipeline.authz.addresses import client_of
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from api.credentials import Credential

_HOP_BY_HOP: Final = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
_NOT_SENT: Final = _HOP_BY_HOP | {
    "host", "cookie", "authorization", "forwarded", "x-real-ip", "expect", SERVICE_KEY.lower(),
}  # fmt: skip
_NOT_RETURNED: Final = _HOP_BY_HOP | {"server", "date", "set-cookie"}
_PREFIXES: Final = (
    "/api/v1/user",
    "/api/v1/namespace",
    "/api/v1/bulk-requests",
    "/api/v1/tape",
    "/.well-known/wlcg-tape-rest-api",
)


def target(raw_path: bytes, query_string: bytes) -> bytes:
    """Return path and query as the storage gets them.

    Args:
        raw_path: as the client sent it, still percent-encoded.
        query_string: as the client sent it.

    Raises:
        Problem: 404 for a path outside of what is passed through, 400 for one with a null byte.
    """
    decoded = urllib.parse.unquote_to_bytes(raw_path.partition(b"?")[0]).decode("latin-1")
    if "\0" in decoded:
        raise problems.bad_request("Bad path")
    for prefix in _PREFIXES:
        if decoded == prefix or decoded.startswith(prefix + "/"):
            below = paths.resolve("/", decoded[len(prefix) :])
            break
    else:
        raise problems.not_found("Not Found")
    path = prefix + (below if decoded != prefix else "")
    quoted = urllib.parse.quote(path.encode("latin-1"), safe="/").encode()
    kept = [part for part in query_string.split(b"&") if part and not _is_token(part)]
    return quoted + (b"?" + b"&".join(kept) if kept else b"")


def _is_token(part: bytes) -> bool:
    return urllib.parse.unquote_plus(part.partition(b"=")[0].decode("latin-1")) == "authz"


def _sent_headers(
    request: Request, credential: Credential | None, address: str
) -> list[tuple[str, str]]:
    named = {
        name.strip().lower()
        for line in request.headers.getlist("connection")
        for name in line.split(",")
    }
    headers = [
        (name, value)
        for name, value in request.headers.items()
        if name not in _NOT_SENT | named and not name.startswith("x-forwarded-")
    ]
    here = services.of(request)
    scheme, _, host = here.origin.base_url(request.scope, request.headers).partition("://")
    headers += [
        ("X-Forwarded-For", address),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
    ]
    if credential is not None:
        headers.append(("Authorization", credential.header))
    return headers


def _returned_headers(answer: httpx.Response, own: str, theirs: str) -> list[tuple[bytes, bytes]]:
    headers = []
    for name, value in answer.headers.multi_items():
        if name in _NOT_RETURNED:
            continue
        is_url = name in {"location", "request-url"} and value.startswith(theirs + "/")
        text = own + value[len(theirs) :] if is_url else value
        headers.append((name.encode(), text.encode("latin-1")))
    return headers


async def _checked(request: Request) -> Credential | None:
    """Return the credential, once it is known to be good where the client is.

    The storage sees our address in a request passed on, not the client's: who may use a token, and
    who has guessed too often, is found out before.
    """
    if credentials.read(request.headers, request.query_params) is None:
        return None
    return (await services.caller(request)).credential


async def _body(request: Request) -> AsyncIterator[bytes]:
    limits = services.of(request).limits
    seen = 0
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            async for chunk in request.stream():
                seen += len(chunk)
                if seen > limits.passed_body_bytes:
                    raise problems.too_large("passed-body-bytes", limits.passed_body_bytes)
                yield chunk
    except TimeoutError as error:
        raise bodies.too_slow() from error


class Passed(Response):
    """The storage's answer, passed back as it comes; whatever happens, its connection is freed.

    Args:
        request: the client's.
        outgoing: what the storage is asked.
    """

    def __init__(self, request: Request, outgoing: httpx.Request) -> None:
        super().__init__()
        self._request = request
        self._outgoing = outgoing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Ask, and pass the answer back."""
        here = services.of(self._request)
        visit = services.visit(self._request)
        who = client_of(visit.address) if visit.who is None else str(visit.who.uid)
        here.limits.passed_per_user.take(who)
        try:
            answer = await _ask(here.upstream, self._outgoing)
            try:
                own = here.origin.base_url(self._request.scope, self._request.headers)
                theirs = str(here.upstream.base_url).rstrip("/")
                headers = _returned_headers(answer, own, theirs)
                await send(
                    {
                        "type": "http.response.start",
                        "status": answer.status_code,
                        "headers": headers,
                    }
                )
                async for chunk in answer.aiter_raw():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                await answer.aclose()
        finally:
            here.limits.passed_per_user.give_back(who)


async def _ask(upstream: httpx.AsyncClient, outgoing: httpx.Request) -> httpx.Response:
    try:
        return await upstream.send(outgoing, stream=True)
    except httpx.HTTPError as error:
        raise Unavailable(f"the storage is away: {type(error).__name__}") from error


async def pass_on(request: Request) -> Response:
    """Pass a request on to the storage, and its answer back."""
    here = services.of(request)
    address = services.visit(request).address
    credential = await _checked(request)
    raw_path = request.scope.get("raw_path") or urllib.parse.quote(request.scope["path"]).encode()
    upstream = here.upstream
    goal = upstream.base_url.copy_with(
        raw_path=target(raw_path, request.scope.get("query_string", b""))
    )
    headers = _sent_headers(request, credential, address)
    has_body = {"content-length", "transfer-encoding"} & set(request.headers.keys())
    content = _body(request) if has_body else None
    return Passed(request, httpx.Request(request.method, goal, headers=headers, content=content))


_ANSWERS: Final = {
    200: "As the storage answers.",
    201: "As the storage answers.",
    204: "As the storage answers.",
    400: "As the storage answers, or more than one credential.",
    401: "Nobody, or somebody unknown.",
    403: "As the storage answers.",
    404: "As the storage answers.",
    405: "As the storage answers.",
    409: "As the storage answers.",
    413: "The body is too long.",
    503: "The storage is away.",
}


def _endpoints(path: str, methods: str, summary: str) -> list[Endpoint]:
    return [
        Endpoint(method, path, pass_on, summary, _ANSWERS, is_public=True)
        for method in methods.split()
    ]


_NAMESPACE: Final = "Files and directories: the storage's own REST"
_BULK: Final = "Bulk requests: the storage's own REST"
_TAPE: Final = "WLCG tape: the storage's own REST"
_WELL_KNOWN: Final = "Where the tape REST is"

ENDPOINTS = [
    *_endpoints("/api/v1/user", "GET", "Who the caller is"),
    *_endpoints("/api/v1/namespace", "GET POST DELETE", _NAMESPACE),
    *_endpoints("/api/v1/namespace/{path:path}", "GET POST DELETE", _NAMESPACE),
    *_endpoints("/api/v1/bulk-requests", "GET POST", _BULK),
    *_endpoints("/api/v1/bulk-requests/{path:path}", "GET PATCH DELETE", _BULK),
    *_endpoints("/api/v1/tape/{path:path}", "GET POST DELETE", _TAPE),
    *_endpoints("/.well-known/wlcg-tape-rest-api", "GET", _WELL_KNOWN),
]
