"""The worker when services answer, but refuse: it waits, says so once, and live events go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from benchmarks import billing
from pipeline.replay.redis_script import connect
from schemas import codec
from tests import services
from tests.integration.worker_site import Site, partition_of
from tests.slow_proxy import SlowProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.stack

WAITS = "The replay log waits"


@pytest.fixture
async def site(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Give a site with a Redis of its own, which may be spoilt."""
    with services.running_redis() as redis:
        made = Site(kafka_bootstrap, redis.url, topic_prefix, "refused:", tmp_path)
        await made.make_topics()
        with contextlib.ExitStack() as stack:
            stack.callback(made.stop)
            yield made


@contextlib.asynccontextmanager
async def console(site: Site) -> AsyncIterator[Any]:
    """Give an operator's connection to Redis."""
    redis = connect(site.redis_url, timeout_s=10)
    try:
        yield redis
    finally:
        await redis.aclose()


async def until_live(site: Site, count: int) -> None:
    """Wait until so many events can be read live."""
    async with asyncio.timeout(120):
        while len(await site.derived("inotify")) < count:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("refuse", "allow", "word"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only replica"),
    ],
    ids=["full", "read-only"],
)
async def test_a_redis_that_refuses_is_waited_for(
    site: Site, refuse: str, allow: str, word: str
) -> None:
    """Full or read-only: its reason is told in the log and by health; live events go on."""
    worker = site.start()
    await site.publish(60)
    await site.until_replayable()
    async with console(site) as redis:
        await redis.execute_command(*refuse.split())
        await site.publish(60)
        await until_live(site, 120)
        await worker.until_missing(word)
        await site.publish(60)
        await until_live(site, 180)
        await redis.execute_command(*allow.split())
    await site.until_replayable()
    await site.until_replayable("transfer")
    await worker.until_ready()
    assert await site.check("inotify") == 0
    assert await site.check("transfer") == 0
    lines = [line for line in worker.log.read_text().splitlines() if WAITS in line]
    assert len(lines) == 2, lines
    assert word in lines[0]
    assert "Traceback" not in worker.log.read_text()


async def test_a_redis_that_has_moved_is_found_behind_the_same_address(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """A failover: connections stay with the old one, which is a replica now."""
    with (
        services.running_redis() as old,
        services.running_redis() as new,
        SlowProxy(old.port).running() as proxy,
    ):
        url = f"redis://127.0.0.1:{proxy.port}/0"
        site = Site(kafka_bootstrap, url, topic_prefix, "moved:", tmp_path)
        was, will_be = (dataclasses.replace(site, redis_url=one.url) for one in (old, new))
        await site.make_topics()
        with contextlib.ExitStack() as stack:
            stack.callback(site.stop)
            site.start()
            await site.publish(60)
            await site.until_replayable()
            await site.until_replayable("transfer")
            async with console(was) as first, console(will_be) as second:
                await second.execute_command("REPLICAOF", "127.0.0.1", old.port)
                while (await second.info("replication"))["master_link_status"] != "up":
                    await asyncio.sleep(0.05)
                await first.execute_command("WAIT", 1, 10_000)
                await second.execute_command("REPLICAOF", "NO", "ONE")
                proxy.target = new.port
                await first.execute_command("REPLICAOF", "127.0.0.1", new.port)
            await site.publish(60)
            await site.until_replayable()
            await site.until_replayable("transfer")
            assert await site.check("inotify") == 0


async def test_a_redis_that_loads_is_waited_for(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """It answers LOADING, as after a restart with much on its disk."""

    async def load(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-LOADING Redis is loading the dataset in memory\r\n" * 9)
        await writer.drain()

    with services.running_redis() as redis:
        site = Site(kafka_bootstrap, redis.url, topic_prefix, "loads:", tmp_path)
        await site.make_topics()
        with contextlib.ExitStack() as stack:
            stack.callback(site.stop)
            worker = site.start()
            await site.publish(60)
            await site.until_replayable()
            redis.kill()
            loading = await asyncio.start_server(load, "127.0.0.1", redis.port)
            await site.publish(60)
            await until_live(site, 120)
            await worker.until_missing("loading the dataset")
            loading.close()
            redis.start()
            await site.until_replayable()
            await site.until_replayable("transfer")
            assert await site.check("inotify") == 0


async def test_a_full_redis_lets_go_of_what_is_too_old(site: Site) -> None:
    """What need not be kept any longer makes room, although nothing can be added."""
    worker = site.start(STORAGE_EVENTS_REPLAY_MAX_AGE_S="20")
    await site.publish(3000)
    await site.until_replayable()
    await site.until_replayable("transfer")
    async with console(site) as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used - 100_000)
        await site.publish(60)
        await worker.until_missing("OOM")
        await site.until_replayable()
        async with site.log("inotify") as log:
            assert min((await log.state()).floors.values()) > 0
    assert worker.terminate() == 0


@pytest.mark.conformance  # aiokafka looks for a topic for 40 s before it says that there is none
async def test_a_dead_letter_topic_that_was_deleted_is_made_anew(site: Site) -> None:
    """What has to be set aside waits for it; nothing else is sent twice for that."""
    worker = site.start()
    await site.publish(60)
    await site.until_replayable()
    await _delete(site, "dead-letter")
    await site.send([(b"sim0", b"garbage", 1)])
    await site.publish(60)
    async with asyncio.timeout(200):
        while "waits for Kafka no more" not in worker.log.read_text():
            await asyncio.sleep(0.2)
    (letter,) = await site.until_dead_letters(1)
    assert letter["value"] == b"garbage"
    await site.until_replayable()
    assert await site.check("inotify") == 0
    assert await site.check("transfer") == 0
    assert await worker.count("dead_letters_total") == 1
    assert len(worker.log.read_text().splitlines()) < 10


async def _delete(site: Site, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    await admin.delete_topics([site.topic_prefix + topic])
    await admin.close()


async def test_a_message_too_large_for_its_topic_is_set_aside(site: Site) -> None:
    """Not tried for ever; everything before and after it is there."""
    worker = site.start()
    await worker.until_ready()
    await _limit(site, "inotify", 4000)
    await site.publish(60)
    shard, number = "sim0", 11
    (record,) = billing.records(1, first=number)
    record["shard"], record["name"] = shard, "long" * 2000
    await site.send([(shard.encode(), codec.encode("billing", record), 1)])
    (letter,) = await site.until_dead_letters(1)
    assert "too large" in letter["reason"]
    assert letter["offset"] >= 10
    assert codec.decode("billing", letter["value"])["name"] == record["name"]
    after = list(billing.encoded(60, shards=6, first=number, seed=9))[1:]
    site.records += after
    await site.send(after)
    await site.until_replayable()
    assert partition_of(b"sim0") == letter["partition"]
    found = await site.derived("inotify")
    assert len(found) == 119
    assert await worker.count("dead_letters_total") == 1


async def _limit(site: Site, topic: str, most_bytes: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=site.bootstrap)
    await admin.start()
    config = {"max.message.bytes": str(most_bytes)}
    name = site.topic_prefix + topic
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config)])
    await admin.close()


def test_an_unknown_event_type_is_told_at_the_start(site: Site) -> None:
    """With status 2, the setting's name and what there is."""
    worker = site.start(STORAGE_EVENTS_EVENT_TYPES="inotify,inotfy")
    assert worker.process.wait(60) == 2
    said = worker.log.read_text()
    assert said.startswith("error: STORAGE_EVENTS_EVENT_TYPES: no event type inotfy; there are ")
    assert "Traceback" not in said
