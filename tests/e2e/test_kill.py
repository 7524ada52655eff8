"""kill -9 of each part in the middle of a burst, then a restart: every event once, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.local import stack as local
from tests.e2e.burst import Burst

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OPERATIONS = 2000
ALL_ARRIVE_S = 90.0
WHILE_AWAY_S = 2.0


def kill_and_restart(stack: Stack, part: str, burst: Burst) -> None:
    """Kill a part; let the burst go on for a while, as far as it can; start the part again."""
    at_kill = burst.done
    if part in ("kafka", "redis"):
        broker = stack.kafka if part == "kafka" else stack.redis
        assert broker is not None
        broker.kill()
        burst.wait_done(at_kill + 500, timeout_s=WHILE_AWAY_S)
        broker.start()
        return
    processes = {"storage": stack.storage, "worker": stack.workers[0], "api": stack.apis[0]}
    processes[part].kill()
    burst.wait_done(at_kill + 500, timeout_s=WHILE_AWAY_S)
    stack.restart(processes[part])


@pytest.mark.parametrize("part", ["storage", "worker", "kafka", "redis", "api"])
def test_every_event_arrives_once_and_in_order(
    part: str, stack: Stack, directory: str, listener: Callable[..., Listener]
) -> None:
    """A client that reconnects with Last-Event-ID, and one that connects first afterwards."""
    burst = Burst(
        stack.webdav_url, ("alice", local.password("alice")), directory, count=OPERATIONS
    )
    expected = burst.expected()
    through, afterwards = listener(), listener(node=1)
    for each in (through, afterwards):
        assert each.watch(directory).status_code == 201
    through.start()
    assert through.wait(lambda: through.connections > 0)

    burst.start()
    assert burst.wait_done(OPERATIONS // 4)
    kill_and_restart(stack, part, burst)
    assert burst.wait_done(OPERATIONS)

    through.wait(lambda: len(through.heard) >= len(expected), timeout_s=ALL_ARRIVE_S)
    assert list(through.told()) == expected
    afterwards.start()
    afterwards.wait(lambda: len(afterwards.heard) >= len(expected), timeout_s=ALL_ARRIVE_S)
    assert list(afterwards.told()) == expected
    assert "EVENT_LOSS" not in through.system + afterwards.system
