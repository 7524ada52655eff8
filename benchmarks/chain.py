"""The whole way of an event: from the storage's commit to a client's read, every process real."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from deploy.local import commits, processes
from deploy.local import stack as local
from deploy.local.listener import Listener
from deploy.local.settings import StackSettings
from deploy.local.stack import Stack

_RUN = ".run/benchmark-latency"
_DIRECTORY = "/data/exp"
_ARRIVAL_S = 30.0
_WARM_UP = 20


def _settings() -> StackSettings:
    base = processes.free_range(7, random.Random())
    return StackSettings(
        api_port=base, rest_port=base + 1, webdav_port=base + 2, worker_health_port=base + 3,
        redis_port=base + 4, kafka_port=base + 5, run=_RUN,
    )  # fmt: skip


def _upload_one_by_one(stack: Stack, count: int) -> list[float]:
    begin_s = time.time()
    reader = Listener(stack.api_urls[0], "alice", local.password("alice"))
    reader.open_channel()
    reader.watch(_DIRECTORY, flags=["IN_CLOSE_WRITE"]).raise_for_status()
    reader.start()
    reader.wait(lambda: reader.connections > 0)
    login = ("alice", local.password("alice"))
    with httpx.Client(base_url=stack.webdav_url, auth=login) as client:
        for number in range(_WARM_UP + count):
            path = f"{_DIRECTORY}/timed-{number:05}.dat"
            client.put(path, content=b"x" * 100).raise_for_status()
            reader.wait(lambda n=number: len(reader.heard) > n, timeout_s=_ARRIVAL_S)  # type: ignore[misc]
    reader.stop()
    read_s = {f"{_DIRECTORY}/{heard.name}": heard.time_s for heard in reader.heard[_WARM_UP:]}
    committed_s = asyncio.run(commits.upload_times_s(stack.bootstrap, begin_s))
    return commits.delays_ms(committed_s, read_s)


def measure(count: int) -> dict[str, Any]:
    """Start storage, Kafka, Redis, worker and API; upload files one by one and time each.

    Args:
        count: how many uploads are measured, after a warm-up.

    Returns:
        A row: uploads, p50 and p99 in milliseconds.
    """
    stack = Stack(_settings())
    try:
        stack.up(lambda line: print(line, file=sys.stderr))
        delays = _upload_one_by_one(stack, count)
    finally:
        local.down(stack.run, lambda _: None)
        shutil.rmtree(Path(stack.run), ignore_errors=True)
    p50, p99 = commits.percentiles(delays)
    return {"way": "commit to client", "uploads": len(delays), "p50 ms": p50, "p99 ms": p99}
