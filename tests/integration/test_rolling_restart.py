"""Three nodes stopped, or killed, one after the other under load: nothing lost, nothing double.

The long form has 300 clients and 500 events a second, of four directories: each client is told of
one of them.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest

from deploy.local.processes import wait_until
from tests import services
from tests.api_site import ApiSite
from tests.crowd import Crowd, open_channels
from tests.crowds import Crowds
from tests.e2e.burst import DIRECTORIES, FILES, Step
from tests.e2e.writers import Writers
from tests.wire import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

WRITERS = 4
CATCH_UP_S = 400.0
BEHIND = 2_500
"""Where the machine is too slow for all that, the writers wait for the readers: nobody who reads
too slowly may be told everything in time."""


@dataclass(frozen=True)
class Size:
    """How much of it.

    Attributes:
        clients: how many read.
        rate_per_s: events a second.
        between: events between one restart and the next.
        cycle: what is done.
        crowds: how many crowds there are; each has directories of its own.
    """

    clients: int
    rate_per_s: int
    between: int
    cycle: Sequence[Step]
    crowds: int


SIZES = [
    pytest.param(Size(30, 100, 100, DIRECTORIES, crowds=1), id="short"),
    pytest.param(
        Size(300, 500, 5_000, FILES, crowds=WRITERS),
        id="long",
        marks=pytest.mark.conformance,
    ),
]


@pytest.fixture(scope="module")
def site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give three nodes that let one user have enough channels."""
    with services.run_directory("rolling") as run:
        started = ApiSite(
            run, kafka_bootstrap, redis_url, nodes=3, prefix=f"rolling-{uuid.uuid4().hex[:8]}-",
            settings={
                "STORAGE_EVENTS_API_CHANNELS_PER_USER": "1000",
                "STORAGE_EVENTS_API_CONNECTIONS_PER_USER": "1000",
                "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
            },
        )  # fmt: skip
        try:
            started.up()
            yield started
        finally:
            started.down()


@pytest.fixture
def directories(site: ApiSite) -> list[str]:
    """Give a directory for each writer, in one of their own."""
    above = f"/data/exp/{uuid.uuid4().hex[:12]}"
    made = [f"{above}/{number}" for number in range(WRITERS)]
    with site.webdav() as door:
        for path in (above, *made):
            door.request("MKCOL", path).raise_for_status()
    return made


class Watching(NamedTuple):
    """A crowd and what it watches.

    Attributes:
        crowd: its readers.
        directories: what each of them watches.
        ids: which of its subscriptions is which directory.
    """

    crowd: Crowd
    directories: Sequence[str]
    ids: dict[str, str]


