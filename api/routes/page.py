"""The page at `/`: three files, under a policy that lets nothing else run."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from api import problems
from api.endpoints import Endpoint

if TYPE_CHECKING:
    from starlette.requests import Request

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@functools.cache
def _content(name: str) -> bytes:
    return (resources.files("api") / "page" / name).read_bytes()


async def page(request: Request) -> Response:
    """Return a file of the page."""
    name = request.path_params.get("name", "index.html")
    if name not in _TYPES:
        raise problems.not_found("Not Found")
    headers = {
        "Content-Security-Policy": _POLICY,
        "Content-Type": _TYPES[name],
        "Cache-Control": "no-cache",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(_content(name), headers=headers)


ENDPOINTS = [
    Endpoint("GET", "/", page, "The page", {200: "HTML."}, is_public=True),
    Endpoint(
        "GET",
        "/page/{name}",
        page,
        "The page's files",
        {200: "The file.", 404: "No such file."},
        is_public=True,
    ),
]
