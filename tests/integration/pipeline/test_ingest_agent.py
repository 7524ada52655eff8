"""The ingest agent on a real Kafka: a trigger for each upload and rule, with URLs that fit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.authz import caveats, macaroons
from pipeline.ingest import agent
from pipeline.ingest.agent import IngestAgent
from pipeline.ingest.rules import NamedUrl, Rule, RuleSet
from pipeline.rules import patterns
from pipeline.rules.storages import Storage
from pipeline.signed_urls import SignedUrls
from schemas import codec, kafka_topics, topics
from schemas.errors import Refused, Unavailable
from tests.integration.pipeline import plain_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.integration.pipeline.plain_storage import PlainStorage

pytestmark = pytest.mark.stack

WRITE = NamedUrl(
    "write",
    ("UPLOAD",),
    lifetime_s=300,
    derived=patterns.substitution(r"^/data/raw/(.*)\.fits$", r"/data/derived/\1.png"),
    create_path=True,
)
RULE = Rule(
    "preview",
    function="preview",
    urls=(NamedUrl("read", ("DOWNLOAD",)), WRITE),
    matching=patterns.regular(r"/data/.*\.fits"),
)


@pytest.fixture
def storage() -> Iterator[PlainStorage]:
    with plain_storage.running() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5) as opened:
        yield opened


def rules(storage: PlainStorage) -> RuleSet:
    return RuleSet((RULE,), storages={"": Storage(storage.url + "/", "ingest", "secret")})


def billing(number: int, path: str, **changes: Any) -> bytes:
    depth = path.count("/")
    record = {
        "shard": "sim", "number": number, "operation": "0" * 32, "time_us": 1, "storage": "sim",
        "kind": "UPLOAD", "inode": b"i" * 18, "ancestors": b"a" * 18 * depth,
        "permissions": " ".join(["0:0:755"] * (depth + 1)), "path": path,
        "name": path.rpartition("/")[2], "type": "REGULAR", "uid": 1, "gids": [1],
        "user": "alice", "client": "", "door": "", "protocol": "http", "size_bytes": 3,
    } | changes  # fmt: skip
    return codec.encode("billing", record)


class Bench:
    """A billing topic, an agent, and what comes out of it."""

    def __init__(
        self, bootstrap: str, prefix: str, rules: RuleSet, client: httpx.AsyncClient
    ) -> None:
        self._bootstrap, self._prefix = bootstrap, prefix
        self._rules, self._client = rules, client

    async def prepare(self) -> None:
        wanted = [topics.BILLING, topics.DEAD_LETTER, *agent.trigger_topics(self._rules)]
        await kafka_topics.ensure_topics(
            self._bootstrap, wanted, partitions=2, prefix=self._prefix
        )

    async def put(self, *values: bytes) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap) as producer:
            for value in values:
                await producer.send_and_wait(self._prefix + "billing", value, key=b"sim")

    @contextlib.asynccontextmanager
    async def agent(self) -> AsyncIterator[IngestAgent]:
        made = IngestAgent(
            self._rules, bootstrap=self._bootstrap, group=self._prefix + "ingest",
            client=self._client, prefix=self._prefix,
        )  # fmt: skip
        stopped = asyncio.Event()
        task = asyncio.create_task(made.run(stopped))
        try:
            yield made
        finally:
            stopped.set()
            await task

    async def read(self, topic: str, count: int, within_s: float = 30) -> list[Any]:
        """Return the first `count` messages of a topic."""
        found: list[Any] = []
        async with AIOKafkaConsumer(
            self._prefix + topic, bootstrap_servers=self._bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            async with asyncio.timeout(within_s):
                while len(found) < count:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        found += batch
        return found


@pytest.fixture
async def bench(
    kafka_bootstrap: str, topic_prefix: str, storage: PlainStorage, client: httpx.AsyncClient
) -> Bench:
    made = Bench(kafka_bootstrap, topic_prefix, rules(storage), client)
    await made.prepare()
    return made


async def test_an_upload_becomes_a_trigger_with_urls(bench: Bench, storage: PlainStorage) -> None:
    await bench.put(
        billing(1, "/data/raw/night 1/å.fits"),
        billing(2, "/data/raw/no.txt"),
        billing(3, "/data/raw/failed.fits", status_code=5),
    )
    async with bench.agent():
        (trigger,) = await bench.read("ingest", 1)
    headers = {name: value.decode() for name, value in trigger.headers}
    assert headers["ce_id"] == "sim:1:preview"
    assert trigger.key.decode() == headers["ce_subject"] == "/data/raw/night 1/å.fits"
    urls = json.loads(trigger.value)
    assert list(urls) == ["read", "write"]
    assert urlsplit(urls["write"]).path == "/data/derived/night%201/%C3%A5.png"
    assert {"/data/derived", "/data/derived/night 1"} < storage.directories


async def test_each_macaroon_is_for_one_path_and_activity_and_ends_soon(
    bench: Bench, storage: PlainStorage
) -> None:
    await bench.put(billing(1, "/data/raw/a.fits"))
    async with bench.agent():
        (trigger,) = await bench.read("ingest", 1)
    token = parse_qs(urlsplit(json.loads(trigger.value)["write"]).query)["authz"][0]
    said = macaroons.verify(token, lambda _: plain_storage.KEY)
    left = caveats.combine(said).restrictions
    assert left.path == "/data/derived/a.png"
    assert left.activities == {"UPLOAD", "READ_METADATA"}
    assert left.expires_s is not None
    assert 200 < left.expires_s - time.time() < 302
    with pytest.raises(Refused):
        caveats.combine([*said, "activity:DELETE"])


async def test_one_root_macaroon_serves_many_triggers(bench: Bench, storage: PlainStorage) -> None:
    await bench.put(*(billing(n, f"/data/raw/{n}.fits") for n in range(1, 51)))
    async with bench.agent():
        found = await bench.read("ingest", 50)
    assert len({dict(message.headers)["ce_id"] for message in found}) == 50
    assert sorted(asked["caveats"][0] for asked in storage.macaroons_asked) == [
        "activity:DOWNLOAD",
        "activity:UPLOAD",
    ]


async def test_a_repeated_record_makes_no_second_trigger(bench: Bench) -> None:
    await bench.put(
        billing(1, "/data/raw/a.fits"), billing(2, "/data/raw/b.fits"),
        billing(1, "/data/raw/a.fits"), billing(3, "/data/raw/c.fits"),
    )  # fmt: skip
    async with bench.agent():
        found = await bench.read("ingest", 3)
    assert sorted(dict(message.headers)["ce_id"] for message in found) == [
        b"sim:1:preview", b"sim:2:preview", b"sim:3:preview",
    ]  # fmt: skip


async def test_a_restarted_agent_goes_on_where_it_was(bench: Bench) -> None:
    await bench.put(billing(1, "/data/raw/a.fits"))
    async with bench.agent():
        await bench.read("ingest", 1)
    await bench.put(billing(2, "/data/raw/b.fits"))
    async with bench.agent():
        found = await bench.read("ingest", 2)
    assert len(found) == 2


async def test_a_storage_that_is_away_delays_and_loses_nothing(
    bench: Bench, storage: PlainStorage
) -> None:
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away(method: str, path: str) -> int:
        loop.call_soon_threadsafe(refused.set)
        return 503

    storage.answer = away
    await bench.put(billing(1, "/data/raw/a.fits"))
    async with bench.agent() as made:
        assert made.troubles() == ["billing is not read yet"]
        await asyncio.wait_for(refused.wait(), 30)
        async with asyncio.timeout(30):
            while not any("answers POST with 503" in said for said in made.troubles()):
                await asyncio.sleep(0.05)
        storage.answer = lambda _method, _path: 0
        assert len(await bench.read("ingest", 1)) == 1
        async with asyncio.timeout(30):
            while made.troubles():
                await asyncio.sleep(0.05)


async def test_what_cannot_be_made_is_set_aside_and_the_rest_goes_on(bench: Bench) -> None:
    await bench.put(
        b"garbage", billing(1, "/data/elsewhere/a.fits"), billing(2, "/data/raw/b.fits")
    )
    async with bench.agent():
        (trigger,) = await bench.read("ingest", 1)
        (letter,) = await bench.read("dead-letter", 1)
    assert dict(trigger.headers)["ce_id"] == b"sim:2:preview"
    reason = codec.decode("dead_letter", letter.value)["reason"]
    assert reason == (
        "rule 'preview', URL 'write': 'replacing' is not found in /data/elsewhere/a.fits"
    )


async def test_a_root_macaroon_is_renewed_before_it_ends(
    storage: PlainStorage, client: httpx.AsyncClient
) -> None:
    now = [1_800_000_000.0]
    storage.before = "before:2027-01-15T10:00:00Z"  # 7200 s later
    signed = SignedUrls(Storage(storage.url, "u", "p"), client, lambda: now[0])
    for late_s, asked in ((0, 1), (6000, 1), (6600, 2)):
        now[0] = 1_800_000_000.0 + late_s
        await signed.url(("DOWNLOAD",), "/a", lifetime_s=600)
        assert len(storage.macaroons_asked) == asked


async def test_a_door_that_gives_no_macaroon_is_named_without_the_password(
    storage: PlainStorage, client: httpx.AsyncClient
) -> None:
    storage.answer = lambda method, _: 401 if method == "POST" else 0
    signed = SignedUrls(Storage(storage.url, "ingest", "secret"), client)
    with pytest.raises(Unavailable, match="gives no macaroon to 'ingest': HTTP 401") as told:
        await signed.url(("DOWNLOAD",), "/a", lifetime_s=900)
    assert "secret" not in str(told.value)


async def test_a_directory_that_may_not_be_made_is_refused(
    storage: PlainStorage, client: httpx.AsyncClient
) -> None:
    storage.answer = lambda method, _: 403 if method == "MKCOL" else 0
    signed = SignedUrls(Storage(storage.url, "u", "p"), client)
    with pytest.raises(Refused, match="cannot make /data/new: HTTP 403"):
        await signed.make_parents("/data/new/file")
