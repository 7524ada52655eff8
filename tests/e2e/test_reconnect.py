"""A client that is killed again and again gets exactly what one that was left alone gets.

The killed client is a process, ended by kill -9 wherever it happens to be; each new one asks
another API node. What it kept is compared with an undisturbed client's events, and both with what
Kafka's derived topic says that their watches are to be told.
"""

from __future__ import annotations

import base64
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local import stack as local
from deploy.local.processes import wait_until
from tests.e2e import history, reader
from tests.e2e.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e]

DIRECTORIES = 40
ALL_ARRIVE_S = 180.0
EVENTS_AN_OPERATION = 2.9
LOGIN = ("alice", local.password("alice"))
AUTHORIZATION = "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode()


@dataclass
class Client:
    """A channel, and the processes that read it one after the other.

    Attributes:
        stack: where.
        file: what was read so far.
        lives: how many processes there were.
    """

    stack: Stack
    file: Path
    lives: int = 0
    _path: str = ""
    _paths: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def subscribe(self, directories: Sequence[str], **selector: Any) -> None:
        """Make a channel that watches directories; each subscription is made at another node."""
        urls = self.stack.api_urls
        with httpx.Client(auth=LOGIN, timeout=60) as http:
            made = http.post(f"{urls[0]}/api/v1/events/channels")
            assert made.status_code == 201, made.text
            self._path = urlsplit(made.headers["Location"]).path
            http.patch(urls[0] + self._path, json={"timeout": 3600}).raise_for_status()
            for index, directory in enumerate(directories):
                url = f"{urls[index % len(urls)]}{self._path}/subscriptions/inotify"
                answer = http.post(url, json={"path": directory, **selector})
                assert answer.status_code == 201, answer.text
                self._paths[urlsplit(answer.headers["Location"]).path] = directory

    def live(self, node: int) -> None:
        """Read from a node on, from the last event that was kept."""
        assert self._process is None
        self.lives += 1
        nodes = self.stack.api_urls[node:] + self.stack.api_urls[:node]
        arguments = [str(self.file), AUTHORIZATION, self._path, *nodes]
        self._process = subprocess.Popen([sys.executable, "-I", reader.__file__, *arguments])

    def die(self) -> None:
        """End it by kill -9, wherever it is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def size(self) -> int:
        """How many bytes were kept."""
        return self.file.stat().st_size if self.file.exists() else 0

    def kept(self) -> list[reader.Line]:
        """Return all that was kept."""
        return reader.kept(self.file) if self.file.exists() else []

    def told(self) -> list[history.Told]:
        """Return the events that were kept: (watched directory, event)."""
        events = [json.loads(line.data) for line in self.kept() if line.kind == "inotify"]
        return [
            (self._paths[urlsplit(each["subscription"]).path], json.dumps(each["event"]))
            for each in events
        ]

    def system(self) -> Counter[str]:
        """Return what else the server said."""
        return Counter(
            json.loads(line.data)["type"] for line in self.kept() if line.kind == "SYSTEM"
        )


@pytest.fixture
def client(stack: Stack, tmp_path: Path) -> Iterator[Callable[[str], Client]]:
    """Give a maker of clients, which end with the test."""
    made: list[Client] = []

    def make(name: str) -> Client:
        made.append(Client(stack, tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.die()


def make_directories(stack: Stack, directory: str) -> list[str]:
    """Make what is watched."""
    directories = [f"{directory}/d{n}" for n in range(DIRECTORIES)]
    with httpx.Client(base_url=stack.webdav_url, auth=LOGIN, timeout=60) as door:
        for each in directories:
            door.request("MKCOL", each).raise_for_status()
    return directories


class Chaos(threading.Thread):
    """Kills worker, Redis and Kafka, at random, and starts them again."""

    def __init__(self, stack: Stack, parts: Sequence[str], chance: random.Random) -> None:
        super().__init__(name="chaos", daemon=True)
        self._stack, self._parts, self._chance = stack, parts, chance
        self._ended = threading.Event()
        self.killed: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._ended.wait(self._chance.uniform(0.2, 4)):
                self._kill_one()
        except BaseException as error:
            self.error = error

    def _kill_one(self) -> None:
        part = self._chance.choice(self._parts)
        worker = self._stack.workers[0]
        broker = {"kafka": self._stack.kafka, "redis": self._stack.redis}.get(part)
        assert part == "worker" or broker is not None
        (worker if broker is None else broker).kill()
        self.killed[part] += 1
        self._ended.wait(self._chance.uniform(0, 2))
        if broker is None:
            self._stack.restart(worker)
        else:
            broker.start()

    def end(self) -> None:
        """Kill no more, and have all started again."""
        self._ended.set()
        self.join()
        if self.error is not None:
            raise self.error


def kill_and_reconnect(
    client: Client, traffic: Traffic, chance: random.Random, *, kills: int, operations: int
) -> None:
    """Spread kills over the operations; each new life begins at another node."""
    node, nodes = 0, len(client.stack.api_urls)
    client.live(node)
    # A client without an id has nothing to come back with: from its first event on it has one.
    traffic.allow(1)
    assert wait_until(lambda: client.size() > 0, timeout_s=60)
    for kill in range(1, kills + 1):
        had = client.size()
        traffic.allow(operations * kill // kills)
        traffic.wait_done(max(0, operations * kill // kills - 5))
        if chance.random() < 0.7:
            # Mostly it has read something by then; else it may not even be connected.
            wait_until(lambda had=had: client.size() > had, timeout_s=10)
        time.sleep(chance.choice([0, 0, 0.01, 0.1]))
        client.die()
        node = (node + chance.randrange(1, nodes)) % nodes
        client.live(node)


def compare(stack: Stack, calm: Client, killed: Client, directories: Sequence[str]) -> int:
    """Assert that both were told what Kafka says, in order; return how many events it is."""
    with httpx.Client(base_url=stack.webdav_url, auth=LOGIN, timeout=60) as door:
        door.request("MKCOL", f"{directories[0]}/the-end").raise_for_status()
    expected = history.told(stack.bootstrap, directories, end="the-end")
    for one in (calm, killed):
        wait_until(lambda one=one: len(one.told()) >= len(expected), timeout_s=ALL_ARRIVE_S)
        told = one.told()
        assert told == expected, f"{one.file.name}: {len(told)} events of {len(expected)}"
        assert "EVENT_LOSS" not in one.system()
    return len(expected)


@pytest.mark.parametrize(
    ("events", "kills", "parts"),
    [
        pytest.param(1_500, 12, [], marks=pytest.mark.timeout(300)),
        pytest.param(1_500, 12, ["worker", "redis"], marks=pytest.mark.timeout(300)),
        pytest.param(50_000, 200, [], marks=[pytest.mark.conformance, pytest.mark.timeout(3600)]),
        pytest.param(
            50_000,
            200,
            ["worker", "redis", "kafka"],
            marks=[pytest.mark.conformance, pytest.mark.timeout(3600)],
        ),
    ],
    ids=["short", "short-chaos", "long", "long-chaos"],
)
def test_a_killed_client_gets_what_an_undisturbed_one_gets(  # noqa: PLR0917
    events: int,
    kills: int,
    parts: list[str],
    stack: Stack,
    directory: str,
    client: Callable[[str], Client],
) -> None:
    """The concatenation over all lives is the undisturbed sequence, exactly."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    directories = make_directories(stack, directory)
    calm, killed = client("calm"), client("killed")
    for one in (calm, killed):
        one.subscribe(directories)
    calm.live(0)
    operations = round(events / EVENTS_AN_OPERATION)
    traffic = Traffic(stack.webdav_url, LOGIN, directories, seed=seed)
    chaos = Chaos(stack, parts, chance)
    begin_s = time.monotonic()
    traffic.start()
    try:
        if parts:
            chaos.start()
        kill_and_reconnect(killed, traffic, chance, kills=kills, operations=operations)
        traffic.wait_done(operations)
    finally:
        traffic.stop()
        if parts:
            chaos.end()
    count = compare(stack, calm, killed, directories)
    assert count >= events
    lives = Counter(line.process for line in killed.kept())
    print(
        f"{count} events, {killed.lives} lives of which {len(lives)} read something, killed"
        f" besides: {dict(chaos.killed)}, {time.monotonic() - begin_s:.0f} s"
    )
    assert killed.lives == kills + 1
    assert len(lives) > kills / 4
    assert set(chaos.killed) == set(parts) or kills < 100
