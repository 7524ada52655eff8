"""How many operations a storage makes a second, and how fast its records get to Kafka.

    python -m benchmarks storage [--operations 1000] [--threads 8] [--json]

The baseline is the same work on a plain directory, which tells nobody. *sync* is with, *quick*
without forcing what is confirmed to the disk (`STORAGE_EVENTS_SYNC`); the baseline likewise.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient

from benchmarks import options, streams
from schemas.topics import BILLING
from storage_sim.billing import Biller
from storage_sim.core import SYSTEM
from storage_sim.publisher import Publisher
from storage_sim.storage import Storage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

_CONTENT = b"x" * 1000
QUICK = {"operations": 100, "records": 2_000}
TAKES_S = (40, 10)


class _Plain:
    """The same operations on a plain directory."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync

    def _settle(self, path: Path) -> None:
        if self._sync:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def mkdir(self, path: str) -> None:
        (self._folder / path[1:]).mkdir()
        self._settle((self._folder / path[1:]).parent)

    def write(self, path: str) -> None:
        with (self._folder / path[1:]).open("wb") as file:
            file.write(_CONTENT)
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
        self._settle((self._folder / path[1:]).parent)

    def rename(self, source: str, target: str) -> None:
        (self._folder / source[1:]).rename(self._folder / target[1:])
        self._settle((self._folder / target[1:]).parent)

    def read(self, path: str) -> None:
        (self._folder / path[1:]).read_bytes()


class _Ours:
    """The operations of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def mkdir(self, path: str) -> None:
        self._storage.mkdir(SYSTEM, path)

    def write(self, path: str) -> None:
        self._storage.write(SYSTEM, path, _CONTENT)

    def rename(self, source: str, target: str) -> None:
        self._storage.rename(SYSTEM, source, target)

    def read(self, path: str) -> None:
        self._storage.read(SYSTEM, path)


def _rates(target: Any, threads: int, operations: int) -> dict[str, int]:
    """Return operations a second of each kind, each thread in a directory of its own."""
    each = max(1, operations // threads)
    for number in range(threads):
        target.mkdir(f"/t{number}")
    kinds: dict[str, Callable[[int, int], None]] = {
        "mkdir": lambda thread, n: target.mkdir(f"/t{thread}/d{n}"),
        "upload": lambda thread, n: target.write(f"/t{thread}/f{n}"),
        "read": lambda thread, n: target.read(f"/t{thread}/f{n}"),
        "rename": lambda thread, n: target.rename(f"/t{thread}/f{n}", f"/t{thread}/g{n}"),
    }
    found = {}
    for kind, work in kinds.items():
        workers = [
            threading.Thread(target=lambda k=thread, w=work: [w(k, n) for n in range(each)])
            for thread in range(threads)
        ]
        begun = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found[kind] = round(threads * each / (time.perf_counter() - begun))
    return found


def _measure(folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for sync in (True, False):
        for threads in (1, given.threads):
            name = f"{'sync' if sync else 'quick'}, {threads} thread{'s' * (threads > 1)}"
            place = folder / name.replace(" ", "-")
            (place / "plain").mkdir(parents=True)
            plain = _rates(_Plain(place / "plain", sync=sync), threads, given.operations)
            storage = Storage(place / "ours", biller=Biller("bench", 0), sync=sync)
            ours = _rates(_Ours(storage), threads, given.operations)
            storage.close()
            rows += [{"what": f"{name}: plain", **plain}, {"what": f"{name}: storage", **ours}]
    return rows


async def _delete(kafka: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()


async def _publish(folder: Path, kafka: str, records: int) -> dict[str, Any]:
    """Return how fast a backlog is published, connecting included, and what one record waits."""
    storage = Storage(folder, biller=Biller("bench", 0), sync=False)
    for number in range(records):
        await asyncio.to_thread(storage.mkdir, SYSTEM, f"/d{number}")
    prefix = streams.new_prefix()
    publisher = Publisher(storage, bootstrap=kafka, partitions=8, topic_prefix=prefix)
    begun = time.perf_counter()
    running = asyncio.create_task(publisher.run())
    await publisher.confirmed(60)
    rate = records / (time.perf_counter() - begun)
    waits_ms = []
    for number in range(200):
        await asyncio.to_thread(storage.mkdir, SYSTEM, f"/single{number}")
        begun = time.perf_counter()
        await publisher.confirmed(60)
        waits_ms.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    storage.close()
    await _delete(kafka, f"{prefix}{BILLING.name}")
    waits_ms.sort()
    return {
        "backlog_records_per_s": round(rate),
        "confirmed_ms_p50": round(waits_ms[100], 2),
        "confirmed_ms_p99": round(waits_ms[198], 2),
    }


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print tables and a line of JSON; return its content."""
    parser = options.parser("storage", __doc__)
    parser.add_argument("--operations", type=int, default=1000, help="of each kind")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--records", type=int, default=20_000, help="in the backlog")
    given = options.given(parser, arguments, QUICK)
    with tempfile.TemporaryDirectory(dir=".") as folder, streams.services() as (kafka, _):
        rows = _measure(Path(folder), given)
        published = asyncio.run(_publish(Path(folder) / "published", kafka, given.records))
    if not given.json:
        print(streams.table(rows))
        print(streams.table([published]))
    answer = {"benchmark": "storage", "operations_per_s": rows, **published}
    print(json.dumps(answer))
    return answer


if __name__ == "__main__":
    run()
