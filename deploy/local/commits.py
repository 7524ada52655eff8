"""When the storage committed what: read back from Kafka, to tell how long news was on its way."""

from __future__ import annotations

from statistics import quantiles
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer

from schemas import codec
from schemas.topics import BILLING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


async def upload_times_s(bootstrap: str, since_s: float) -> dict[str, float]:
    """Return the commit time of each upload since then.

    Args:
        bootstrap: the Kafka.
        since_s: epoch seconds.

    Returns:
        Epoch seconds by path.
    """
    consumer = AIOKafkaConsumer(BILLING.name, bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        partitions = list(consumer.assignment())
        begins = await consumer.offsets_for_times(dict.fromkeys(partitions, int(since_s * 1000)))
        ends = await consumer.end_offsets(partitions)
        times: dict[str, float] = {}
        for partition in [each for each in partitions if begins[each] is not None]:
            consumer.seek(partition, begins[partition].offset)
            while await consumer.position(partition) < ends[partition]:
                for record in (await consumer.getmany(partition, timeout_ms=500)).get(
                    partition, ()
                ):
                    said = codec.decode(BILLING.schema, record.value)
                    if said["kind"] == "UPLOAD":
                        times[said["path"]] = said["time_us"] / 1e6
        return times
    finally:
        await consumer.stop()


def delays_ms(committed_s: Mapping[str, float], read_s: Mapping[str, float]) -> list[float]:
    """Return how long each was on its way, in milliseconds, for what is in both."""
    return [(read_s[path] - committed_s[path]) * 1000 for path in read_s if path in committed_s]


def percentiles(values: Iterable[float]) -> tuple[float, float]:
    """Return p50 and p99."""
    cuts = quantiles(values, n=100)
    return cuts[49], cuts[98]
