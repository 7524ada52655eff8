"""Process files on ingest without our runner: examples/ingest_function.py [TOPIC].

A consumer of a trigger topic needs Kafka and HTTP, and no account at the storage: each URL carries
a macaroon for its one path. This one fetches `read` and stores its SHA-256 as `write`. The trigger
is a CloudEvent in Kafka's binary mode, so Knative, Argo Events and others take it as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys

import httpx
from aiokafka import AIOKafkaConsumer

topic = sys.argv[1] if len(sys.argv) > 1 else "ingest"
bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "127.0.0.1:9092")


async def main() -> None:
    """Take triggers one by one; commit each when its output is stored."""
    seen: set[str] = set()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id="sha256",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer, httpx.AsyncClient(timeout=60, follow_redirects=True) as client:
        async for message in consumer:
            attributes = {name: value.decode() for name, value in message.headers}
            if attributes["ce_id"] in seen:  # the same upload once more, after a crash
                continue
            urls = json.loads(message.value)
            content = (await client.get(urls["read"])).raise_for_status().content
            line = f"{hashlib.sha256(content).hexdigest()}  {attributes['ce_subject']}\n"
            (await client.put(urls["write"], content=line.encode())).raise_for_status()
            seen.add(attributes["ce_id"])
            await consumer.commit()
            print(line, end="", flush=True)


asyncio.run(main())
