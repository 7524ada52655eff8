"""Signing in and out of the page; what the cookie is good for is told in `api.sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from api import audit, services
from api.endpoints import Endpoint
from api.sessions import Sessions

if TYPE_CHECKING:
    from starlette.requests import Request


async def sign_in(request: Request) -> Response:
    """Check the credentials in the Authorization header and put them, sealed, into a cookie."""
    caller = await services.caller(request)
    content = {"user": caller.principal.user, "home": caller.principal.home}
    response = JSONResponse(content)
    is_secure = caller.base_url.startswith("https:")
    sessions = services.of(request).sessions
    await sessions.begin(response, caller.credential, is_secure=is_secure)
    audit.line("sign in", "allowed", who=caller.principal, address=caller.address)
    return response


async def sign_out(request: Request) -> Response:  # noqa: ARG001 - a handler
    """Take the cookie away."""
    response = Response(status_code=204)
    Sessions.end(response)
    return response


ENDPOINTS = [
    Endpoint(
        "POST",
        "/session",
        sign_in,
        "Sign a page in",
        {200: "Signed in; a cookie opens streams.", 401: "Nobody, or somebody unknown."},
        answer={"type": "object", "required": ["user", "home"]},
    ),
    Endpoint(
        "DELETE", "/session", sign_out, "Sign a page out", {204: "Signed out."}, is_public=True
    ),
]
