"""Processing on ingest with whole processes: a real storage, the agent, the runner; kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import re
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.local.demonstrators import Demonstrator, Site, password
from deploy.local.processes import free_ports
from pipeline.event_types import ingest
from schemas import codec
from tests import services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from deploy.local.processes import Process

pytestmark = [pytest.mark.e2e, pytest.mark.stack]

RULES = r"""
[storages.sim]
url = "{url}"
user = "ingest"
password = "ingest-demo"

[functions.checksum]
python = "examples.functions.checksum:index"

[functions.refuse]
command = ["sh", "-c", "echo I will not >&2; exit 3"]
attempts = 2

[[ingest]]
name = "index"
function = "checksum"
directories = ["/raw"]
matching = "*.txt"
[ingest.urls.read]
[ingest.urls.write]
replacing = '^/raw/(.*)\.txt$'
with = '/derived/\1.json'
create_path = true

[[ingest]]
name = "bad"
function = "refuse"
directories = ["/raw"]
matching = "*.bad"
[ingest.urls.read]
[ingest.urls.log]
replacing = '^/raw/(.*)\.bad$'
with = '/derived/\1.log'
"""


class Bench:
    """A storage, an agent and a runner, each a process of its own."""

    def __init__(self, run: Path, bootstrap: str, prefix: str) -> None:
        webdav, rest = free_ports(2)
        self.parts = Demonstrator(run, bootstrap=bootstrap, topic_prefix=prefix)
        self.site: Site = self.parts.storage("sim", webdav_port=webdav, rest_port=rest)
        rules = run / "rules.toml"
        rules.write_text(RULES.replace("{url}", self.site.webdav_url))
        impatient = {"STORAGE_EVENTS_INGEST_RETRY_LONGEST_S": "1"}
        self.agent: Process = self.parts.ingest_agent(rules)
        self.runner: Process = self.parts.ingest_runner(rules, impatient)

    def start(self) -> None:
        self.site.start()
        self.agent.start()
        self.runner.start()

    def stop(self) -> None:
        for process in (self.runner, self.agent, self.site.process):
            process.stop()

    def client(self, user: str = "telescope") -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.site.webdav_url, auth=(user, password(user)), timeout=60
        )

    async def outcomes(self, count: int, within_s: float) -> list[tuple[str, str, str]]:
        """Return (path, trigger, outcome) of all that is told until `count` paths have one."""
        told: list[tuple[str, str, str]] = []
        async with AIOKafkaConsumer(
            self.parts.topic_prefix + ingest.EVENT_TYPE.topic.name,
            bootstrap_servers=self.parts.bootstrap,
            auto_offset_reset="earliest",
        ) as consumer:
            seen: set[int] = set()
            async with asyncio.timeout(within_s):
                while len({path for path, _, _ in told}) < count:
                    message = codec.decode("ingest", (await consumer.getone()).value)
                    ended = message["state"] in {ingest.DONE, ingest.FAILED}
                    if ended and message["number"] not in seen:
                        told.append((message["path"], message["id"], message["state"]))
                    seen.add(message["number"])
        return told

    async def triggers(self, topic: str = "ingest") -> list[str]:
        """Return the ids of all triggers there are."""
        found: list[str] = []
        async with AIOKafkaConsumer(
            self.parts.topic_prefix + topic,
            bootstrap_servers=self.parts.bootstrap,
            auto_offset_reset="earliest",
        ) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    batches = await consumer.getmany(partition, timeout_ms=100)
                    found += [
                        dict(message.headers)["ce_id"].decode()
                        for message in batches.get(partition, [])
                    ]
        return found


@pytest.fixture
async def bench(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Bench]:
    with services.run_directory("ingest") as run:
        made = Bench(run, kafka_bootstrap, topic_prefix)
        try:
            made.start()
            yield made
        finally:
            made.stop()


async def test_an_uploaded_file_is_processed_and_its_output_stored(bench: Bench) -> None:
    async with bench.client() as client:
        (await client.put("/raw/a.txt", content=b"stars and galaxies")).raise_for_status()
        (await client.put("/raw/ignored.dat", content=b"x")).raise_for_status()
        (await client.put("/raw/b.bad", content=b"x")).raise_for_status()
        told = await bench.outcomes(2, 60)
        assert {(path, state) for path, _, state in told} == {
            ("/raw/a.txt", "DONE"), ("/raw/b.bad", "FAILED"),
        }  # fmt: skip
        about = json.loads((await client.get("/derived/a.json")).text)
        assert about["words"] == {"and": 1, "galaxies": 1, "stars": 1}
        assert (await client.get("/derived/b.log")).text == "I will not\n"
    log = bench.runner.log.read_text() + bench.agent.log.read_text()
    assert "authz=" not in log
    assert "ingest-demo" not in log


YAML = r"""
kafka-client:
    id: {prefix}my-unique-ID
    bootstrap-servers: {bootstrap}

