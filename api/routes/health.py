"""Is this node alive, can it do its work, and what does it count."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, PlainTextResponse, Response

from api import origin, problems, services
from api.endpoints import Endpoint
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request


async def live(request: Request) -> Response:  # noqa: ARG001 - a handler
    """Answer: the process runs."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """Say whether everything that is needed is there, and what is not."""
    here = services.of(request)
    missing = list(here.hub.missing())
    is_there, store = await asyncio.gather(here.storage.is_there(), _store_missing(here))
    missing += store
    if not is_there:
        missing.append("storage")
    missing = sorted(set(missing))
    status = 503 if missing else 200
    content = {"status": "not ready" if missing else "ready", "missing": missing}
    return JSONResponse(content, status)


async def _store_missing(here: services.Services) -> list[str]:
    try:
        await here.store.ping()
    except Unavailable:
        return ["redis"]
    return []


async def metrics(request: Request) -> Response:
    """Return the counters, to whom the settings allow; to others there is nothing here."""
    here = services.of(request)
    peer = request.client.host if request.client else ""
    address = services.visit(request).address
    if not (origin.is_in(peer, here.metrics_for) and origin.is_in(address, here.metrics_for)):
        raise problems.not_found("Not Found")
    return PlainTextResponse(here.metrics.text(), media_type="text/plain; version=0.0.4")


ENDPOINTS = [
    Endpoint("GET", "/health/live", live, "The process runs", {200: "Yes."}, is_public=True),
    Endpoint(
        "GET",
        "/health/ready",
        ready,
        "The node can do its work",
        {200: "Yes.", 503: "No; `missing` says what is not there."},
        answer={"type": "object", "required": ["status", "missing"]},
        is_public=True,
    ),
    Endpoint(
        "GET",
        "/metrics",
        metrics,
        "Counters, for the addresses that a setting names",
        {200: "Prometheus text.", 404: "Not for this address."},
        is_public=True,
    ),
]
