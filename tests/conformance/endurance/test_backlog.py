"""A backlog of millions: worked off in bounded memory, committed in time, the log bounded, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import choice
from pipeline.event_types import registry
from pipeline.settings import from_env
from tests import services
from tests.conformance.endurance import calm, load, told
from tests.conformance.endurance.trimming import trimming
from tests.conformance.endurance.watch import watched
from tests.integration.worker_site import ROOT_ID, Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(7200)]

RECORDS = 5_000_000
MEMORY_MB = 300
LAG_WORK_S = 2.0
LOG_BYTES = 256 * 2**20


async def test_five_million_records_in_bounded_memory(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Worker and Redis have bounds; what Redis let go of is below the floors, the rest there."""
    with services.running_redis() as redis:
        site = Site(kafka_bootstrap, redis.url, topic_prefix, "backlog:", tmp_path, chosen="")
        await choice.make_topics(from_env(site.environ()))
        begin_s = time.monotonic()
        await calm.fill(site, RECORDS)
        print(f"{RECORDS:,} records written in {time.monotonic() - begin_s:.0f} s")
        worker = site.start(
            STORAGE_EVENTS_REPLAY_MAX_BYTES=str(LOG_BYTES),
            STORAGE_EVENTS_WORKER_BATCH_RECORDS="1000",
        )
        try:
            begin_s = time.monotonic()
            async with watched(site, worker) as watch, trimming(site, worker) as cost:
                await told.until_derived(site)
                took_s = time.monotonic() - begin_s
                await told.until_settled(site)
            print(
                f"derived in {took_s:.0f} s, {RECORDS / took_s:,.0f} records/s; in the replay log "
                f"after {time.monotonic() - begin_s:.0f} s; {watch}"
            )
            print(f"Redis works {cost.before_us:.1f} µs for an event before it lets go of the "
                  f"oldest, {cost.meanwhile_us:.1f} µs while it does")  # fmt: skip
            await _check_log(site)
            assert worker.terminate() == 0
        finally:
            site.stop()
        assert watch.memory_mb < MEMORY_MB
        assert watch.lag_work_s < LAG_WORK_S


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
        assert sum(state.marks.values()) == RECORDS
        kept = 0
        for shard in load.shard_names():
            floor, mark = state.floors.get(shard, 0), state.marks[shard]
            numbers = [
                number async for chunk in log.read(shard, [], [ROOT_ID], floor, mark)
                for number, _ in chunk
            ]  # fmt: skip
            assert numbers == list(range(floor + 1, mark + 1))
            kept += len(numbers)
        print(f"replay log of {registry.get('inotify').name}: {kept:,} of {RECORDS:,} events kept")
