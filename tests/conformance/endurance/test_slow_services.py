"""Redis or Kafka's disk is slow or away: nothing lost, memory bounded, live events go on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.conformance.endurance import told
from tests.conformance.endurance.live import streaming
from tests.conformance.endurance.watch import watched
from tests.integration.worker_site import Site
from tests.slow_proxy import SlowProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conformance.endurance.live import Live
    from tests.conformance.endurance.watch import Watch
    from tests.integration.worker_site import WorkerProcess

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(1200)]

PER_S = 300
PLAIN_S = 20
MEMORY_MB = 300


@contextlib.asynccontextmanager
async def flowing(site: Site) -> AsyncIterator[tuple[Live, Watch, WorkerProcess]]:
    """Let a worker follow a steady stream; at the end nothing is missing, memory was bounded."""
    await site.make_topics()
    worker = site.start()
    try:
        await worker.until_ready()
        async with watched(site, worker) as watch, streaming(site, PER_S) as live:
            await asyncio.sleep(2)
            yield live, watch, worker
        await told.until_settled(site)
        repeats = [await site.check(event_type) for event_type in site.event_types()]
        print(f"{live.published:,} records; repeats on topics {repeats}; "
              f"memory {watch.memory_mb:.0f} MB")  # fmt: skip
        assert watch.memory_mb < MEMORY_MB
        assert worker.terminate() == 0
    finally:
        site.stop()


async def measured(live: Live, what: str, seconds: float) -> float:
    """Let it flow for some time; print how long live events took, and return the median in ms."""
    begin = time.time()
    await asyncio.sleep(seconds)
    end = time.time()
    await asyncio.sleep(2)
    count, middle, high, most = live.between(begin, end)
    print(f"{what}: {count:,} live events, p50 {middle:.1f} ms, p99 {high:.0f} ms, "
          f"most {most:.0f} ms")  # fmt: skip
    return middle


async def test_a_slow_redis_holds_back_no_live_event(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Each answer of Redis takes 50 ms longer, then 500 ms."""
    with services.running_redis() as redis, SlowProxy(redis.port).running() as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        site = Site(kafka_bootstrap, url, topic_prefix, "slow:", tmp_path)
        async with flowing(site) as (live, _, worker):
            plain = await measured(live, "Redis as it is", PLAIN_S)
            proxy.delay_s = 0.025
            slow = await measured(live, "Redis 50 ms slower", 60)
            assert not (await worker.get("/health/ready")).json().get("missing")  # type: ignore[union-attr]
            proxy.delay_s = 0.25
            slower = await measured(live, "Redis 500 ms slower", PLAIN_S)
            proxy.delay_s = 0.0
            await measured(live, "Redis as it was", PLAIN_S)
        assert max(slow, slower) < 2 * plain + 25


async def test_redis_away_for_a_minute_holds_back_no_live_event(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """It is killed, and comes back with what it had on its disk."""
    with services.running_redis() as redis:
        site = Site(kafka_bootstrap, redis.url, topic_prefix, "away:", tmp_path)
        async with flowing(site) as (live, _, worker):
            plain = await measured(live, "Redis as it is", PLAIN_S)
            await asyncio.to_thread(redis.kill)
            away = await measured(live, "Redis away", 60)
            assert "Redis" in (await worker.get("/health/ready")).text  # type: ignore[union-attr]
            await asyncio.to_thread(redis.start)
            await measured(live, "Redis back, the log catches up", PLAIN_S)
        waits = worker.log.read_text().count("The replay log waits")
        print(f"lines in the log about Redis: {waits}")
        assert 2 <= waits <= 5
        assert away < 2 * plain + 25


async def test_a_kafka_that_stands_still_in_pulses_delays_and_loses_nothing(
    redis_url: str, redis_prefix: str, tmp_path: Path
) -> None:
    """As with a slow disk: the broker is stopped and continued, at last longer than sessions."""
    with services.running_kafka() as kafka:
        site = Site(kafka.bootstrap, redis_url, "", redis_prefix, tmp_path)
        async with flowing(site) as (live, _, _):
            await measured(live, "Kafka as it is", PLAIN_S)
            begin = time.time()
            for stopped_s, running_s in [(0.7, 0.7)] * 20 + [(12.0, 10.0)] * 2:
                kafka.process.signal(signal.SIGSTOP)
                await asyncio.sleep(stopped_s)
                kafka.process.signal(signal.SIGCONT)
                await asyncio.sleep(running_s)
            await asyncio.sleep(2)
            count, middle, _, most = live.between(begin, time.time())
            print(
                f"Kafka in pulses: {count:,} live events, p50 {middle:.0f} ms, most {most:.0f} ms"
            )
            await measured(live, "Kafka as it was", PLAIN_S)
