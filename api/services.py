"""What handlers work with, made once by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from api import problems
from api.edge import VISIT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import httpx
    from starlette.requests import Request

    from api.auth import Authenticator, Caller
    from api.channel_store import ChannelStore
    from api.delivery import Hub
    from api.edge import Visit
    from api.limits import Limits
    from api.metrics import Metrics
    from api.origin import Network, Origin
    from api.sessions import Sessions
    from api.storage_client import StorageClient
    from pipeline.event_types.base import Subscribable


@dataclass(frozen=True, slots=True)
class Services:
    """All that a node consists of.

    Attributes:
        event_types: by name.
        store: channels and subscriptions.
        hub: delivery.
        storage: the one authority.
        upstream: passes requests on to the storage.
        authenticator: who asks.
        sessions: signed-in pages.
        origin: where from, and under which address.
        limits: all of them.
        metrics: what this node counts.
        metrics_for: who may read that.
        channel_timeout_s: how long a new channel lives while nobody is connected, in seconds.
        channel_timeout_max_s: the longest such time.
        clock: epoch seconds.
        require_tls: whether credentials that came without TLS are refused.
        server_key: asked for the 32 bytes that all nodes share.
    """

    event_types: Mapping[str, Subscribable]
    store: ChannelStore
    hub: Hub
    storage: StorageClient
    upstream: httpx.AsyncClient
    authenticator: Authenticator
    sessions: Sessions
    origin: Origin
    limits: Limits
    metrics: Metrics
    metrics_for: tuple[Network, ...]
    channel_timeout_s: int
    channel_timeout_max_s: int
    clock: Callable[[], float]
    require_tls: bool
    server_key: Callable[[], Awaitable[bytes]]


def of(request: Request) -> Services:
    """Return the services of the application that serves the request."""
    return cast("Services", request.app.state.services)


def visit(request: Request) -> Visit:
    """Return what is known about the request so far."""
    return cast("Visit", request.scope[VISIT])


async def caller(request: Request, *, by_session: bool = False) -> Caller:
    """Say who asks, and remember it for the audit.

    Args:
        request: the request.
        by_session: whether a signed-in page's cookie counts; only where nothing is changed.

    Raises:
        Problem: 401, 400, 429.
        Unavailable: the storage is away.
    """
    services = of(request)
    session = await services.sessions.read(request) if by_session else None
    base_url = services.origin.base_url(request.scope, request.headers)
    if services.require_tls and not services.origin.is_private(request.scope, request.headers):
        raise problems.Problem(403, "Forbidden", reason="credentials without TLS")
    found = await services.authenticator.caller(
        request.headers,
        request.query_params,
        visit(request).address,
        base_url=base_url,
        session=session,
    )
    visit(request).who = found.principal
    return found
