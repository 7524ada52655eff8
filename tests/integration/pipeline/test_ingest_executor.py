"""The executor with ledger, Kafka and children: each trigger once, one outcome for each."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pipeline.event_types import ingest
from pipeline.ingest import notices, triggers
from pipeline.ingest.claims import Claims
from pipeline.ingest.executor import Executor
from pipeline.ingest.intake import Intake, OutboxPublisher
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.outcomes import Patience
from pipeline.ingest.rules import Function, RuleSet
from pipeline.ingest.runners.local import LocalRunner
from pipeline.ingest.transfers import Transfers
from pipeline.ingest.triggers import Trigger
from schemas import codec, kafka_topics, topics
from tests.integration.pipeline import plain_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.pipeline.plain_storage import PlainStorage

pytestmark = pytest.mark.stack

MODULE = "tests.integration.pipeline.ingest_functions"
FUNCTIONS = {
    name: Function(name, python=f"{MODULE}:{name}", attempts=2, wall_s=30)
    for name in ("shout", "one_in_ten", "wrong", "never", "gigabyte")
}
FUNCTIONS["never"] = Function("never", python=f"{MODULE}:never", attempts=1, wall_s=0.5)
FUNCTIONS["gigabyte"] = Function("gigabyte", python=f"{MODULE}:gigabyte", attempts=2)
PARTITIONS = 2
TRIGGERS = topics.Topic("ingest", "", 7 * topics.DAYS)


@pytest.fixture
def storage() -> Iterator[PlainStorage]:
    with plain_storage.running() as running:
        yield running


class Bench:
    """A runner in this process, on real Kafka and a ledger of its own."""

    def __init__(
        self, bootstrap: str, prefix: str, storage: PlainStorage, directory: Path
    ) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        self.storage, self.directory = storage, directory
        self.patience = Patience(first_s=0.05, longest_s=0.2, waits_s=30)
        self.idle_s = 5.0

    async def put(self, function: str, *numbers: int) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
            for number in numbers:
                await self._put_one(producer, function, number)

    async def _put_one(self, producer: Any, function: str, number: int) -> None:
        path = f"/data/{number}"
        self.storage.files.setdefault(path, f"hello {number}".encode())
        trigger = Trigger(
            f"sim:{number}:{function}", "rule", function, "sim", path, 1, "alice", 5,
            f"{number:036X}", "00" * 36, "0:0:755 0:0:755 0:0:644",
        )  # fmt: skip
        urls = {
            "read": self.storage.address(path),
            "write": self.storage.address(f"/derived/{number}"),
        }
        await producer.send_and_wait(
            self.prefix + "ingest",
            triggers.value(urls),
            key=path.encode(),
            headers=triggers.headers(trigger),
        )

    @contextlib.asynccontextmanager
    async def runner(self, name: str = "one", at_once: int = 2) -> AsyncIterator[Ledger]:
        """Run a runner; of two with different names each gets every trigger."""
        directory = self.directory / name
        shard = f"ingest:{name}"
        ledger = Ledger(directory)
        publisher = OutboxPublisher(bootstrap=self.bootstrap, prefix=self.prefix)
        rules = RuleSet((), FUNCTIONS)
        stopped = asyncio.Event()
        async with httpx.AsyncClient(timeout=self.idle_s) as client:
            runner = LocalRunner(
                FUNCTIONS.values(),
                directory=directory / "work",
                transfers=Transfers(client, 20),
            )
            executor = Executor(
                rules, ledger=ledger, runner=runner, shard=shard, at_once=at_once,
                patience=self.patience, on_outbox=publisher.wake,
            )  # fmt: skip
            intake = Intake(
                bootstrap=self.bootstrap, group=self.prefix + name,
                topics=[self.prefix + "ingest"], queue_jobs=5,
            )  # fmt: skip
            claims = Claims(
                ledger, bootstrap=self.bootstrap, partitions=PARTITIONS, prefix=self.prefix,
                runner=shard, claimed=publisher.wake, decided=executor.wake,
            )  # fmt: skip
            tasks = [
                asyncio.create_task(executor.run(stopped)),
                asyncio.create_task(intake.run(executor, ledger, stopped)),
                asyncio.create_task(publisher.run(ledger, stopped)),
                asyncio.create_task(claims.run(stopped)),
            ]
            try:
                yield ledger
            finally:
                stopped.set()
                await asyncio.gather(*tasks)
                ledger.close()

    async def outcomes(self, count: int, within_s: float = 60) -> dict[str, list[str]]:
        """Return the states told of each job, once `count` jobs have their outcome."""
        told: dict[str, list[str]] = {}
        ended = 0
        async with AIOKafkaConsumer(
            self.prefix + "ingest-jobs", bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
        ) as consumer:  # fmt: skip
            async with asyncio.timeout(within_s):
                while ended < count:
                    message = codec.decode("ingest", (await consumer.getone()).value)
                    told.setdefault(message["id"], []).append(message["state"])
                    ended += message["state"] in {ingest.DONE, ingest.FAILED}
        return told

    async def letters(self, count: int) -> list[str]:
        async with AIOKafkaConsumer(
            self.prefix + "dead-letter", bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
        ) as consumer:  # fmt: skip
            async with asyncio.timeout(30):
                found = [await consumer.getone() for _ in range(count)]
        assert all(b"MACAROON" not in each.value for each in found)
        return [codec.decode("dead_letter", each.value)["reason"] for each in found]


@pytest.fixture
async def bench(
    kafka_bootstrap: str, topic_prefix: str, storage: PlainStorage, tmp_path: Path
) -> Bench:
    wanted = [TRIGGERS, topics.DEAD_LETTER, notices.CLAIMS, ingest.EVENT_TYPE.topic]
    await kafka_topics.ensure_topics(
        kafka_bootstrap, wanted, partitions=PARTITIONS, prefix=topic_prefix
    )
    return Bench(kafka_bootstrap, topic_prefix, storage, tmp_path)


async def test_each_trigger_is_run_once_however_often_it_comes(bench: Bench) -> None:
    await bench.put("shout", *range(1, 11), *range(1, 11))
    async with bench.runner() as ledger:
        told = await bench.outcomes(10)
        assert ledger.outcomes() == {"DONE": 10}
    assert set(map(tuple, told.values())) == {("STARTED", "DONE")}
    assert sorted(bench.storage.puts) == sorted(f"/derived/{n}" for n in range(1, 11))


async def test_of_two_runners_that_get_every_trigger_one_runs_it(bench: Bench) -> None:
    """As after a rebalance in the wrong instant: each has its own ledger and its own position."""
    await bench.put("shout", *range(1, 21))
    async with bench.runner("one") as one, bench.runner("two") as two:
        await bench.put("shout", *range(1, 31))
        told = await bench.outcomes(30)
        async with asyncio.timeout(30):
            while one.unfinished() or two.unfinished():
                await asyncio.sleep(0.05)
        assert one.outcomes().get("DONE", 0) + two.outcomes().get("DONE", 0) == 30
        # A third one that comes later and reads everything finds nothing left to do.
        async with bench.runner("three") as three:
            await bench.put("shout", 31)
            told = await bench.outcomes(31)
            async with asyncio.timeout(30):
                while one.unfinished() or two.unfinished() or three.unfinished():
                    await asyncio.sleep(0.05)
            assert three.outcomes().get("DONE", 0) <= 1
        told = await bench.outcomes(31)
    assert len(told) == 31
    assert set(map(tuple, told.values())) == {("STARTED", "DONE")}
    assert sorted(bench.storage.puts) == sorted(f"/derived/{n}" for n in range(1, 32))


async def test_a_function_that_fails_for_one_in_ten_fails_only_those(bench: Bench) -> None:
    await bench.put("one_in_ten", *range(1, 21))
    async with bench.runner():
        told = await bench.outcomes(20)
        letters = await bench.letters(2)
    failed = {job for job, states in told.items() if states[-1] == "FAILED"}
    assert failed == {"sim:7:one_in_ten", "sim:17:one_in_ten"}
    assert told["sim:7:one_in_ten"] == ["STARTED", "STARTED", "FAILED"]
    assert {letter.partition(": ")[0] for letter in letters} == failed
    assert all("failed 2 times" in letter and "a seven" in letter for letter in letters)


@pytest.mark.parametrize(
    ("function", "attempts", "said"),
    [
        ("never", 1, "ran longer than 0.5 s"),
        ("gigabyte", 2, "printed more than 10485760 bytes"),
    ],
)
async def test_one_that_never_ends_or_stops_printing_does_not_hold_up_the_rest(
    bench: Bench, function: str, attempts: int, said: str
) -> None:
    await bench.put(function, 1)
    await bench.put("shout", 2, 3, 4)
    async with bench.runner():
        told = await bench.outcomes(4)
        (letter,) = await bench.letters(1)
    assert told[f"sim:1:{function}"] == [*["STARTED"] * attempts, "FAILED"]
    assert said in letter
    assert all(told[f"sim:{n}:shout"][-1] == "DONE" for n in (2, 3, 4))


@pytest.mark.parametrize("status", [507, 500, 0], ids=["full", "failing", "slow"])
async def test_a_destination_that_fails_for_a_while_is_waited_for(
    bench: Bench, status: int
) -> None:
    """Ten minutes, or how long ever: until the patience of the settings ends."""
    tries, over = [0], threading.Event()

    def answer(method: str, path: str) -> int:
        if over.is_set() or (method, path) != ("PUT", "/derived/1"):
            return 0
        tries[0] += 1
        if status == 0:
            over.wait(30)  # longer than the runner waits
        return status

    bench.idle_s = 5 if status else 0.3
    bench.storage.answer = answer
    await bench.put("shout", 1, 2, 3)
    async with bench.runner(at_once=1) as ledger:
        told = await bench.outcomes(2)
        assert set(told) >= {"sim:2:shout", "sim:3:shout"}
        async with asyncio.timeout(30):
            while tries[0] < 3:
                await asyncio.sleep(0.05)
        assert ledger.unfinished() == 1
        over.set()
        # Computed once, however often it was uploaded in vain.
        assert (await bench.outcomes(3))["sim:1:shout"] == ["STARTED", "DONE"]


async def test_a_destination_that_fails_for_too_long_is_given_up(bench: Bench) -> None:
    bench.patience = Patience(first_s=0.05, longest_s=0.1, waits_s=0.3)
    bench.storage.answer = lambda method, _: 500 if method == "PUT" else 0
    await bench.put("shout", 1)
    async with bench.runner():
        assert (await bench.outcomes(1))["sim:1:shout"][-1] == "FAILED"
        (letter,) = await bench.letters(1)
    assert "given up after" in letter
    assert "uploading /derived/1: HTTP 500" in letter


async def test_a_restarted_runner_finishes_what_it_had_taken(bench: Bench) -> None:
    bench.storage.answer = lambda method, _: 500 if method == "PUT" else 0
    await bench.put("shout", 1, 2)
    async with bench.runner() as ledger:
        async with asyncio.timeout(30):
            while ledger.unfinished() < 2:
                await asyncio.sleep(0.05)
    bench.storage.answer = lambda _method, _path: 0
    async with bench.runner() as ledger:
        told = await bench.outcomes(2)
        assert ledger.outcomes() == {"DONE": 2}
    assert [states[-1] for states in told.values()] == ["DONE", "DONE"]


async def test_what_is_no_trigger_is_set_aside(bench: Bench) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bench.bootstrap) as producer:
        await producer.send_and_wait(bench.prefix + "ingest", b"junk")
        for partition in range(PARTITIONS):
            await producer.send_and_wait(
                bench.prefix + notices.CLAIMS.name, b"\xff", partition=partition
            )
    await bench.put("unknown", 1)
    await bench.put("shout", 2)
    async with bench.runner():
        assert set(await bench.outcomes(1)) == {"sim:2:shout"}
        letters = await bench.letters(2)
    assert any("not a trigger" in letter for letter in letters)
    assert any("has no function 'unknown'" in letter for letter in letters)
