"""What the commands of `python -m pipeline.ingest` do: settings in, an exit status out."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from pipeline.ingest import app
from pipeline.ingest.settings import IngestSettings, from_env
from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def agent() -> int:
    """Run the ingest agent; return the exit status."""
    return _run(app.run_agent)


def runner() -> int:
    """Run the functions; return the exit status."""
    return _run(app.run_runner)


def check() -> int:
    """Read the rules file and say what is in it; return the exit status."""
    try:
        rules = app.load_rules(_settings())
    except StorageEventsError as error:
        return _complain(error)
    for rule in rules.rules:
        urls = ", ".join(url.name for url in rule.urls)
        print(f"{rule.name}: {rule.function or 'no function'} -> {rule.topic} ({urls})")  # noqa: T201
    return 0


def _settings() -> IngestSettings:
    return from_env(os.environ)  # noqa: TID251 - the process starts here


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)  # noqa: T201 - what a user of the command reads
    return 1


def _run(work: Callable[[IngestSettings, asyncio.Event], Awaitable[None]]) -> int:
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
        await work(_settings(), stopped)

    try:
        uvloop.run(until_stopped())
    except StorageEventsError as error:
        return _complain(error)
    except ExceptionGroup as group:
        expected, others = group.split(StorageEventsError)
        if expected is None or others is not None:
            raise
        return _complain(expected.exceptions[0])
    return 0
