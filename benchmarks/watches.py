"""Very many watches on one node: how fast they are made and ended, and what each takes.

    python -m benchmarks watches [--watches 10000] [--channels 20] [--threads 4]

A real storage with as many directories, a worker and one node; each channel has an open stream.
The channels take turns, so that all grow together: a tenth of the run is a tenth of each channel.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from benchmarks import options, streams
from deploy.local.processes import wait_until
from storage_sim.billing import Biller
from storage_sim.core import SYSTEM
from storage_sim.storage import Storage
from tests import services
from tests.api_site import ApiSite
from tests.crowd import Crowd
from tests.wire import basic, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_TENTHS = 10
_SETTLE_S = 120.0
_ROOT = "/many"
QUICK = {"watches": 1_000, "channels": 10}
TAKES_S = (90, 12)


def _make_directories(folder: Path, count: int) -> None:
    """Make the watched directories in a storage that does not run yet."""
    storage = Storage(folder, biller=Biller("sim", 0), sync=False)
    try:
        storage.recover()
        storage.mkdir(SYSTEM, _ROOT)
        for number in range(count):
            storage.mkdir(SYSTEM, f"{_ROOT}/w{number}")
    finally:
        storage.close()


@contextlib.contextmanager
def _site(watches: int) -> Iterator[ApiSite]:
    with streams.services() as (kafka, redis), services.run_directory("watches") as run:
        settings = {
            "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
            "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
            "STORAGE_EVENTS_LOG_LEVEL": "WARNING",
        }
        prefix = f"watches-{uuid.uuid4().hex[:8]}-"
        site = ApiSite(run, kafka, redis, prefix=prefix, settings=settings)
        _make_directories(run / "storage", watches)
        try:
            site.up()
            yield site
        finally:
            site.down()


class Client:
    """A connection that is kept, as alice."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._headers = {**basic("alice"), "Content-Type": "application/json"}

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, str]:
        """Return the status and the `Location`."""
        body = None if content is None else json.dumps(content)
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Location", "")


def _in_tenths(
    site: ApiSite, threads: int, count: int, work: Callable[[Client, int], None]
) -> tuple[list[float], list[float]]:
    """Do something `count` times by some threads.

    Returns:
        For each tenth the rate, a second, and what the node used for each, CPU milliseconds.
    """
    clients = [Client(site.urls[0]) for _ in range(threads)]
    rates, used_ms = [], []
    node = _node(site)
    with ThreadPoolExecutor(threads) as pool:
        for tenth in range(_TENTHS):
            numbers = range(count * tenth // _TENTHS, count * (tenth + 1) // _TENTHS)

            def share(thread: int, numbers: range = numbers) -> None:
                for number in numbers[thread::threads]:
                    work(clients[thread], number)

            begin_s, begin_cpu_s = time.perf_counter(), _cpu_s(node)
            list(pool.map(share, range(threads)))
            rates.append(len(numbers) / (time.perf_counter() - begin_s))
            used_ms.append(1000 * (_cpu_s(node) - begin_cpu_s) / len(numbers))
    return rates, used_ms


def _node(site: ApiSite) -> psutil.Process:
    return psutil.Process(site.nodes[0].pid)


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _measure(site: ApiSite, watches: int, channels: int, threads: int) -> dict[str, Any]:
    url = site.urls[0]
    opened = [call("POST", f"{url}/api/v1/events/channels") for _ in range(channels)]
    paths = [urlsplit(one.one("Location")).path for one in opened]
    locations = [""] * watches
    crowd = Crowd(site.urls, paths)
    crowd.start()
    try:
        wait_until(crowd.all_are_open, timeout_s=_SETTLE_S)
        node = _node(site)
        before_bytes = node.memory_info().rss

        def make(client: Client, number: int) -> None:
            content = {"path": f"{_ROOT}/w{number}", "flags": ["IN_CREATE"]}
            where = f"{paths[number % channels]}/subscriptions/inotify"
            status, locations[number] = client.ask("POST", where, content)
            assert status == 201, status

        def end(client: Client, number: int) -> None:
            status, _ = client.ask("DELETE", urlsplit(locations[number]).path)
            assert status == 204, status

        made, made_ms = _in_tenths(site, threads, watches, make)
        told = wait_until(
            lambda: crowd.system()["NEW_SUBSCRIPTION"] == watches, timeout_s=_SETTLE_S
        )
        full_bytes = node.memory_info().rss
        ended, ended_ms = _in_tenths(site, threads, watches, end)
        closed = wait_until(
            lambda: crowd.system()["SUBSCRIPTION_CLOSED"] == watches, timeout_s=_SETTLE_S
        )
        left = sum(len(call("GET", f"{url}{one}/subscriptions").json) for one in paths)
    finally:
        crowd.stop()
    return {
        "watches": watches,
        "channels": channels,
        "made/s first tenth": made[0],
        "last": made[-1],
        "CPU ms each, first": made_ms[0],
        "last ": made_ms[-1],
        "KiB each": (full_bytes - before_bytes) / 1024 / watches,
        "ended/s first tenth": ended[0],
        " last": ended[-1],
        "CPU ms each, first ": ended_ms[0],
        " last ": ended_ms[-1],
        "all announced": told,
        "all closed": closed,
        "left": left,
        "made/s": [round(rate) for rate in made],
        "made, CPU ms": [round(each, 2) for each in made_ms],
        "ended/s": [round(rate) for rate in ended],
        "ended, CPU ms": [round(each, 2) for each in ended_ms],
    }


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = options.parser("watches", __doc__)
    parser.add_argument("--watches", type=int, default=10_000)
    parser.add_argument("--channels", type=int, default=20)
    parser.add_argument("--threads", type=int, default=4)
    settings = options.given(parser, arguments, QUICK)
    with _site(settings.watches) as site:
        row = _measure(site, settings.watches, settings.channels, settings.threads)
    if not settings.json:
        print(streams.table([{k: v for k, v in row.items() if not isinstance(v, list)}]))
    result = {"benchmark": "watches", "rows": [row]}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
