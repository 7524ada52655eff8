"""One reader among many that stops reading: what the others notice, and what it misses.

    python -m benchmarks slow_reader [--readers 1000] [--rate 25] [--rounds 3]

A real storage, worker and node; all readers watch one directory, in which directories of long
names are made at a rate. In each round everybody reads for a while, then one stops until it is
cut off, comes back with Last-Event-ID and catches up, and everybody reads for a while again.
Names carry the instant of the request, so a latency is the whole way.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks import options, streams
from deploy.local.processes import wait_until
from tests import services
from tests.api_site import ApiSite
from tests.crowd import Crowd, Reader, open_channels
from tests.wire import basic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNSENT_BYTES = 131_072
_NAME = b'"name":"'
_DIGITS = 19
_FILLER = "é" * 118
_LONGEST_S = 300.0
CALM_S = 12.0
QUICK = {"readers": 100, "rounds": 1}
TAKES_S = (100, 40)


class Writer:
    """Makes directories at a rate, in a thread; a name begins with the instant."""

    def __init__(self, site: ApiSite, path: str, rate: float) -> None:
        self.names: list[str] = []
        self._client = httpx.Client(base_url=site.rest_url, headers=basic("alice"), timeout=30)
        self._url, self._rate = f"/api/v1/namespace{path}", rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def make(self) -> None:
        """Make one."""
        name = f"{time.time_ns()}{_FILLER}"
        answer = self._client.post(self._url, json={"action": "mkdir", "name": name})
        answer.raise_for_status()
        self.names.append(name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        begin_s = time.monotonic() - len(self.names) / self._rate
        while not self._ended.is_set():
            due_s = begin_s + len(self.names) / self._rate
            time.sleep(max(0.0, due_s - time.monotonic()))
            self.make()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(_LONGEST_S)
        self._client.close()


class Latencies:
    """How long the newest event of each read took, of all readers but those left out."""

    def __init__(self) -> None:
        self.taken_ns: list[int] = []
        self.without: Reader | None = None

    def read(self, reader: Reader, events: bytes) -> None:
        """Take what a reader got at once."""
        at = events.rfind(_NAME) + len(_NAME)
        if at >= len(_NAME) and reader is not self.without:
            self.taken_ns.append(time.time_ns() - int(events[at : at + _DIGITS]))

    def take(self) -> list[int]:
        """Return what was taken since the last time."""
        taken, self.taken_ns = self.taken_ns, []
        return taken


def share_ms(part: float, taken_ns: list[int]) -> float:
    """Return a percentile in milliseconds."""
    return sorted(taken_ns)[int(part * (len(taken_ns) - 1))] / 1e6


@contextlib.contextmanager
def _site(readers: int) -> Iterator[ApiSite]:
    with streams.services() as (kafka, redis), services.run_directory("slow") as run:
        settings = {
            "STORAGE_EVENTS_API_CHANNELS_PER_USER": str(readers),
            "STORAGE_EVENTS_API_CONNECTIONS_PER_USER": str(readers),
            "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
            "STORAGE_EVENTS_API_UNSENT_BYTES": str(UNSENT_BYTES),
        }
        site = ApiSite(
            run, kafka, redis, prefix=f"slow-{uuid.uuid4().hex[:8]}-", settings=settings
        )
        try:
            site.up()
            yield site
        finally:
            site.down()


def _until(holds: Any, crowd: Crowd, what: str) -> None:
    if not wait_until(holds, timeout_s=_LONGEST_S):
        raise TimeoutError(f"{what}: {crowd.state()}")


def _endings(site: ApiSite, readers: Sequence[Reader]) -> int:
    """Return how many streams of these readers' channels the node has ended."""
    log = site.log()
    return sum(log.count(f"GET {reader.path} 200") for reader in readers)


def _calm(latencies: Latencies) -> list[int]:
    latencies.take()
    time.sleep(CALM_S)
    return latencies.take()


