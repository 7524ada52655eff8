"""Functions on this machine: each in a child process with limits, between its transfers.

A job has a directory of its own that outlives a crash. What was computed is not computed again:
a marker beside it says that only the uploads are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final

from pipeline.ingest.runners import child
from pipeline.ingest.runners.base import FunctionFailed
from pipeline.ingest.transfers import path_of
from schemas.errors import Refused, SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from pipeline.ingest.rules import Function
    from pipeline.ingest.runners.base import Job
    from pipeline.ingest.transfers import Transfers

logger = logging.getLogger(__name__)

_COMPUTED: Final = "computed"
_LOG: Final = "printed"
_LOOK_S: Final = 0.2
_CHECK_S: Final = 60.0
_REASON_BYTES: Final = 2000
_CHILDREN: Final = threading.Lock()
"""`multiprocessing` asks after all its children whenever it starts one, and of two threads that
ask after the same child one is told 255: so one asks at a time."""


class LocalRunner:
    """Runs functions in child processes of this machine.

    Args:
        functions: all that may have to be run; their modules are loaded once.
        directory: where jobs get their directories.
        transfers: how files come and go.
    """

    def __init__(
        self, functions: Iterable[Function], *, directory: Path, transfers: Transfers
    ) -> None:
        self._functions = tuple(functions)
        self._directory = directory
        self._transfers = transfers
        self._processes = multiprocessing.get_context("forkserver")

    async def start(self, unfinished: Collection[str]) -> None:
        """Load the functions' modules and remove what earlier jobs left.

        Raises:
            SettingsError: a function's module cannot be loaded.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._directory.iterdir():
            if left.name not in unfinished:
                await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        pythons = [function.python for function in self._functions if function.python]
        await asyncio.gather(*(_check_loads(python) for python in pythons))
        modules = {python.partition(":")[0] for python in pythons}
        self._processes.set_forkserver_preload([child.__name__, *sorted(modules)])
        # The first process waits until all is loaded; let it not be somebody's job.
        first = self._processes.Process(target=_nothing)
        await asyncio.to_thread(_start, first)
        await asyncio.to_thread(_end, first)

    async def run(self, job: Job, begun: Callable[[], None]) -> None:
        """Download, run, upload; see `base.Runner`."""
        directory = self._directory / job.name
        files = _files(job, directory)
        if not (directory / _COMPUTED).exists():
            await self._compute(job, directory, files, begun)
        for name, url in job.outputs.items():
            await self._transfers.upload(files[name], url)
        if "log" in job.urls:
            await self._upload_log(job, directory)

    async def forget(self, job: Job) -> None:
        """Remove the job's directory."""
        await asyncio.to_thread(shutil.rmtree, self._directory / job.name, ignore_errors=True)

    async def close(self) -> None:
        """Nothing is held: each run ends its own child."""

    async def _compute(
        self, job: Job, directory: Path, files: dict[str, Path], begun: Callable[[], None]
    ) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        for file in (directory / _LOG, *files.values()):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, url in job.inputs.items():
            await self._transfers.download(url, files[name])
        begun()
        try:
            await self._run_child(job, directory, files)
            _check_written(job, files)
        except FunctionFailed:
            if job.is_last_try and "log" in job.urls:
                with contextlib.suppress(Unavailable, Refused):
                    await self._upload_log(job, directory)
            raise
        (directory / _COMPUTED).touch()

    async def _upload_log(self, job: Job, directory: Path) -> None:
        log = directory / _LOG
        log.touch()
        if log.stat().st_size > job.function.log_bytes:
            os.truncate(log, job.function.log_bytes)
        await self._transfers.upload(log, job.urls["log"])

    async def _run_child(self, job: Job, directory: Path, files: dict[str, Path]) -> None:
        function = job.function
        work = child.Work(
            directory=str(directory),
            log=str(directory / _LOG),
            python=function.python,
            command=function.command,
            call=child.Call(files, job.trigger.path, job.trigger.id),
            cpu_s=function.cpu_s,
            memory_bytes=function.memory_bytes,
            output_bytes=function.output_bytes,
        )
        process = self._processes.Process(target=child.main, args=(work,))
        starting = asyncio.create_task(asyncio.to_thread(_start, process))
        try:
            # A thread cannot be cancelled: what it starts has to be ended in any case.
            await asyncio.shield(starting)
            status = await _status(process, function, directory / _LOG)
        except (OSError, EOFError) as error:
            raise Unavailable(f"no child process can be started: {error}") from error
        finally:
            await asyncio.wait({starting})
            if starting.exception() is None:
                _kill(process)
                await asyncio.to_thread(_end, process)
        if status != 0:
            raise _failure(status, function, directory / _LOG)


