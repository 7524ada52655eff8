"""Is the storage alive, is it ready, and what operators count."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipeline.authz import caveats
from pipeline.authz.principal import Restrictions
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from storage_sim.publisher import Publisher

_METRICS = """\
# HELP storage_outbox_backlog Records that Kafka has not confirmed.
# TYPE storage_outbox_backlog gauge
storage_outbox_backlog {backlog}
# HELP storage_published_total Records that Kafka has confirmed since the start.
# TYPE storage_published_total counter
storage_published_total {published}
# HELP storage_kafka_connected Whether Kafka takes records.
# TYPE storage_kafka_connected gauge
storage_kafka_connected {connected}
"""


class Health:
    """The endpoints about the process itself.

    Numbers that count what everybody does are for operators, not for users.

    Args:
        publisher: what is told about.
        metrics_for: networks that operators ask from.
    """

    def __init__(self, publisher: Publisher, metrics_for: Sequence[str]) -> None:
        self._publisher = publisher
        self._operators = Restrictions(addresses=(tuple(metrics_for),))

    def routes(self) -> list[Route]:
        """Return what is answered."""
        return [
            Route("/health/live", self._live),
            Route("/health/ready", self._ready),
            Route("/metrics", self._metrics),
        ]

    def _is_operator(self, request: Request) -> bool:
        """Whether a request comes, itself and not through a proxy, from where operators are."""
        peer = request.client.host if request.client else ""
        here = caveats.from_address_allowed(self._operators, peer)
        return here and "X-Forwarded-For" not in request.headers

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def _ready(self, request: Request) -> Response:
        try:
            backlog = await anyio.to_thread.run_sync(self._publisher.backlog)
        except Unavailable as error:
            said = {"status": "not ready", "detail": str(error)}
            return JSONResponse(said, HTTPStatus.SERVICE_UNAVAILABLE)
        kafka = "connected" if self._publisher.connected else "away"
        counts = {"backlog": backlog} if self._is_operator(request) else {}
        return JSONResponse({"status": "ready", "kafka": kafka, **counts})

    async def _metrics(self, request: Request) -> Response:
        if not self._is_operator(request):
            return PlainTextResponse("Not Found\n", HTTPStatus.NOT_FOUND)
        return PlainTextResponse(
            _METRICS.format(
                backlog=await anyio.to_thread.run_sync(self._publisher.backlog),
                published=self._publisher.published_records,
                connected=int(self._publisher.connected),
            )
        )