def _round(site: ApiSite, crowd: Crowd, writer: Writer, latencies: Latencies) -> dict[str, Any]:
    """Stop one reader until it is cut off; return what the others noticed."""
    stuck = latencies.without = crowd.readers[0]
    calm = _calm(latencies)
    connections = [one.connections for one in crowd.readers]
    ended, others_ended = _endings(site, [stuck]), _endings(site, crowd.readers[1:])
    begin_s = time.monotonic()
    crowd.call(stuck.transport.pause_reading)
    _until(lambda: _endings(site, [stuck]) > ended, crowd, "it is not cut off")
    stopped_s = time.monotonic() - begin_s
    stopped = latencies.take()
    behind = len(crowd.told) - stuck.at
    crowd.call(stuck.transport.resume_reading)
    _until(
        lambda: stuck.connections > connections[0] and stuck.is_open,
        crowd,
        "it does not come back",
    )
    target = len(writer.names)
    _until(lambda: crowd.slowest() >= target, crowd, "it does not catch up")
    others = _endings(site, crowd.readers[1:]) - others_ended
    calm += _calm(latencies)
    return {
        "stopped s": stopped_s,
        "p99 calm": share_ms(0.99, calm),
        "p99 stopped": share_ms(0.99, stopped),
        "was behind": behind,
        "others cut off": others,
        "calm": calm,
        "stopped": stopped,
    }


def measure(readers: int, rate: float, rounds: int) -> dict[str, Any]:
    """Run it.

    Args:
        readers: how many there are.
        rate: directories made a second.
        rounds: how often one of them stops.

    Returns:
        `rows`, one a round; `all`, percentiles over all rounds; `complaints`, what any reader was
        told wrongly; `missed`, how many events not all readers were told in the end.
    """
    with _site(readers) as site:
        path = f"/data/exp/{uuid.uuid4().hex[:12]}"
        with site.webdav() as door:
            door.request("MKCOL", path).raise_for_status()
        latencies = Latencies()
        channels, _ = open_channels(site.urls, [path], readers, ["IN_CREATE"])
        crowd = Crowd(site.urls, channels, latencies.read)
        crowd.readers[0].buffer_bytes = UNSENT_BYTES
        crowd.start()
        try:
            _until(crowd.all_are_open, crowd, "not all are connected")
            writer = Writer(site, path, rate)
            writer.make()
            _until(lambda: crowd.slowest() == 1, crowd, "not all are told the first event")
            writer.start()
            _until(lambda: crowd.slowest() > 3 * rate, crowd, "no events")
            rows = [_round(site, crowd, writer, latencies) for _ in range(rounds)]
            writer.stop()
            wait_until(lambda: crowd.slowest() >= len(writer.names), timeout_s=_LONGEST_S)
            told = [json.loads(event)["name"] for _, event in crowd.told]
            complaints = [*crowd.complaints, *(["not what was done"] * (told != writer.names))]
            missed = len(writer.names) - crowd.slowest()
        finally:
            crowd.stop()
    calm = [one for row in rows for one in row.pop("calm")]
    stopped = [one for row in rows for one in row.pop("stopped")]
    whole = {
        "reads": len(calm) + len(stopped),
        "p50 calm": share_ms(0.5, calm),
        "p50 stopped": share_ms(0.5, stopped),
        "p99 calm": share_ms(0.99, calm),
        "p99 stopped": share_ms(0.99, stopped),
    }
    return {"rows": rows, "all": whole, "complaints": complaints, "missed": missed}


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = options.parser("slow_reader", __doc__)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=25.0)
    parser.add_argument("--rounds", type=int, default=3)
    settings = options.given(parser, arguments, QUICK)
    found = measure(settings.readers, settings.rate, settings.rounds)
    whole = found["all"]
    ratio = whole["p99 stopped"] / whole["p99 calm"]
    if not settings.json:
        print(streams.table(found["rows"]))
        print(streams.table([{**whole, "ratio of p99": ratio, "missed": found["missed"]}]))
    result = {"benchmark": "slow_reader", "ratio": ratio, **found}
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
