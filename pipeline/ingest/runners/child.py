"""What happens in the child process: limits first, then the function or command, nothing else.

The child is forked from a server that has the function's modules loaded already. It has local
files only: no URL, no macaroon, an environment of its own. The limits are the kernel's.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMORY_STATUS: Final = 97
NOT_FOUND_STATUS: Final = 127
_PR_SET_PDEATHSIG: Final = 1
_CPU_SPARE_S: Final = 5
"""Between SIGXCPU, which says why, and SIGKILL, which nothing survives."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a Python function is called with.

    Attributes:
        files: for each URL's name, the local file: downloaded for `read`, to be written for the
            others.
        path: the uploaded file's path in the storage.
        id: the trigger's id.
    """

    files: dict[str, Path]
    path: str
    id: str


@dataclass(frozen=True, slots=True)
class Work:
    """All that the child needs to know.

    Attributes:
        directory: where it works; its files are inside.
        log: the file that gets what it prints.
        python: `module:callable`, or empty.
        command: program and arguments with `{name}` for files, or empty.
        call: files, path and id.
        cpu_s: processor seconds.
        memory_bytes: address space.
        output_bytes: the largest file.
    """

    directory: str
    log: str
    python: str
    command: tuple[str, ...]
    call: Call
    cpu_s: int
    memory_bytes: int
    output_bytes: int


def main(work: Work) -> None:
    """Run in the forked process; its exit status is the outcome."""
    os.setsid()
    # The server forks us and ends with the runner; we must not outlive them.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.chdir(work.directory)
    _clear_environment(work)
    _redirect(work.log)
    _limit(work)
    status = 1
    try:
        if work.command:
            _execute(work)
        load(work.python)(work.call)
        status = 0
    except MemoryError:
        status = MEMORY_STATUS
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, it goes to the log and the status
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 0xFF)


def load(python: str) -> Callable[[Call], object]:
    """Import `module:callable`.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such name.
    """
    module, _, name = python.partition(":")
    function: Callable[[Call], object] = getattr(importlib.import_module(module), name)
    return function


def _clear_environment(work: Work) -> None:
    """Leave nothing of the runner's environment, which may hold passwords."""
    environ = os.environ  # noqa: TID251 - to clear it
    path = environ.get("PATH", os.defpath)
    environ.clear()
    environ.update(PATH=path, HOME=work.directory, TMPDIR=work.directory, LANG="C.UTF-8")
    environ.update(INGEST_ID=work.call.id, INGEST_PATH=work.call.path)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)


def _limit(work: Work) -> None:
    for kind, amount, spare in (
        (resource.RLIMIT_CPU, work.cpu_s, _CPU_SPARE_S),
        (resource.RLIMIT_AS, work.memory_bytes, 0),
        (resource.RLIMIT_FSIZE, work.output_bytes, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        hardest = resource.getrlimit(kind)[1]
        most = sys.maxsize if hardest == resource.RLIM_INFINITY else hardest
        resource.setrlimit(kind, (min(amount, most), min(amount + spare, most)))
    # Python ignores SIGXFSZ; a function that prints for ever would never end.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def _execute(work: Work) -> None:
    files = {name: str(path) for name, path in work.call.files.items()}
    arguments = [argument.format_map(files) for argument in work.command]
    try:
        os.execvp(arguments[0], arguments)  # noqa: S606 - the rule's author chose it
    except OSError as error:
        print(f"{arguments[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - the log
        raise SystemExit(NOT_FOUND_STATUS) from error
