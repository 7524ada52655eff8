"""`make demo`: the story of one file's news, told while it happens; every claim is compared."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from deploy.local import commits
from deploy.local.listener import Heard, Listener
from deploy.local.stack import Stack, password

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Told = tuple[str, str, str]
EXP, HOME = "/data/exp", "/home/alice"
_WHILE_AWAY = 20
_MEASURED = 200
_ARRIVAL_S = 60.0
_ANSWER_S = 60.0


def uploaded(directory: str, name: str) -> list[Told]:
    """Return what the upload of a new file tells a watcher of its directory."""
    flags = ("IN_CREATE", "IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE")
    return [(directory, flag, name) for flag in flags]


def read(directory: str, name: str) -> list[Told]:
    """Return what reading a file tells."""
    return [(directory, flag, name) for flag in ("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE")]


def renamed(directory: str, old: str, new: str) -> list[Told]:
    """Return what a rename within a directory tells."""
    return [(directory, "IN_MOVED_FROM", old), (directory, "IN_MOVED_TO", new)]


@dataclass
class Demo:
    """The story.

    Attributes:
        stack: what it is played on; it is up.
        expected: what alice must have been told so far, in order.
        claims: each sentence that was checked, and whether it held.
    """

    stack: Stack
    expected: list[Told] = field(default_factory=list)
    claims: list[tuple[str, bool]] = field(default_factory=list)
    _cause_s: float = 0.0
    _quiet: bool = False

    def __post_init__(self) -> None:
        """Prepare the listeners."""
        self._begin_s = time.time()
        url = self.stack.api_urls[0]
        self.alice = Listener(url, "alice", password("alice"), self._show("alice"))
        self.bob = Listener(url, "bob", password("bob"), self._show("bob"))
        self._tag = time.strftime("%H%M%S")

    def _show(self, who: str) -> Callable[[Heard], None]:
        def show(heard: Heard) -> None:
            since_ms = (heard.time_s - self._cause_s) * 1000
            if not self._quiet:
                where = f"{heard.path:12} {heard.flag:17} {heard.name}"
                print(f"     +{since_ms:6.0f} ms   {who:6} {where}", flush=True)

        return show

    def _claim(self, sentence: str, *, holds: bool) -> None:
        self.claims.append((sentence, holds))
        print(f"  {'✓' if holds else '✗'} {sentence}", flush=True)

    def _say(self, line: str) -> None:
        print(f"\n  {line}", flush=True)

    def _curl(self, shown: str, *arguments: str, tells: Sequence[Told]) -> None:
        """Run curl as alice, and wait until she has been told."""
        print(f"\n  $ curl -u alice {shown}", flush=True)
        self.expected += tells
        self._cause_s = time.time()
        login = ("-u", f"alice:{password('alice')}")
        command = ["curl", "-fsS", "-o", "/dev/null", *login, *arguments]
        subprocess.run(command, check=True)
        self.alice.wait(self._arrived, timeout_s=_ARRIVAL_S)

    def _arrived(self) -> bool:
        return len(self.alice.heard) >= len(self.expected)

    def _upload(self, path: str, content: str = "the universe, in short\n") -> None:
        directory, _, name = path.rpartition("/")
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(content)
            file.flush()
            url = f"{self.stack.webdav_url}{path}"
            self._curl(f"-T {name} {path}", "-T", file.name, url, tells=uploaded(directory, name))

    def subscribe(self) -> None:
        """Alice and bob say what they want to know."""
        self._say(
            "alice subscribes to /data/exp and /home/alice; bob to all of /data, recursively"
        )
        for listener in (self.alice, self.bob):
            listener.open_channel()
        for path in (EXP, HOME):
            self.alice.watch(path).raise_for_status()
        self.bob.watch("/data", recursive=True).raise_for_status()
        closed, absent = self.bob.watch(EXP), self.bob.watch("/data/nothing-here")
        print(f"     bob asks for /data/exp: {closed.status_code} {closed.json()['detail']}")
        same = closed.status_code == absent.status_code == 400
        self._claim("what bob may not see looks to him as if it did not exist", holds=same)
        for listener in (self.alice, self.bob):
            listener.start()
            listener.wait(lambda who=listener: who.connections > 0)  # type: ignore[misc]

    def act(self) -> None:
        """Curl uploads, reads, renames and deletes."""
        raw, kept = f"m31-{self._tag}.raw", f"m31-{self._tag}.fits"
        url = f"{self.stack.webdav_url}{EXP}"
        self._upload(f"{EXP}/{raw}")
        target = ("-H", f"Destination: {url}/{kept}")
        shown = f"-X MOVE -H 'Destination: …/{kept}' {EXP}/{raw}"
        self._curl(shown, "-X", "MOVE", *target, f"{url}/{raw}", tells=renamed(EXP, raw, kept))
        self._curl(f"{EXP}/{kept}", f"{url}/{kept}", tells=read(EXP, kept))
        self._upload(f"{HOME}/notes-{self._tag}.txt")
        deleted = [(EXP, "IN_DELETE", kept)]
        self._curl(f"-X DELETE {EXP}/{kept}", "-X", "DELETE", f"{url}/{kept}", tells=deleted)
        print()
        told = list(self.alice.told())
        self._claim("alice was told all of it, once and in order", holds=told == self.expected)
        cookies = [heard.event["cookie"] for heard in self.alice.heard if "cookie" in heard.event]
        one = len(cookies) == 2 and len(set(cookies)) == 1
        self._claim("the two halves of the rename share one cookie", holds=one)

    def crash(self) -> None:
        """The API node dies and comes back."""
        api = self.stack.apis[0]
        self._say("the API node is killed (kill -9) …")
        before = self.alice.connections
        api.kill()
        self._quiet = True
        self._say(f"… {_WHILE_AWAY} files are uploaded while it is away …")
        for number in range(_WHILE_AWAY):
            name = f"missed-{self._tag}-{number:02}.dat"
            self.expected += uploaded(EXP, name)
            self._put(f"{EXP}/{name}")
        self._say("… and started again; alice's client reconnects with Last-Event-ID")
        restarted_s = time.time()
        self.stack.restart(api)
        self.alice.wait(self._arrived, timeout_s=_ARRIVAL_S)
        took_s = time.time() - restarted_s
        print(f"     {len(uploaded('', '')) * _WHILE_AWAY} events, {took_s:.1f} s after the start")
        told = list(self.alice.told())
        again = self.alice.connections > before and told == self.expected
        self._claim("she missed nothing and got nothing twice", holds=again)

    def _put(self, path: str) -> None:
        login = ("alice", password("alice"))
        url = f"{self.stack.webdav_url}{path}"
        httpx.put(url, content=b"x" * 100, auth=login, timeout=_ANSWER_S).raise_for_status()

    def measure(self) -> None:
        """How long news is on its way, one at a time."""
        self._say(f"{_MEASURED} more uploads, one by one, to measure")
        names = [f"timed-{self._tag}-{number:03}.dat" for number in range(_MEASURED)]
        for name in names:
            self.expected += uploaded(EXP, name)
            self._put(f"{EXP}/{name}")
            self.alice.wait(self._arrived, timeout_s=_ARRIVAL_S)
        read_s = {
            f"{heard.path}/{heard.name}": heard.time_s
            for heard in self.alice.heard
            if heard.flag == "IN_CLOSE_WRITE" and heard.name in names
        }
        committed_s = asyncio.run(commits.upload_times_s(self.stack.bootstrap, self._begin_s))
        delays = commits.delays_ms(committed_s, read_s)
        self._claim("each was measured", holds=len(delays) == _MEASURED)
        p50, p99 = commits.percentiles(delays)
        print(
            f"     from the storage's commit to alice's read: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )

    def bob_hears_his_own(self) -> None:
        """Bob's stream lives: what he may see arrives."""
        self._say("a file that bob may see, to show that his stream is alive")
        self._quiet = False
        self._cause_s = time.time()
        name = f"for-everyone-{self._tag}.txt"
        self._put(f"/data/{name}")
        closing = "IN_CLOSE_WRITE"
        self.bob.wait(lambda: any(heard.flag == closing for heard in self.bob.heard))
        print()
        told = [(flag, name_) for _, flag, name_ in self.bob.told()]
        his = [(flag, name) for _, flag, name in uploaded("", name)]
        self._claim(
            f"bob was told of this, and of none of the {len(self.expected)} others",
            holds=told == his,
        )

    def clean(self) -> None:
        """Remove the demo's files."""
        login = ("alice", password("alice"))
        names = {(heard.path, heard.name) for heard in self.alice.heard}
        paths = [f"{directory}/{name}" for directory, name in names] + [
            f"/data/for-everyone-{self._tag}.txt"
        ]
        with httpx.Client(auth=login, timeout=_ANSWER_S) as client:
            for path in paths:
                client.delete(f"{self.stack.webdav_url}{path}")

    def tell(self) -> bool:
        """Play the whole story; return whether all of it held."""
        for chapter in (
            self.subscribe,
            self.act,
            self.crash,
            self.measure,
            self.bob_hears_his_own,
        ):
            chapter()
        held = sum(holds for _, holds in self.claims)
        self._say(
            f"{len(self.alice.heard)} events to alice over {self.alice.connections} connections, "
            f"{len(self.bob.heard)} to bob; {held} of {len(self.claims)} claims held"
        )
        for listener in (self.alice, self.bob):
            listener.stop()
        self.clean()
        return held == len(self.claims)
