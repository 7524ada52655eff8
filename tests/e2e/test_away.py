"""A service is away for a while: what works goes on working, what cannot be answered says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local import stack as local

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

UPLOADED = ("IN_CREATE", "IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE")


def uploads(directory: str, names: list[str]) -> list[tuple[str, str, str]]:
    """Return what the uploads of new files tell a watcher of their directory."""
    return [(directory, flag, name) for name in names for flag in UPLOADED]


@pytest.mark.parametrize(
    ("away_s", "limit_s"), [(4, 30.0), pytest.param(30, 2.0, marks=pytest.mark.conformance)]
)
def test_uploads_go_on_while_kafka_is_away(  # noqa: PLR0917
    away_s: int,
    limit_s: float,
    stack: Stack,
    alice: httpx.Client,
    directory: str,
    listener: Callable[..., Listener],
) -> None:
    """Kafka is away: every upload succeeds; their events come when it is back.

    At once, in the long form; in the short one, which may share its machine, without waiting for
    Kafka, which does not come back before there are enough.
    """
    assert stack.kafka is not None
    ear = listener()
    assert ear.watch(directory).status_code == 201
    ear.start()
    stack.kafka.kill()
    names, slowest_s, end_s = [], 0.0, time.monotonic() + away_s
    try:
        while time.monotonic() < end_s or len(names) <= 10:
            names.append(f"f{len(names)}")
            begin_s = time.monotonic()
            alice.put(f"{directory}/{names[-1]}", content=b"x" * 1000).raise_for_status()
            slowest_s = max(slowest_s, time.monotonic() - begin_s)
    finally:
        stack.kafka.start()
    assert slowest_s < limit_s
    expected = uploads(directory, names)
    ear.wait(lambda: len(ear.heard) >= len(expected), timeout_s=60)
    assert list(ear.told()) == expected


def test_live_events_go_on_while_redis_is_away(
    stack: Stack, alice: httpx.Client, directory: str, listener: Callable[..., Listener]
) -> None:
    """Redis is away: a connected reader is told; a new channel is 503 with Retry-After."""
    assert stack.redis is not None
    ear = listener()
    assert ear.watch(directory).status_code == 201
    ear.start()
    assert ear.wait(lambda: ear.connections > 0)
    alice.put(f"{directory}/before", content=b"x").raise_for_status()
    assert ear.wait(lambda: len(ear.heard) == len(UPLOADED))
    stack.redis.kill()
    try:
        alice.put(f"{directory}/during", content=b"x").raise_for_status()
        arrived = ear.wait(lambda: len(ear.heard) >= 2 * len(UPLOADED))
        login = ("alice", local.password("alice"))
        channels = f"{stack.api_urls[0]}/api/v1/events/channels"
        refused = httpx.post(channels, auth=login, timeout=30)
    finally:
        stack.redis.start()
    assert arrived
    assert list(ear.told()) == uploads(directory, ["before", "during"])
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json()["detail"]
    later = listener()
    assert later.watch(directory).status_code == 201
