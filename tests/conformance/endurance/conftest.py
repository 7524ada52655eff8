"""A site of one's own for each test of endurance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.worker_site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def site(
    kafka_bootstrap: str, redis_url: str, topic_prefix: str, redis_prefix: str, tmp_path: Path
) -> AsyncIterator[Site]:
    """Give topics and keys of one's own; its workers are killed afterwards."""
    made = Site(kafka_bootstrap, redis_url, topic_prefix, redis_prefix, tmp_path)
    await made.make_topics()
    try:
        yield made
    finally:
        made.stop()
        async with made.log("inotify") as log:
            async for key in log._redis.scan_iter(f"{redis_prefix}*", count=10_000):
                await log._redis.unlink(key)
