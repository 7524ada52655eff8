"""A backlog, and what an undisturbed worker makes of it: what every other run is compared with."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from tests.conformance.endurance import load, told

if TYPE_CHECKING:
    from tests.integration.worker_site import Site

    Derived = dict[str, told.Shards]

_TIME_US = int(time.time()) * 1_000_000
_known: dict[int, Derived] = {}


async def fill(site: Site, count: int) -> None:
    """Put the backlog of `count` records on billing; the same ones each time."""
    records = load.backlog(count, _TIME_US)
    await load.fill(site.bootstrap, f"{site.topic_prefix}billing", records)


async def undisturbed(site: Site, count: int) -> Derived:
    """Return what a worker derives from the backlog, of topics beside those of `site`."""
    if count not in _known:
        calm = dataclasses.replace(
            site, topic_prefix=f"{site.topic_prefix}calm-", redis_prefix="", workers=[], records=[]
        )
        await calm.make_topics()
        await fill(calm, count)
        begin_s = time.monotonic()
        worker = calm.start("calm", STORAGE_EVENTS_WORKER_PARTS="derive")
        try:
            await told.until_derived(calm)
            took_s = time.monotonic() - begin_s
            assert worker.terminate() == 0
        finally:
            calm.stop()
        print(f"undisturbed: {count:,} records in {took_s:.0f} s with the start")
        derived = {}
        for event_type in calm.event_types():
            derived[event_type], repeats = await told.of_topic(calm, event_type)
            assert not repeats
        assert sum(len(one.numbers) for one in derived["inotify"].values()) == count
        _known[count] = derived
    return _known[count]


async def check(site: Site, count: int) -> dict[str, int]:
    """Compare topics and replay logs with an undisturbed run; return the repeats on topics."""
    expected = await undisturbed(site, count)
    repeated = {}
    for event_type, shards in expected.items():
        derived, repeated[event_type] = await told.of_topic(site, event_type)
        told.compare(derived, shards, f"topic of {event_type}")
        kept = await told.of_log(site, event_type, shards)
        told.compare(kept, shards, f"replay log of {event_type}")
    return repeated
