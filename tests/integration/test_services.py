"""The test services themselves: what a test is given really is Kafka and Redis."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

pytestmark = pytest.mark.stack


async def test_a_topic_can_be_made(kafka_bootstrap: str, topic_prefix: str) -> None:
    """A test may make topics under its prefix."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(f"{topic_prefix}one", 1, 1)])
        async with asyncio.timeout(60):  # the broker that answers learns of it a moment later
            while f"{topic_prefix}one" not in await admin.list_topics():
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def test_a_key_can_be_kept(redis_url: str, redis_prefix: str) -> None:
    """A test may keep keys under its prefix."""
    async with Redis.from_url(redis_url) as redis:
        await redis.set(f"{redis_prefix}key", "value", px=10_000)
        assert await redis.get(f"{redis_prefix}key") == b"value"
