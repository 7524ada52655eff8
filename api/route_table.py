"""All endpoints of a node, in the order in which a path is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api.routes import (
    channels,
    descriptions,
    event_types,
    health,
    page,
    pass_through,
    schema_registry,
    sessions,
    streams,
    subscriptions,
)

if TYPE_CHECKING:
    from api.endpoints import Endpoint

ENDPOINTS: Final[list[Endpoint]] = [
    *page.ENDPOINTS,
    *sessions.ENDPOINTS,
    *event_types.ENDPOINTS,
    *channels.ENDPOINTS,
    *subscriptions.ENDPOINTS,
    *streams.ENDPOINTS,
    *pass_through.ENDPOINTS,
    *schema_registry.ENDPOINTS,
    *health.ENDPOINTS,
    *descriptions.ENDPOINTS,
]
