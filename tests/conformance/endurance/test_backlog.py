"""A backlog of millions: worked off in bounded memory, committed in time, the log bounded, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.event_types import registry
from tests import services
from tests.conformance.endurance import calm, load, told
from tests.conformance.endurance.watch import watched
from tests.integration.worker_site import ROOT_ID, Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(7200)]

RECORDS = 5_000_000
MEMORY_MB = 300
LAG_S = 2.0
LOG_BYTES = 256 * 2**20


async def test_five_million_records_in_bounded_memory(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Worker and Redis have bounds; what Redis let go of is below the floors, the rest there."""
    with services.running_redis() as redis:
        site = Site(kafka_bootstrap, redis.url, topic_prefix, "backlog:", tmp_path, chosen="")
        await site.make_topics()
        begin_s = time.monotonic()
        await calm.fill(site, RECORDS)
        print(f"{RECORDS:,} records written in {time.monotonic() - begin_s:.0f} s")
        worker = site.start(
            STORAGE_EVENTS_REPLAY_MAX_BYTES=str(LOG_BYTES),
            STORAGE_EVENTS_WORKER_BATCH_RECORDS="1000",
        )
        try:
            begin_s = time.monotonic()
            async with watched(site, worker) as watch:
                await told.until_derived(site)
                took_s = time.monotonic() - begin_s
                await told.until_settled(site)
            print(
                f"derived in {took_s:.0f} s, {RECORDS / took_s:,.0f} records/s; in the replay log "
                f"after {time.monotonic() - begin_s:.0f} s; memory {watch.memory_mb:.0f} MB at "
                f"most; commits behind by {watch.lag_s:.2f} s at most, and by "
                f"{watch.lag_with_sending_s:.2f} s behind what was derived and is being sent"
            )
            await _check_log(site)
            assert worker.terminate() == 0
        finally:
            site.stop()
        assert watch.memory_mb < MEMORY_MB
        assert watch.lag_s < LAG_S


async def _check_log(site: Site) -> None:
    """Redis holds no more than it may, and everything above the floors."""
    async with site.log("inotify") as log:
        info: Any = await log._redis.info("memory")
        commands: Any = await log._redis.info("commandstats")
        state = await log.state()
        used = info["used_memory_peak"] / 2**20
        script = commands["cmdstat_evalsha"]
        print(f"Redis: {used:.0f} MB at most for {len(site.event_types())} logs of "
              f"{LOG_BYTES / 2**20:.0f} MB; {script['calls']:,} appends, "
              f"{script['usec_per_call']:.0f} µs each")  # fmt: skip
        assert used < 1.5 * len(site.event_types()) * LOG_BYTES / 2**20
        kept = 0
        for shard in load.shard_names():
            floor, mark = state.floors.get(shard, 0), state.marks[shard]
            assert mark == RECORDS // len(load.shard_names())
            numbers = [
                number async for chunk in log.read(shard, [], [ROOT_ID], floor, mark)
                for number, _ in chunk
            ]  # fmt: skip
            assert numbers == list(range(floor + 1, mark + 1))
            kept += len(numbers)
        print(f"replay log of {registry.get('inotify').name}: {kept:,} of {RECORDS:,} events kept")
