"""Topics that go while a test runs."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient

_GONE_S = 60.0


async def delete_topic(bootstrap: str, topic: str) -> None:
    """Delete a topic, and wait until it is gone: then it can be made anew."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(_GONE_S):
            while topic in await admin.list_topics():
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
