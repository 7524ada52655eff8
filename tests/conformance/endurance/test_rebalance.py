"""Workers come and go while a backlog is worked off: nothing lost, and in Redis nothing twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.endurance import calm, told
from tests.conformance.endurance.flow import until_all_flow

if TYPE_CHECKING:
    from tests.integration.worker_site import Site, WorkerProcess

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(3600)]

RECORDS = 1_000_000
AGAIN_S = 10.0
"""After kill -9 of a worker its shards flow again within this."""


async def _works(site: Site, name: str) -> WorkerProcess:
    """Start a worker and wait until it has got partitions and done a part of the work."""
    worker = site.start(name)
    await worker.until_count("records_total", RECORDS // 100, told.DONE_S)
    return worker


async def test_workers_come_and_go_during_a_million_records(site: Site) -> None:
    """They join, leave by SIGTERM with status 0, are killed, and come back under their names."""
    await calm.fill(site, RECORDS)
    one = await _works(site, "one")
    two = await _works(site, "two")
    begin_s = time.monotonic()
    assert one.terminate() == 0
    print(f"SIGTERM under full load: ended with 0 after {time.monotonic() - begin_s:.1f} s")
    three = await _works(site, "three")
    again_s = []
    two.kill()
    again_s += await until_all_flow(site, time.monotonic())
    four = await _works(site, "four")
    three.kill()
    again_s += await until_all_flow(site, time.monotonic())
    print("after kill -9 each partition flows again after", [f"{s:.1f} s" for s in again_s])
    back = await _works(site, "three")
    await told.until_settled(site)
    assert four.terminate() == 0
    assert back.terminate() == 0
    repeated = await calm.check(site, RECORDS)
    print(f"3 joins, 1 leaves, 2 killed, 1 back: repeats on topics {repeated}; in Redis: none")
    assert max(again_s) < AGAIN_S
