"""kill -9 of the worker, again and again: nothing lost, and in Redis nothing twice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.conformance.endurance import calm, told

if TYPE_CHECKING:
    from tests.integration.worker_site import Site

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(3600)]

RECORDS = 1_000_000
KILLS = 10


async def test_kill_9_ten_times_in_a_million_records(site: Site) -> None:
    """Topics, once repeats are dropped by position, and the log as it is: an undisturbed run's."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    await calm.fill(site, RECORDS)
    moments = sorted(rng.sample(range(1, RECORDS * 19 // 20), KILLS))
    worker = site.start()
    for before, moment in zip([0, *moments], moments, strict=False):
        await worker.until_count("records_total", moment - before, told.DONE_S)
        worker.kill()
        print(f"killed after {moment - before:,} more records")
        worker = site.start()
    await told.until_settled(site)
    assert worker.terminate() == 0
    repeated = await calm.check(site, RECORDS)
    print(f"{KILLS} kills in {RECORDS:,} records; repeats on topics: {repeated}; in Redis: none")