url-generator:
    base: {url}/
    macaroons:
        username: ingest
        password: ingest-demo
        default-lifetime: PT15M

files:
  - target: uploaded-foo-movies
    path-predicate:
        matching: '/raw/[^/]*\.mp4'
        ignoring: '-derived\.[^/.]*$'
    urls:
        read:
            with-macaroon:
                activity: DOWNLOAD
        write:
            with-macaroon:
                activity: UPLOAD
            derived-path:
                replacing: '([^/]*)\.([^.]*)$'
                with: 'made/\1-derived.\2'
    \t    create-path: true
"""


async def test_the_papers_yaml_and_a_consumer_of_ones_own(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    """The agent needs only the YAML; who listens needs only Kafka and HTTP."""
    with services.run_directory("ingest-yaml") as run:
        bench = Bench(run, kafka_bootstrap, topic_prefix)
        rules = run / "config.yaml"
        rules.write_text(
            YAML.replace("\\t", "\t")
            .replace("{bootstrap}", kafka_bootstrap)
            .replace("{url}", bench.site.webdav_url)
            .replace("{prefix}", topic_prefix)
        )
        bench.agent = bench.parts.ingest_agent(rules, {"KAFKA_BOOTSTRAP": ""})
        listener = bench.parts.python(
            "listener", "examples.ingest_function", f"{topic_prefix}uploaded-foo-movies"
        )
        try:
            bench.site.start()
            bench.agent.start()
            async with bench.client() as client:
                (await client.put("/raw/a.mp4", content=b"film")).raise_for_status()
                listener.start()
                got = None
                async with asyncio.timeout(60):
                    # A new file is there, and empty, until its upload has ended.
                    while got is None or got.status_code == 404 or not got.content:
                        await asyncio.sleep(0.2)
                        got = await client.get("/raw/made/a-derived.mp4")
            assert got.text == f"{hashlib.sha256(b'film').hexdigest()}  /raw/a.mp4\n"
            (trigger,) = await bench.triggers("uploaded-foo-movies")
            assert trigger.endswith(":uploaded-foo-movies")
        finally:
            listener.stop()
            bench.stop()


async def test_whatever_is_killed_each_upload_has_one_outcome(bench: Bench) -> None:
    """2,000 files is the long form; this one is part of every run."""
    chance = random.Random(8)
    count = 60
    async with bench.client() as client:
        ended = asyncio.Event()
        killing = asyncio.create_task(_kill_now_and_then(bench, chance, ended))
        try:
            for number in range(count):
                await _put(client, f"/raw/{number}.txt", f"file {number}".encode())
            await asyncio.sleep(3)
        finally:
            ended.set()
            await killing
        told = await bench.outcomes(count, 120)
        assert {path for path, _, _ in told} == {f"/raw/{n}.txt" for n in range(count)}
        assert {state for _, _, state in told} == {"DONE"}
        assert len({trigger for _, trigger, _ in told}) == len(told)
        for number in range(count):
            about = json.loads((await client.get(f"/derived/{number}.json")).text)
            assert about["path"] == f"/raw/{number}.txt"
        listing = await client.request("PROPFIND", "/derived", headers={"Depth": "1"})
        assert len(set(re.findall(r"/derived/[^<]*\.json(?=<)", listing.text))) == count
    # An upload whose answer was lost was made again: another upload, another trigger.
    assert {trigger for _, trigger, _ in told} <= set(await bench.triggers())


async def _put(client: httpx.AsyncClient, path: str, content: bytes) -> None:
    """Upload, as a client does whose storage may be away for a moment."""
    until = time.monotonic() + 60
    while True:
        try:
            response = await client.put(path, content=content)
        except httpx.HTTPError:
            response = None
        if response is not None and response.is_success:
            return
        assert time.monotonic() < until
        await asyncio.sleep(0.1)


async def _kill_now_and_then(bench: Bench, chance: random.Random, ended: asyncio.Event) -> None:
    """Kill one after the other; each is started again before this returns."""
    victims = [bench.agent, bench.runner, bench.site.process]
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), chance.uniform(0.2, 1.0))
        victim = chance.choice(victims)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
