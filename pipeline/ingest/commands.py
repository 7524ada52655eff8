"""What the commands of `python -m pipeline.ingest` do: settings in, an exit status out."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from pipeline.ingest import app, retry, triggers
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.settings import IngestSettings, from_env
from schemas.errors import StorageEventsError, expected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_NOT_ALL: Final = 1
_THERE_ARE: Final = 3


def run(name: str, arguments: Sequence[str]) -> int:
    """Run the command of that name; return the exit status."""
    try:
        settings = from_env(os.environ)  # noqa: TID251 - the process starts here
        return COMMANDS[name](settings, *arguments)
    except StorageEventsError as error:
        return _complain(error)
    except ExceptionGroup as group:
        return _complain(expected(group))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)  # noqa: T201 - what a user of the command reads
    return 1


def _agent(settings: IngestSettings) -> int:
    return _until_stopped(app.run_agent, settings)


def _runner(settings: IngestSettings) -> int:
    return _until_stopped(app.run_runner, settings)


def _check(settings: IngestSettings) -> int:
    for rule in app.load_rules(settings).rules:
        urls = ", ".join(url.name for url in rule.urls)
        _say(f"{rule.name}: {rule.function or 'no function'} -> {rule.topic} ({urls})")
    return 0


def _dead(settings: IngestSettings) -> int:
    ledger = Ledger(Path(settings.state), own=False)
    try:
        failed = ledger.failed()
    finally:
        ledger.close()
    for job in failed:
        when = datetime.fromtimestamp(job.ended_s, UTC).isoformat(timespec="seconds")
        _say(f"{job.id} {when} {triggers.about(job.headers).path}: {job.reason}")
    return _THERE_ARE if failed else 0


def _retry(settings: IngestSettings, *ids: str) -> int:
    ledger = Ledger(Path(settings.state), own=False)
    try:
        said = asyncio.run(retry.again(ledger, app.load_rules(settings), ids))
    finally:
        ledger.close()
    for job_id, trouble in said.items():
        _say(f"{job_id}: {trouble or 'queued'}")
    return _NOT_ALL if any(said.values()) else 0


def _until_stopped(
    work: Callable[[IngestSettings, asyncio.Event], Awaitable[None]], settings: IngestSettings
) -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # httpx tells every URL it asks for, macaroon and all.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # aiokafka writes lines for each attempt at a broker that is away, twenty a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def until_stopped() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await work(settings, stopped)

    uvloop.run(until_stopped())
    return 0


COMMANDS: Final = {
    "agent": _agent,
    "runner": _runner,
    "check": _check,
    "dead": _dead,
    "retry": _retry,
}
