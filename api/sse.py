r"""The bytes of a stream: what `text/event-stream` looks like so that every known client reads it.

Lines end in `\n`; fields come as event, id, data; data is one line of ASCII JSON; a keep-alive is
a comment line without a blank line after it (rules R3-R8, R10).
"""

from __future__ import annotations

import json
from typing import Final

KEEP_ALIVE: Final = b": k\n"

NEW_SUBSCRIPTION: Final = "NEW_SUBSCRIPTION"
SUBSCRIPTION_CLOSED: Final = "SUBSCRIPTION_CLOSED"
EVENT_LOSS: Final = "EVENT_LOSS"
COMPETING_CLIENT: Final = "COMPETING_CLIENT"
SHUTDOWN: Final = "SHUTDOWN"
CREDENTIALS_EXPIRED: Final = "CREDENTIALS_EXPIRED"
CREDENTIALS_REVOKED: Final = "CREDENTIALS_REVOKED"

SYSTEM_TYPES: Final = (
    NEW_SUBSCRIPTION, SUBSCRIPTION_CLOSED, EVENT_LOSS, COMPETING_CLIENT, SHUTDOWN,
    CREDENTIALS_EXPIRED, CREDENTIALS_REVOKED,
)  # fmt: skip
"""Each `type` that a SYSTEM event may have; the last two are ours, the others dCache's."""

HEADERS: Final = (
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-store"),
    (b"X-Accel-Buffering", b"no"),
    (b"Connection", b"close"),
)


def opening(event_type: str) -> bytes:
    """Return an event's bytes before its id."""
    return b"event: %s\nid: " % event_type.encode("ascii")


def middle(payload: str) -> bytes:
    """Return an event's bytes after its id: the same for all who are told it.

    Args:
        payload: the `event` member as JSON.
    """
    if not payload.isascii() or "\n" in payload or "\r" in payload:
        payload = json.dumps(json.loads(payload), separators=(",", ":"))
    return b'\ndata: {"event":%s' % payload.encode("ascii")


def closing(url: str) -> bytes:
    """Return an event's last bytes, which name the subscription by its URL."""
    return b',"subscription":%s}\n\n' % json.dumps(url).encode("ascii")


def event(event_type: str, event_id: bytes, payload: str, url: str) -> bytes:
    """Return all bytes of one event."""
    return b"".join((opening(event_type), event_id, middle(payload), closing(url)))


def system(kind: str, **members: str) -> bytes:
    """Return a SYSTEM event, which has no id.

    Args:
        kind: its `type`.
        members: what else it says, in this order.
    """
    data = json.dumps({"type": kind, **members}, separators=(",", ":"))
    return b"event: SYSTEM\ndata: %s\n\n" % data.encode("ascii")


def id_alone(event_id: bytes) -> bytes:
    """Return an id without an event: browsers keep it, most other clients see an empty event."""
    return b"id: %s\n\n" % event_id


def with_id(event_id: bytes, system_event: bytes) -> bytes:
    """Return a SYSTEM event with an id, for streams that no client of dCache's reads."""
    return system_event.replace(b"\ndata: ", b"\nid: %s\ndata: " % event_id, 1)