def _nothing() -> None:
    """Be the child that shows that children can be made."""


def _start(process: ForkServerProcess) -> None:
    with _CHILDREN:
        process.start()


def _exit_status(process: ForkServerProcess) -> int:
    with _CHILDREN:
        return process.exitcode if process.exitcode is not None else 255


def _end(process: ForkServerProcess) -> None:
    """Wait for the end of a child and let go of it."""
    wait([process.sentinel])
    with _CHILDREN:
        process.join()
        process.close()


async def _check_loads(python: str) -> None:
    code = f"from pipeline.ingest.runners import child; child.load({python!r})"
    checking = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        _, said = await asyncio.wait_for(checking.communicate(), _CHECK_S)
    except TimeoutError as error:
        checking.kill()
        raise SettingsError(f"function {python}: loading it takes too long") from error
    if checking.returncode != 0:
        reason = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise SettingsError(f"function {python}: cannot be loaded: {reason}")


def _files(job: Job, directory: Path) -> dict[str, Path]:
    return {
        name: directory / f"url-{name}" / path_of(url).rpartition("/")[2]
        for name, url in job.urls.items()
        if name != "log"
    }


def _check_written(job: Job, files: dict[str, Path]) -> None:
    for name in job.outputs:
        if not files[name].is_file():
            raise FunctionFailed(f"it wrote no {name!r} file")


async def _status(process: ForkServerProcess, function: Function, log: Path) -> int:
    """Wait until the child has ended by itself.

    Raises:
        FunctionFailed: it ran too long or printed too much.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    until = loop.time() + function.wall_s
    try:
        while not ended.is_set():
            if loop.time() >= until:
                raise FunctionFailed(f"it ran longer than {function.wall_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), min(_LOOK_S, max(0.0, until - loop.time())))
            if _size_bytes(log) > function.log_bytes:
                raise FunctionFailed(f"it printed more than {function.log_bytes} bytes")
    finally:
        loop.remove_reader(process.sentinel)
    return await asyncio.to_thread(_exit_status, process)


def _size_bytes(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _kill(process: ForkServerProcess) -> None:
    """End the child and all of its process group: what it left behind, too."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if process.pid is not None:
                kill(process.pid, signal.SIGKILL)


def _failure(status: int, function: Function, log: Path) -> FunctionFailed:
    limits = {
        -signal.SIGXCPU: f"it used more than {function.cpu_s} s of processor time",
        -signal.SIGXFSZ: f"it wrote a file larger than {function.output_bytes} bytes",
        child.MEMORY_STATUS: f"it needed more than {function.memory_bytes} bytes of memory",
        -signal.SIGKILL: "it was killed; the machine may be out of memory",
    }
    if status in limits:
        return FunctionFailed(limits[status])
    ended = f"it ended by signal {-status}" if status < 0 else f"its exit status is {status}"
    return FunctionFailed(ended, _tail(log).strip().rpartition("\n")[2])


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as printed:
        printed.seek(max(0, log.stat().st_size - _REASON_BYTES))
        return printed.read().decode(errors="replace")
    return ""
