"""The worker, or Kafka, ends in the middle of the work: asked to, or for minutes."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.conformance.endurance import calm, told
from tests.conformance.endurance.watch import watched
from tests.integration.worker_site import Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(2400)]

RECORDS = 200_000
STOPS = 5
IN_TIME_S = 10.0
AWAY_S = 150
MEMORY_MB = 300


async def test_told_to_stop_under_full_load(site: Site) -> None:
    """SIGTERM, five times: status 0 in time; nothing lost, nothing twice, not even on topics."""
    await calm.fill(site, RECORDS)
    rng = random.Random(1)
    worker = site.start()
    took_s = []
    for _ in range(STOPS):
        least = rng.randrange(RECORDS // 20, RECORDS // 8)
        await worker.until_count("records_total", least, told.DONE_S)
        begin_s = time.monotonic()
        assert worker.terminate() == 0
        took_s.append(time.monotonic() - begin_s)
        worker = site.start()
    await told.until_settled(site)
    repeated = await calm.check(site, RECORDS)
    print(f"SIGTERM under full load: ended after {[f'{s:.1f} s' for s in took_s]}; "
          f"repeats on topics {repeated}; in Redis: none")  # fmt: skip
    assert max(took_s) < IN_TIME_S
    assert not any(repeated.values())


async def test_kafka_is_away_for_minutes_with_batches_in_flight(
    redis_url: str, redis_prefix: str, tmp_path: Path
) -> None:
    """kill -9 of Kafka while the worker sends: it waits in bounded memory and says so briefly."""
    with services.run_directory("kafka") as run:
        kafka = services.new_kafka(run)
        site = Site(kafka.bootstrap, redis_url, "", redis_prefix, tmp_path)
        try:
            await asyncio.to_thread(kafka.start)
            await site.make_topics()
            await calm.fill(site, RECORDS)
            worker = site.start()
            async with watched(site, worker) as watch:
                await worker.until_count("records_total", RECORDS // 20, told.DONE_S)
                await asyncio.to_thread(kafka.kill)
                await asyncio.sleep(AWAY_S)
                lines = len(worker.log.read_text().splitlines())
                await worker.until_missing("Kafka")
                await asyncio.to_thread(kafka.start)
                begin_s = time.monotonic()
                done = await worker.count("records_total")
                await worker.until_count("records_total", done + 1, told.DONE_S)
                flows_s = time.monotonic() - begin_s
                await told.until_settled(site)
            repeated = await calm.check(site, RECORDS)
            print(f"Kafka away for {AWAY_S} s: {lines} lines in the log; flows again after "
                  f"{flows_s:.1f} s; repeats on topics {repeated}; in Redis: none; "
                  f"memory {watch.memory_mb:.0f} MB")  # fmt: skip
            assert lines < 40 * AWAY_S / 60
            assert watch.memory_mb < MEMORY_MB
            assert worker.terminate() == 0
        finally:
            site.stop()
            kafka.kill()
