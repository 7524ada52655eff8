"""The worker as a process, on a real Kafka and Redis, while things go wrong.

The long forms are in `tests/conformance/endurance`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.integration.worker_site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.stack


@pytest.fixture
async def site(
    kafka_bootstrap: str, redis_url: str, topic_prefix: str, redis_prefix: str, tmp_path: Path
) -> AsyncIterator[Site]:
    made = Site(kafka_bootstrap, redis_url, topic_prefix, redis_prefix, tmp_path)
    await made.make_topics()
    with contextlib.closing(_Stop(made)):
        yield made


class _Stop:
    def __init__(self, site: Site) -> None:
        self._site = site

    def close(self) -> None:
        self._site.stop()


async def test_what_is_published_is_derived_and_can_be_replayed(site: Site) -> None:
    """And SIGTERM ends the worker with status 0 and everything committed."""
    await site.publish(600)
    worker = site.start()
    await site.until_replayable()
    await site.publish(300)
    await site.until_replayable("transfer")
    await site.until_replayable()
    await worker.until_ready()
    assert await site.check("inotify") == 0
    assert await site.check("transfer") == 0
    assert worker.terminate() == 0
    again = site.start()
    await again.until_ready()
    await site.publish(30)
    await site.until_replayable()
    assert await again.count("records_total") == 30, "what was committed is not read again"
    assert await site.check("inotify") == 0


async def test_garbage_goes_to_the_dead_letters_and_the_stream_goes_on(site: Site) -> None:
    """With where it was, why, and its bytes."""
    await site.publish(12)
    unknown = b"\x00\x00\x00\x03\xe7" + site.records[0][1][5:]
    await site.send([(b"sim0", b"garbage", 1), (b"sim0", unknown, 1)])
    await site.publish(12)
    worker = site.start()
    await site.until_replayable()
    letters = await site.until_dead_letters(2)
    assert [letter["value"] for letter in letters] == [b"garbage", unknown]
    assert [letter["offset"] for letter in letters] == [2, 3]
    assert {letter["topic"] for letter in letters} == {f"{site.topic_prefix}billing"}
    assert "Confluent frame" in letters[0]["reason"]
    assert "unknown schema id 999" in letters[1]["reason"]
    assert await site.check("inotify") == 0
    assert await worker.count("dead_letters_total") == 2


async def test_a_hole_upstream_is_reported_and_the_stream_goes_on(site: Site) -> None:
    await site.publish(30, shards=1)
    del site.records[10:12]
    lost = site.records[:]
    site.records.clear()
    site.topic_prefix += "hole-"
    await site.make_topics()
    await site.send(lost)
    site.records = lost
    worker = site.start()
    await site.until_replayable()
    assert await worker.count("holes_total") == 1
    (letter,) = await site.until_dead_letters(1)
    assert letter["reason"] == "hole: shard sim lacks numbers 11 to 12 before this"
    assert await site.check("inotify") == 0


async def test_kill_9_loses_and_doubles_nothing(site: Site) -> None:
    """Killed between send and acknowledgement, a worker repeats; in Redis not even that."""
    await site.publish(6000)
    worker = site.start()
    for kill in range(2):
        await worker.until_count("records_total", 1 + 1500 * (kill % 2))
        worker.kill()
        worker = site.start()
    await site.until_replayable()
    await site.until_replayable("transfer")
    await site.check("inotify")
    await site.check("transfer")
    assert worker.terminate() == 0


async def test_partitions_move_while_running(site: Site) -> None:
    """A worker joins, one leaves."""
    one = site.start("one")
    await one.until_ready()
    two = site.start("two")
    while not await two.count("records_total"):
        await site.publish(600)
    three = site.start("three")
    while not await three.count("records_total"):
        await site.publish(600)
    assert two.terminate() == 0
    await site.publish(600)
    assert three.terminate() == 0
    await site.publish(600)
    await site.until_replayable()
    await site.until_replayable("transfer")
    repeats = await site.check("inotify")
    assert repeats == 0, "who leaves in peace has committed what it sent"
    await site.check("transfer")


async def test_a_killed_workers_partitions_flow_again_at_another(site: Site) -> None:
    """How soon is measured by the long form."""
    one = site.start("one")
    await one.until_ready()
    two = site.start("two")
    await two.until_ready()
    await one.until_ready()
    await site.publish(300)
    await site.until_replayable()
    one.kill()
    await site.publish(300)
    await site.until_replayable()
    await site.check("inotify")


async def test_redis_away_holds_back_nobody_and_is_filled_afterwards(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Also when it comes back empty."""
    with services.running_redis() as redis:
        site = Site(kafka_bootstrap, redis.url, topic_prefix, "away:", tmp_path)
        await site.make_topics()
        with contextlib.closing(_Stop(site)):
            worker = site.start()
            await site.publish(300)
            await site.until_replayable()
            redis.kill()
            await site.publish(300)
            await worker.until_count("records_total", 600)
            await worker.until_missing("Redis")
            while len(await site.derived("inotify")) < 600:
                await asyncio.sleep(0.05)
            redis.start()
            await site.until_replayable()
            await worker.until_ready()
            await site.check("inotify")
            async with site.log("inotify") as log:
                await log._redis.flushall()
            await site.publish(300)
            await site.until_replayable()
            await site.until_replayable("transfer")
            assert await site.check("inotify") == 0
            assert await site.check("transfer") == 0


async def test_kafka_away_delays_and_loses_nothing(redis_url: str, tmp_path: Path) -> None:
    """It may be away at the start, and in the middle."""
    with services.run_directory("kafka") as run:
        kafka = services.new_kafka(run)
        site = Site(kafka.bootstrap, redis_url, "", f"kafka-away-{run.name}:", tmp_path)
        with contextlib.closing(_Stop(site)):
            worker = site.start()
            await worker.until_missing("Kafka")
            try:
                kafka.start()
                await site.make_topics()
                await worker.until_ready()
                await site.publish(3000)
                await worker.until_count("records_total", 1)
                kafka.kill()
                await worker.until_missing("Kafka")
                kafka.start()
                await site.publish(300)
                await site.until_replayable()
                await worker.until_ready()
                await site.check("inotify")
                kafka.kill()
                assert worker.terminate() == 0, "also when Kafka does not let go"
            finally:
                kafka.kill()
