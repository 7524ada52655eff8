"""Sees partitions of a derived topic grow: when each flows again after somebody was killed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from tests.conformance.endurance.told import partitions

if TYPE_CHECKING:
    from tests.integration.worker_site import Site

_EVERY_S = 0.1
_UNDER_WAY_S = 0.5
_LONGEST_S = 120


async def until_all_flow(site: Site, since_s: float, topic: str = "inotify") -> list[float]:
    """Wait until each partition has grown; return after how many seconds each was seen to.

    Args:
        site: whose topic; there must be work for each partition.
        since_s: when somebody was killed, on the monotonic clock; what it had sent before may
            still arrive for half a second.
        topic: a derived topic.
    """
    await asyncio.sleep(_UNDER_WAY_S)
    flows: dict[int, float] = {}
    async with (
        AIOKafkaConsumer(bootstrap_servers=site.bootstrap) as consumer,
        asyncio.timeout(_LONGEST_S),
    ):
        tps = partitions(site, topic)
        before = await consumer.end_offsets(tps)
        while len(flows) < len(tps):
            await asyncio.sleep(_EVERY_S)
            for tp, end in (await consumer.end_offsets(tps)).items():
                if end > before[tp]:
                    flows.setdefault(tp.partition, time.monotonic() - since_s)
    return [flows[tp.partition] for tp in tps]
