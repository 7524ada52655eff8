"""One whole stack of processes for these tests: own ports, own data, own Kafka and Redis."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local import processes
from deploy.local import stack as local
from deploy.local.listener import Listener
from deploy.local.settings import StackSettings
from deploy.local.stack import Stack
from tests import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODES = 3


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Give a stack with three API nodes; whoever kills a part starts it again."""
    with services.run_directory("e2e") as run:
        base = processes.free_range(32, random.Random())
        settings = StackSettings(
            api_port=base, rest_port=base + 1, webdav_port=base + 10, worker_health_port=base + 12,
            kafka_port=base + 14, redis_port=base + 16, nodes=NODES, run=str(run),
        )  # fmt: skip
        started = Stack(settings)
        try:
            started.up(print)
            yield started
        finally:
            local.down(run, print)


@pytest.fixture(scope="session")
def alice(stack: Stack) -> Iterator[httpx.Client]:
    """Give a WebDAV client of alice, member of group exp."""
    login = ("alice", local.password("alice"))
    with httpx.Client(base_url=stack.webdav_url, auth=login, timeout=60) as client:
        yield client


@pytest.fixture
def directory(alice: httpx.Client) -> str:
    """Give a new directory in /data/exp, which bob may not see."""
    path = f"/data/exp/{uuid.uuid4().hex[:12]}"
    alice.request("MKCOL", path).raise_for_status()
    return path


@pytest.fixture
def listener(stack: Stack) -> Iterator[Callable[..., Listener]]:
    """Give a maker of listeners, which stop at the end of the test."""
    made = []

    def make(user: str = "alice", node: int = 0, timeout_s: int = 300) -> Listener:
        each = Listener(stack.api_urls[node], user, local.password(user))
        each.open_channel(timeout_s)
        made.append(each)
        return each

    yield make
    for each in made:
        each.stop()
