"""How fast an upload starts a function, and how many triggers a second an agent makes.

    python -m benchmarks ingest [--uploads 200] [--triggers 20000]

*Latency*: files are uploaded one by one, quietly, to a real storage; counted is the time from
the storage's commit of the upload to the moment the runner starts the function (its input is
downloaded then). *Rate*: that many uploads stand in `billing`; counted is how long one agent takes
to publish their triggers, each with two URLs that have a macaroon of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import load, options, streams
from deploy.local.demonstrators import Demonstrator, password
from deploy.local.processes import free_ports
from pipeline.event_types import ingest as job_events
from pipeline.ingest import agent, rules_file
from schemas import codec, kafka_topics, topics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.local.demonstrators import Site

_RULES = r"""
[storages.bench]
url = "{url}"
user = "ingest"
password = "ingest-demo"

[functions.copy]
command = ["cp", "{{read}}", "{{write}}"]

[[ingest]]
name = "copy"
function = "copy"
directories = ["/raw"]
[ingest.urls.read]
[ingest.urls.write]
replacing = '^/raw/'
with = '/derived/'
"""
_FILE_BYTES = 100_000
_PAUSE_S = 0.1
_WAIT_S = 120
QUICK = {"uploads": 20, "triggers": 2_000}
TAKES_S = (40, 10)


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run both, print a table and a line of JSON, and return what was measured."""
    parser = options.parser("ingest", __doc__)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--triggers", type=int, default=20_000)
    given = options.given(parser, arguments, QUICK)
    prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    with streams.services() as (kafka, _), TemporaryDirectory(prefix=prefix) as directory:
        parts = Demonstrator(Path(directory), bootstrap=kafka, topic_prefix=prefix)
        webdav_port, rest_port = free_ports(2)
        site = parts.storage("bench", webdav_port=webdav_port, rest_port=rest_port)
        rules = Path(directory) / "rules.toml"
        rules.write_text(_RULES.format(url=site.webdav_url))
        try:
            site.start()
            measured = asyncio.run(_measure(parts, site, rules, given.uploads, given.triggers))
        finally:
            site.process.stop()
            asyncio.run(load.delete_topics(kafka, prefix))
    if not given.json:
        print(_table(measured))
    answer = {"benchmark": "ingest", **measured}
    print(json.dumps(answer))
    return answer


def _table(measured: dict[str, Any]) -> str:
    return (
        "| what | measured | of |\n|---|---|---|\n"
        f"| upload's end to function's start, p50 | {measured['start_p50_ms']:.1f} ms "
        f"| {measured['uploads']} files |\n"
        f"| upload's end to function's start, p99 | {measured['start_p99_ms']:.1f} ms | |\n"
        f"| triggers with minting | {measured['triggers_per_s']:,.0f} /s "
        f"| {measured['triggers']:,} uploads, 2 URLs each |"
    )


async def _measure(
    parts: Demonstrator, site: Site, rules: Path, uploads: int, triggers: int
) -> dict[str, Any]:
    rate = await _rate(parts, rules, triggers)
    await kafka_topics.ensure_topics(
        parts.bootstrap, [job_events.EVENT_TYPE.topic], prefix=parts.topic_prefix
    )
    processes = [parts.ingest_agent(rules), parts.ingest_runner(rules)]
    for process in processes:
        process.start()
    try:
        delays = await _delays_ms(parts, site, uploads)
    finally:
        for process in processes:
            process.stop()
    cuts = statistics.quantiles(delays, n=100)
    return {
        "uploads": uploads,
        "start_p50_ms": round(cuts[49], 1),
        "start_p99_ms": round(cuts[98], 1),
        "triggers": triggers,
        "triggers_per_s": round(rate),
    }


async def _delays_ms(parts: Demonstrator, site: Site, uploads: int) -> list[float]:
    """Upload file after file; return for each how long its function took to start."""
    consumer = AIOKafkaConsumer(
        parts.topic_prefix + job_events.EVENT_TYPE.topic.name,
        parts.topic_prefix + topics.BILLING.name,
        bootstrap_servers=parts.bootstrap,
        auto_offset_reset="earliest",
    )
    login = ("telescope", password("telescope"))
    uploaded_us: dict[str, int] = {}
    started_us: dict[str, int] = {}
    async with consumer, httpx.AsyncClient(base_url=site.webdav_url, auth=login) as client:

        async def read() -> None:
            while len(started_us) < uploads + 1:
                message = await consumer.getone()
                if message.topic.endswith(topics.BILLING.name):
                    record: dict[str, Any] = codec.decode("billing", message.value)
                    if record["kind"] == "UPLOAD" and record["path"].startswith("/raw/new"):
                        uploaded_us[record["path"]] = record["time_us"]
                else:
                    event = codec.decode("ingest", message.value)
                    if event["state"] == job_events.STARTED:
                        started_us[event["path"]] = event["time_us"]

        reading = asyncio.create_task(read())
        content = os.urandom(_FILE_BYTES)
        for number in range(uploads + 1):
            (await client.put(f"/raw/new-{number}", content=content)).raise_for_status()
            while f"/raw/new-{number}" not in started_us:
                await asyncio.sleep(_PAUSE_S / 10)
            await asyncio.sleep(_PAUSE_S)
        await asyncio.wait_for(reading, _WAIT_S)
    # The first one waits until everything has started.
    measured = [path for path in started_us if path != "/raw/new-0"]
    return [(started_us[path] - uploaded_us[path]) / 1000 for path in measured]


async def _rate(parts: Demonstrator, rules: Path, count: int) -> float:
    """Return how many triggers a second one agent publishes, in a process like its own."""
    prefix = f"{parts.topic_prefix}rate-"
    found = rules_file.load(rules)
    wanted = [topics.BILLING, topics.DEAD_LETTER, *agent.trigger_topics(found)]
    await kafka_topics.ensure_topics(parts.bootstrap, wanted, prefix=prefix)
    async with AIOKafkaProducer(bootstrap_servers=parts.bootstrap, linger_ms=5) as producer:
        sent = [
            await producer.send(prefix + topics.BILLING.name, _uploaded(number), key=b"bench")
            for number in range(1, count + 1)
        ]
        await asyncio.gather(*sent)
    async with httpx.AsyncClient() as client:
        made = agent.IngestAgent(
            found, bootstrap=parts.bootstrap, group=prefix + "ingest", client=client, prefix=prefix
        )
        stopped = asyncio.Event()
        task = asyncio.create_task(made.run(stopped))
        while made.triggers_sent == 0:
            await asyncio.sleep(0.005)
        first, begin = made.triggers_sent, time.perf_counter()
        while made.triggers_sent < count:
            await asyncio.sleep(0.005)
        taken_s = time.perf_counter() - begin
        stopped.set()
        await task
    return (count - first) / taken_s


def _uploaded(number: int) -> bytes:
    record = {
        "shard": "bench", "number": number, "operation": f"{number:032x}",
        "time_us": time.time_ns() // 1000, "storage": "bench", "kind": "UPLOAD",
        "inode": number.to_bytes(18, "big"), "ancestors": bytes(36),
        "permissions": "0:0:755 0:0:755 0:0:644", "path": f"/raw/old-{number}",
        "name": f"old-{number}", "type": "REGULAR", "uid": 1, "gids": [1], "user": "telescope",
        "client": "127.0.0.1", "door": "webdav", "protocol": "http", "size_bytes": 1000,
    }  # fmt: skip
    return codec.encode("billing", record)
