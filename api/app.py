"""The composition root of an API node: makes everything from settings, and nothing else does."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api import endpoints, origin, route_table
from api.auth import Authenticator
from api.delivery import Hub
from api.edge import Edge
from api.feed import Feed
from api.gatekeeping import StorageGatekeeper
from api.limits import AtOnce, Limits, RateLimit, WrongPasswords
from api.metrics import Metrics
from api.redis_channel_store import RedisChannelStore
from api.services import Services
from api.sessions import Sessions
from api.storage_client import StorageClient
from pipeline.authz.issuers import read_issuers
from pipeline.event_types import registry
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request

    from api.channel_store import ChannelStore
    from api.settings import ApiSettings
    from pipeline.replay.log import ReplayLog

_LONGEST_WAIT_S = 60.0
_REDIS_ANSWER_S = 5.0
_RATE_BURST_S = 2.0


def limits(settings: ApiSettings, *, clock: Callable[[], float]) -> Limits:
    """Return a node's limits.

    Args:
        settings: says how high they are.
        clock: monotonic seconds.
    """

    def rate(name: str, per_second: float) -> RateLimit:
        return RateLimit(name, per_second, per_second * _RATE_BURST_S, clock=clock)

    return Limits(
        channels_per_user=settings.channels_per_user,
        subscriptions_per_channel=settings.subscriptions_per_channel,
        body_bytes=settings.body_bytes,
        selector_bytes=settings.selector_bytes,
        passed_body_bytes=settings.passed_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        requests_per_address=rate("requests-per-address", settings.requests_per_address_s),
        requests_per_user=rate("requests-per-user", settings.requests_per_user_s),
        connections_per_address=AtOnce(
            "connections-per-address", settings.connections_per_address
        ),
        connections_per_user=AtOnce("connections-per-user", settings.connections_per_user),
        passed_per_user=AtOnce("passed-per-user", settings.passed_per_user),
        wrong_passwords=WrongPasswords(
            settings.free_failures, settings.failure_wait_s, _LONGEST_WAIT_S, clock=clock
        ),
    )


def _storage_http(settings: ApiSettings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=settings.storage,
        timeout=settings.storage_timeout_s,
        # Connections are given up before the storage does: a request never meets a closing one.
        limits=httpx.Limits(
            max_connections=500, max_keepalive_connections=50, keepalive_expiry=2.0
        ),
        follow_redirects=False,
        trust_env=False,
    )


def _logs(settings: ApiSettings) -> dict[str, ReplayLog]:
    """Return each event type's replay log; a reader never trims, so its bounds do not matter."""
    redis = connect(settings.redis, timeout_s=_REDIS_ANSWER_S)
    return {
        name: RedisReplayLog(
            redis, prefix=settings.redis_prefix, event_type=name, max_age_s=0, max_bytes=0
        )
        for name in registry.all()
    }


def build(
    settings: ApiSettings,
    *,
    store: ChannelStore | None = None,
    logs: Mapping[str, ReplayLog] | None = None,
    feed: Any = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Services:
    """Make all that a node consists of.

    Args:
        settings: the node's.
        store: instead of the one in Redis.
        logs: instead of those in Redis, by event type.
        feed: instead of Kafka's.
        clock: epoch seconds.
        monotonic: seconds that only go forward.
    """
    metrics = Metrics()
    kept = store or RedisChannelStore(settings.redis, prefix=settings.redis_prefix)
    given_key = (
        hashlib.sha256(settings.server_key.encode()).digest() if settings.server_key else b""
    )

    async def server_key() -> bytes:
        return given_key or await kept.server_key()

    bounds = limits(settings, clock=monotonic)
    where = origin.Origin(settings.base_url, settings.trusted_proxies)
    storage = StorageClient(
        _storage_http(settings),
        service_key=settings.service_key,
        cache_s=settings.principal_cache_s,
        clock=monotonic,
        issuers=read_issuers(Path(settings.issuers_file)) if settings.issuers_file else {},
    )
    authenticator = Authenticator(storage, bounds, now=clock)
    past = logs if logs is not None else _logs(settings)
    hub = Hub(
        store=kept,
        event_types=registry.all(),
        logs=past,
        feed=feed
        or Feed(settings.bootstrap, registry.all(), past, topic_prefix=settings.topic_prefix),
        gatekeeper=StorageGatekeeper(authenticator, storage),
        server_key=given_key,
        clock=clock,
        keep_alive_s=settings.keep_alive_s,
        unsent_limit_bytes=settings.unsent_bytes,
        principal_cache_s=settings.principal_cache_s,
    )
    metrics.gauges.append(lambda: {"storage_events_api_connections": hub.connections})
    return Services(
        event_types=registry.offered(),
        store=kept,
        hub=hub,
        storage=storage,
        # Whoever reads slowly what is passed through holds up no look-up.
        upstream=_storage_http(settings),
        authenticator=authenticator,
        sessions=Sessions(server_key, where, lifetime_s=settings.session_s, clock=clock),
        origin=where,
        limits=bounds,
        metrics=metrics,
        metrics_for=origin.networks(settings.metrics_for),
        channel_timeout_s=settings.channel_timeout_s,
        channel_timeout_max_s=settings.channel_timeout_max_s,
        clock=clock,
        require_tls=settings.require_tls,
        server_key=server_key,
    )


def _lifespan(services: Services) -> Callable[[Starlette], Any]:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await services.hub.start()
        try:
            yield
        finally:
            await services.hub.stop()
            await services.storage.close()
            await services.upstream.aclose()
            await services.store.close()

    return lifespan


async def _up(request: Request, error: Exception) -> NoReturn:  # noqa: ARG001 - a handler
    """Leave every error to the edge."""
    raise error


def create_app(settings: ApiSettings, services: Services | None = None) -> Starlette:
    """Return the application.

    Args:
        settings: the node's.
        services: what it consists of; by default made from the settings.
    """
    here = services or build(settings)
    app = Starlette(
        routes=endpoints.routes(route_table.ENDPOINTS),
        middleware=[
            Middleware(Edge, origin=here.origin, limits=here.limits, metrics=here.metrics),
            *_cross_origin(settings),
        ],
        exception_handlers={HTTPException: _up},
        lifespan=_lifespan(here),
    )
    app.router.redirect_slashes = False
    app.state.services = here
    return app


def _cross_origin(settings: ApiSettings) -> list[Middleware]:
    if not settings.allowed_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST", "PATCH", "DELETE", "OPTIONS"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Last-Event-ID",
                "Suppress-WWW-Authenticate",
            ),
            expose_headers=("Location", "Retry-After"),
        )
    ]