@contextlib.contextmanager
def _crowds(
    site: ApiSite, directories: Sequence[str], size: Size
) -> Iterator[tuple[Crowds, list[Watching]]]:
    watching = []
    for number in range(size.crowds):
        watched = directories[number :: size.crowds]
        channels, ids = open_channels(site.urls, watched, size.clients // size.crowds)
        watching.append(Watching(Crowd(site.urls, channels), watched, ids))
    crowds = Crowds([each.crowd for each in watching])
    crowds.start()
    try:
        yield crowds, watching
    finally:
        crowds.stop()


def _stop(site: ApiSite, crowd: Crowds, node: int) -> None:
    """Stop a node that serves some; each of them hears SHUTDOWN."""
    served = crowd.open_on(node)
    before = crowd.system()["SHUTDOWN"]
    assert served > 0
    assert site.nodes[node].stop(), "it had to be killed"
    assert wait_until(lambda: crowd.open_on(node) == 0, timeout_s=20)
    assert crowd.system()["SHUTDOWN"] == before + served, _last_words(site, node)


def _last_words(site: ApiSite, node: int) -> str:
    """Return what a node that was stopped has to say for itself."""
    lines = [line for line in site.log(node).splitlines() if "access" not in line]
    return "\n".join(line for line in lines if "audit" not in line)[-3000:]


def _kill(site: ApiSite, crowd: Crowds, node: int) -> None:
    """Kill a node that serves some; nobody hears anything."""
    before = crowd.system()
    assert crowd.open_on(node) > 0
    site.nodes[node].kill()
    assert wait_until(lambda: crowd.open_on(node) == 0, timeout_s=20)
    assert crowd.system() == before


@contextlib.contextmanager
def _writing(
    site: ApiSite, directories: Sequence[str], size: Size, crowd: Crowds
) -> Iterator[Writers]:
    """Let there be a writer for each directory, all together at the rate."""
    told = sum(len(step.told) for step in size.cycle) / len(size.cycle)
    bursts = [
        {
            "webdav_url": site.webdav_url,
            "login": ("alice", "alice-demo"),
            "directory": path,
            "rate_per_s": size.rate_per_s / told / WRITERS,
            "cycle": size.cycle,
        }
        for path in directories
    ]
    writers = Writers(bursts, lambda: crowd.behind() > BEHIND // size.crowds)
    writers.start()
    try:
        yield writers
    finally:
        writers.kill()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("end", [_stop, _kill])
def test_nothing_is_lost_and_nothing_double(
    site: ApiSite, directories: list[str], end: type[_stop], size: Size
) -> None:
    """Every client is told every event once, in one order, whatever node serves it meanwhile."""
    with _crowds(site, directories, size) as (crowd, watching):
        assert wait_until(crowd.all_are_open, timeout_s=CATCH_UP_S)
        with _writing(site, directories, size, crowd) as writers:
            assert wait_until(lambda: crowd.count() > 0, timeout_s=CATCH_UP_S), crowd.state()
            begin_s = time.monotonic()
            rates = _one_after_the_other(site, crowd, end, size)
            bursts = writers.finish()
            took_s = time.monotonic() - begin_s
        expected = {burst.directory: list(burst.expected()) for burst in bursts}
        events = sum(map(len, expected.values()))
        for each in watching:
            mine = [told for path in each.directories for told in expected[path]]
            _check(each, mine)
        assert set(crowd.system()) <= {"SHUTDOWN"}
        connections = crowd.connections()
        assert connections >= size.clients + 3
    print(
        f"{events} events to {size.clients} clients in {took_s:.0f} s"
        f" ({events / took_s:.0f} of {size.rate_per_s}/s in all,"
        f" {' '.join(f'{rate:.0f}' for rate in rates)}/s before each end of a node),"
        f" {connections} connections"
    )


def _check(watching: Watching, expected: list[tuple[str, str, str]]) -> None:
    """Check that every reader of a crowd is told all of it, once and in order."""
    crowd = watching.crowd
    wait_until(lambda: crowd.slowest() >= len(expected), timeout_s=CATCH_UP_S)
    assert crowd.complaints == []
    assert {reader.at for reader in crowd.readers} == {len(expected)}
    assert _told(watching) == expected


def _one_after_the_other(
    site: ApiSite, crowd: Crowds, end: type[_stop], size: Size
) -> list[float]:
    """End each node while events flow, and start it again; return the rates reached before."""
    rates = []
    for node in range(3):
        seen, begin_s = crowd.count(), time.monotonic()
        assert wait_until(
            lambda seen=seen: crowd.all_are_open() and crowd.count() >= seen + size.between,
            timeout_s=CATCH_UP_S,
        ), crowd.state()
        rates.append((crowd.count() - seen) / (time.monotonic() - begin_s))
        end(site, crowd, node)
        assert wait_until(crowd.all_are_open, timeout_s=CATCH_UP_S), crowd.state()
        site.nodes[node].start()
        site.ready(site.nodes[node], site.urls[node])
    return rates


def test_who_was_told_nothing_before_a_kill_misses_nothing(
    site: ApiSite, directories: list[str]
) -> None:
    """They have no id; a stream of one request begins with one, as a browser keeps it."""
    directory, killed = directories[0], site.nodes[0]
    (path,), _ = open_channels(site.urls[:1], [directory], 1)
    query = f"/api/v1/events/stream?watch={directory}"
    with Stream(site.urls[0] + path) as stream, Stream(site.urls[0] + query) as one_request:
        (said,) = one_request.until(1)
        killed.kill()
        assert stream.until_end() == []
    with site.webdav() as door:
        door.request("MKCOL", f"{directory}/a").raise_for_status()
    with Stream(site.urls[1] + path) as stream:
        stream.until(1)
        assert stream.masks() == [("a", "IN_CREATE")]
    with Stream(site.urls[2] + query, headers={"Last-Event-ID": said.id or ""}) as stream:
        stream.until(1)
        assert stream.masks() == [("a", "IN_CREATE")]
    killed.start()
    site.ready(killed, site.urls[0])


def _told(watching: Watching) -> list[tuple[str, str, str]]:
    """Return what all were told, one directory after the other."""
    told: dict[str, list[tuple[str, str, str]]] = {path: [] for path in watching.directories}
    for subscription, content in watching.crowd.told:
        event = json.loads(content)
        path = watching.ids[subscription.decode()]
        told[path].append((path, ",".join(event["mask"]), event["name"]))
    return [each for path in watching.directories for each in told[path]]
