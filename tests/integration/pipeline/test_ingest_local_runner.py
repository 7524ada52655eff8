"""The local runner, with real children and a plain storage: limits, failures, leavings."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import replace
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pipeline.ingest.rules import Function
from pipeline.ingest.runners.base import FunctionFailed, Job
from pipeline.ingest.runners.local import LocalRunner
from pipeline.ingest.transfers import Transfers
from pipeline.ingest.triggers import Trigger
from schemas.errors import Refused, SettingsError, Unavailable
from tests.integration.pipeline import plain_storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.integration.pipeline.plain_storage import PlainStorage

FUNCTIONS = "tests.integration.pipeline.ingest_functions"


@pytest.fixture
def storage() -> Iterator[PlainStorage]:
    with plain_storage.running() as running:
        running.files["/data/a.txt"] = b"hello"
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5) as opened:
        yield opened


def job(storage: PlainStorage, name: str, *, last: bool = False, **limits: Any) -> Job:
    function = (
        Function(name, command=limits.pop("command"))
        if "command" in limits
        else Function(name, python=f"{FUNCTIONS}:{name}", **limits)
    )
    trigger = Trigger(
        "sim:1:rule", "rule", name, "sim", "/data/a.txt", 1, "alice", 5, "00" * 18, "00" * 18,
        "0:0:755 0:0:644",
    )  # fmt: skip
    urls = {
        "read": storage.address("/data/a.txt"),
        "write": storage.address("/derived/a.txt"),
        "log": storage.address("/derived/a.log"),
    }
    return Job(trigger, urls, function, is_last_try=last)


async def run(client: httpx.AsyncClient, directory: Path, job: Job) -> list[str]:
    """Run one job; return what `begun` was told."""
    runner = LocalRunner([job.function], directory=directory, transfers=Transfers(client, 20))
    await runner.start([job.name])
    began: list[str] = []
    try:
        await runner.run(job, lambda: began.append("begun"))
    finally:
        await runner.close()
    return began


async def test_a_function_gets_its_input_and_its_output_is_stored(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    assert await run(client, tmp_path, job(storage, "shout")) == ["begun"]
    assert storage.files["/derived/a.txt"] == b"HELLO"
    assert storage.files["/derived/a.log"] == b"shouting /data/a.txt\n"


async def test_a_command_gets_the_names_of_local_files(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    command = ("sh", "-c", 'tr a-z A-Z < "$0" > "$1"; echo $INGEST_PATH', "{read}", "{write}")
    await run(client, tmp_path, job(storage, "upper", command=command))
    assert storage.files["/derived/a.txt"] == b"HELLO"
    assert storage.files["/derived/a.log"] == b"/data/a.txt\n"


async def test_a_function_sees_nothing_of_the_runners_environment(
    storage: PlainStorage,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EVENTS_INGEST_STORAGE_PASSWORD", "secret")
    await run(client, tmp_path, job(storage, "environment"))
    assert storage.files["/derived/a.txt"] == (
        b"['HOME', 'INGEST_ID', 'INGEST_PATH', 'LANG', 'PATH', 'TMPDIR']"
    )


@pytest.mark.parametrize(
    "case",
    [
        ("never", {"wall_s": 0.5}, "ran longer than 0.5 s"),
        ("busy", {"cpu_s": 1, "wall_s": 30.0}, "more than 1 s of processor time"),
        ("gigabyte", {"log_bytes": 100_000}, "printed more than 100000 bytes"),
        ("large", {"output_bytes": 1 << 20}, "wrote a file larger than 1048576 bytes"),
        ("greedy", {"memory_bytes": 1 << 30}, "needed more than 1073741824 bytes of memory"),
        ("wrong", {}, "exit status is 1"),
        ("nothing", {}, "wrote no 'write' file"),
    ],
)
async def test_a_function_that_misbehaves_fails_and_says_how(
    storage: PlainStorage,
    client: httpx.AsyncClient,
    tmp_path: Path,
    case: tuple[str, dict[str, Any], str],
) -> None:
    name, limits, said = case
    with pytest.raises(FunctionFailed, match=said):
        await run(client, tmp_path, job(storage, name, **limits))
    assert storage.puts == []
    await no_child_is_left(tmp_path)


async def no_child_is_left(directory: Path) -> None:
    """Check that no process works in the directory of a job any more."""
    found = subprocess.run(
        ["sh", "-c", f"ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -F {directory} || true"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == ""


async def test_a_command_that_does_not_exist_is_named(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    with pytest.raises(FunctionFailed, match="exit status is 127") as failed:
        await run(client, tmp_path, job(storage, "c", command=("no-such-program",)))
    assert failed.value.printed == "no-such-program: No such file or directory"


async def test_what_a_command_leaves_behind_is_ended_with_it(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    command = ("sh", "-c", "cp {read} {write}; sleep 1000 &")
    await run(client, tmp_path, job(storage, "c", command=command))
    assert storage.files["/derived/a.txt"] == b"hello"
    await no_child_is_left(tmp_path)


async def test_only_the_last_failure_leaves_a_log(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    with pytest.raises(FunctionFailed) as failed:
        await run(client, tmp_path, job(storage, "wrong", last=True))
    assert failed.value.printed == "ValueError: not a FITS file"
    assert storage.puts == ["/derived/a.log"]
    assert storage.files["/derived/a.log"].startswith(b"about to fail\nTraceback")


@pytest.mark.parametrize("status", [500, 502, 507, 429])
async def test_a_storage_that_fails_is_unavailable_and_nothing_is_computed_again(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path, status: int
) -> None:
    storage.answer = lambda method, _: status if method == "PUT" else 0
    with pytest.raises(Unavailable, match=f"uploading /derived/a.txt: HTTP {status}") as failed:
        await run(client, tmp_path, job(storage, "shout"))
    assert "MACAROON" not in str(failed.value)
    storage.answer = lambda method, _: 500 if method == "GET" else 0
    assert await run(client, tmp_path, job(storage, "shout")) == []
    assert storage.files["/derived/a.txt"] == b"HELLO"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_what_a_storage_refuses_is_refused(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path, status: int
) -> None:
    storage.answer = lambda _method, _path: status
    with pytest.raises(Refused, match=f"downloading /data/a.txt: HTTP {status}"):
        await run(client, tmp_path, job(storage, "shout"))


async def test_a_storage_that_is_away_is_unavailable(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    storage.url = "http://127.0.0.1:9"
    with pytest.raises(Unavailable, match=r"downloading /data/a\.txt: ConnectError"):
        await run(client, tmp_path, job(storage, "shout"))


async def test_a_storage_that_answers_too_slowly_is_unavailable(
    storage: PlainStorage, tmp_path: Path
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_method: str, _path: str) -> int:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)
        return 0

    storage.answer = wait
    async with httpx.AsyncClient(timeout=httpx.Timeout(30, read=0.2)) as impatient:
        with pytest.raises(Unavailable, match="ReadTimeout"):
            await run(impatient, tmp_path, job(storage, "shout"))
    release.set()


async def test_a_door_that_sends_an_upload_on_to_a_pool_is_followed(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    storage.elsewhere["/derived/a.txt"] = "/pool/1"
    storage.files["/derived/a.txt"] = b"HELLO"  # what its HEAD tells afterwards
    await run(client, tmp_path, job(storage, "shout"))
    assert storage.files["/pool/1"] == b"HELLO"


async def test_what_was_stored_wrongly_is_noticed(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    def spoil(method: str, path: str) -> int:
        if method == "HEAD":
            storage.files[path] = b"spoilt"
        return 0

    storage.answer = spoil
    with pytest.raises(Unavailable, match="the storage says"):
        await run(client, tmp_path, job(storage, "shout"))


async def test_directories_of_finished_jobs_are_removed_at_start(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "ingest-left" / "x").mkdir(parents=True)
    one = job(storage, "shout")
    await run(client, tmp_path, one)
    assert [each.name for each in tmp_path.iterdir()] == [one.name]


async def test_a_function_that_cannot_be_loaded_is_told_at_start(
    storage: PlainStorage, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no attribute 'absent'"):
        await run(client, tmp_path, job(storage, "absent"))


async def test_a_child_that_ends_while_another_starts_keeps_its_status(
    storage: PlainStorage,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Starting a child asks after all others; here both who ask for its end ask at once."""
    read = forkserver.read_signed

    def read_late(pipe: int) -> Any:
        time.sleep(0.1)
        return read(pipe)

    monkeypatch.setattr(forkserver, "read_signed", read_late)
    first, second = job(storage, "until_told"), job(storage, "shout")
    second = replace(second, trigger=replace(second.trigger, id="sim:2:rule"))
    functions = [first.function, second.function]
    runner = LocalRunner(functions, directory=tmp_path, transfers=Transfers(client, 20))
    await runner.start([])
    ending = asyncio.create_task(runner.run(first, lambda: None))
    async with asyncio.timeout(30):
        while not (tmp_path / first.name / "here").exists():
            await asyncio.sleep(0.01)

    def end_the_first() -> None:
        (tmp_path / first.name / "go").touch()
        time.sleep(0.5)  # it ends while nobody can look

    await runner.run(second, end_the_first)
    await ending
