"""What every runner promises the executor, asked of each one there is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import httpx
import pytest

from pipeline.ingest.rules import Function
from pipeline.ingest.runners.base import FunctionFailed, Job, Runner
from pipeline.ingest.runners.local import LocalRunner
from pipeline.ingest.transfers import Transfers
from pipeline.ingest.triggers import Trigger
from schemas.errors import Refused, Unavailable
from tests.integration.pipeline import plain_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.pipeline.plain_storage import PlainStorage

COPY = Function("copy", command=("cp", "{read}", "{write}"))
FAIL = Function("fail", command=("sh", "-c", "echo why; exit 7"))
WAIT = Function("wait", command=("sleep", "1000"))


class MakeRunner(Protocol):
    """Makes a runner; again for the same directory is what a restart is."""

    def __call__(self, directory: Path, client: httpx.AsyncClient) -> Runner:
        """Make one."""


def local(directory: Path, client: httpx.AsyncClient) -> Runner:
    """Make a local runner."""
    return LocalRunner((COPY, FAIL, WAIT), directory=directory, transfers=Transfers(client, 20))


@pytest.fixture(params=[local])
def make(request: pytest.FixtureRequest) -> MakeRunner:
    """Give each runner there is; a new one is one more entry here."""
    maker: MakeRunner = request.param
    return maker


@pytest.fixture
def storage() -> Iterator[PlainStorage]:
    with plain_storage.running() as running:
        running.files["/data/a"] = b"hello"
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5) as opened:
        yield opened


def job(storage: PlainStorage, function: Function = COPY, number: int = 1) -> Job:
    trigger = Trigger(
        f"sim:{number}:rule", "rule", function.name, "sim", "/data/a", 1, "alice", 5, "00" * 18,
        "00" * 18, "0:0:755 0:0:644",
    )  # fmt: skip
    urls = {name: storage.address(path) for name, path in (("read", "/data/a"), ("write", "/b"))}
    return Job(trigger, urls, function)


async def test_when_run_returns_the_outputs_are_stored(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    runner = make(tmp_path, client)
    await runner.start([])
    began: list[bool] = []
    await runner.run(job(storage), lambda: began.append("/b" not in storage.files))
    assert storage.files["/b"] == b"hello"
    assert began == [True]
    await runner.close()


async def test_a_function_that_fails_is_told_apart_from_what_is_away(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    runner = make(tmp_path, client)
    await runner.start([])
    with pytest.raises(FunctionFailed, match="7"):
        await runner.run(job(storage, FAIL), lambda: None)
    storage.answer = lambda _method, _path: 503
    with pytest.raises(Unavailable):
        await runner.run(job(storage), lambda: None)
    storage.answer = lambda _method, _path: 403
    with pytest.raises(Refused):
        await runner.run(job(storage), lambda: None)
    await runner.close()


async def test_the_same_job_asked_again_has_the_same_result(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    for _ in range(2):  # the second time after a restart that forgot nothing
        runner = make(tmp_path, client)
        await runner.start([job(storage).name])
        await runner.run(job(storage), lambda: None)
        await runner.close()
    assert storage.files["/b"] == b"hello"


async def test_jobs_run_beside_each_other(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    runner = make(tmp_path, client)
    await runner.start([])
    begun = asyncio.Event()
    waiting = asyncio.create_task(runner.run(job(storage, WAIT, number=2), begun.set))
    await asyncio.wait_for(begun.wait(), 30)
    await runner.run(job(storage), lambda: None)
    assert storage.files["/b"] == b"hello"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await runner.close()


async def test_a_cancelled_run_can_be_asked_for_again(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    runner = make(tmp_path, client)
    await runner.start([])
    begun = asyncio.Event()
    waiting = asyncio.create_task(runner.run(job(storage, WAIT), begun.set))
    await asyncio.wait_for(begun.wait(), 30)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await runner.forget(job(storage, WAIT))
    await runner.run(job(storage), lambda: None)
    assert storage.files["/b"] == b"hello"
    await runner.close()


async def test_no_error_tells_a_macaroon(
    make: MakeRunner, storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    runner = make(tmp_path, client)
    await runner.start([])
    for status in (401, 404, 500, 507):
        storage.answer = lambda _method, _path, status=status: status
        with pytest.raises((Refused, Unavailable)) as told:
            await runner.run(job(storage), lambda: None)
        assert "MACAROON" not in repr(told.value)
    assert "MACAROON" not in repr(job(storage))
    await runner.close()
