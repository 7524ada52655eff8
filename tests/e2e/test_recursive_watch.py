"""Recursive watches on the root of a tree, against a filter over all that happened.

What happened is read from the storage's own records on `billing`, and filtered by path and by
plain Python: no ancestors, no globs, nothing of what the pipeline and the API use.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from deploy.local import stack as local
from schemas import vocabulary
from tests.e2e import history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e]

LOGIN = ("alice", local.password("alice"))
LEAST, MOST = 40, 90
ENDINGS = (".h5", ".txt", ".tmp")


class Event(NamedTuple):
    """One event of anything below the tree: path below it, flags, cookie, size of the file."""

    path: str
    mask: tuple[str, ...]
    cookie: str
    size_bytes: int | None


Filter = tuple[dict[str, Any], "Callable[[Event], bool]"]


def _name(event: Event) -> str:
    return event.path.rpartition("/")[2]


def _is_cold(event: Event) -> bool:
    return "cold" in event.path.split("/")


def _fits(event: Event) -> bool:
    closed = event.mask[0] in ("IN_CLOSE_WRITE", "IN_CLOSE_NOWRITE")
    return not closed or event.size_bytes is None or LEAST <= event.size_bytes <= MOST


FILTERS: dict[str, Filter] = {
    "everything": ({}, lambda _: True),
    "include": ({"include": ["*.h5", "run/**"]}, lambda event: _name(event).endswith(".h5")
                or event.path.split("/")[0] == "run"),
    "exclude": ({"exclude": ["*.tmp", "**/cold/**"]}, lambda event: not (
                _name(event).endswith(".tmp") or _is_cold(event))),
    "sizes": ({"min_size": LEAST, "max_size": MOST}, _fits),
    "all at once": (
        {"include": ["*.h5", "*.txt"], "exclude": ["**/cold/**"], "min_size": LEAST,
         "flags": ["IN_CLOSE_WRITE", "IN_MOVE", "IN_DELETE"]},
        lambda event: _name(event).endswith((".h5", ".txt")) and not _is_cold(event)
        and event.mask[0] in ("IN_CLOSE_WRITE", "IN_MOVED_FROM", "IN_MOVED_TO", "IN_DELETE")
        and (event.mask[0] != "IN_CLOSE_WRITE" or (event.size_bytes or 0) >= LEAST),
    ),
}  # fmt: skip

_TOLD: dict[str, tuple[str, ...]] = {
    "CREATE": ("IN_CREATE",),
    "MKDIR": ("IN_CREATE",),
    "UPLOAD": ("IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE"),
    "READ": ("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE"),
    "DELETE": ("IN_DELETE",),
    "RMDIR": ("IN_DELETE",),
}


def events(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the events with a name that follow from a record: full path, flag."""
    if record["kind"] == vocabulary.Kind.RENAME:
        yield record["source"]["path"], "IN_MOVED_FROM"
        yield record["path"], "IN_MOVED_TO"
        return
    for flag in _TOLD[record["kind"]]:
        yield record["path"], flag


def full_history(bootstrap: str, tree: str, end: str) -> list[Event]:
    """Return all that happened below the tree, in the storage's order."""
    found = []
    for record in history.until(bootstrap, "billing", "billing", end):
        touches = record["path"].startswith(f"{tree}/") or (
            record["source"] and record["source"]["path"].startswith(f"{tree}/")
        )
        if not touches:
            continue
        assert record["status_code"] == 0
        is_directory = record["type"] == vocabulary.FileType.DIR
        for path, flag in events(record):
            if path.startswith(f"{tree}/"):
                mask = (flag, "IN_ISDIR") if is_directory else (flag,)
                below = path.removeprefix(f"{tree}/")
                found.append(Event(below, mask, record["cookie"] or "", record["size_bytes"]))
    return found


class Gardener:
    """Does random operations in the tree and beside it; knows what is there."""

    def __init__(self, client: httpx.Client, tree: str, outside: str, seed: int) -> None:
        self._client, self._chance = client, random.Random(seed)
        self._roots = (tree, outside)
        self._directories = [tree, outside]
        self._files: list[str] = []
        self._number = 0
        self.moved_over_the_edge = 0

    def _new(self, suffix: str = "", *, over_the_edge_from: str = "") -> str:
        """Return a path for something new; for what is moved, as often in or out as not."""
        self._number += 1
        parents = self._directories
        if over_the_edge_from and self._chance.random() < 0.5:
            is_inside = _within(over_the_edge_from, self._roots[0])
            parents = [one for one in parents if _within(one, self._roots[0]) != is_inside]
        parent = self._chance.choice(parents)
        prefix = self._chance.choice(["cold", "run"]) if not suffix else "f"
        name = f"{prefix}{self._number}{suffix}"
        plain = f"{parent}/{prefix}"
        if not suffix and plain not in self._directories:
            name = prefix
        return f"{parent}/{name}"

    def operate(self) -> None:
        """Do one operation."""
        what = self._chance.random()
        below = [one for one in self._directories if one not in self._roots]
        if what < 0.12 or not below:
            path = self._new()
            self._do("MKCOL", path)
            self._directories.append(path)
        elif what < 0.45 or len(self._files) < 5:
            path = self._new(self._chance.choice(ENDINGS))
            self._do("PUT", path, content=b"x" * self._chance.randrange(1, 130))
            self._files.append(path)
        elif what < 0.55:
            self._do("PUT", self._chance.choice(self._files), content=b"yy")
        elif what < 0.65:
            self._do("GET", self._chance.choice(self._files))
        elif what < 0.75:
            old = self._chance.choice(self._files)
            ending = self._chance.choice(ENDINGS)
            self._move(old, self._new(ending, over_the_edge_from=old))
        elif what < 0.90:
            self._move_directory(self._chance.choice(below))
        else:
            doomed = self._chance.choice([*self._files, *self._files, *below])
            self._do("DELETE", doomed)
            self._directories = [one for one in self._directories if not _within(one, doomed)]
            self._files = [one for one in self._files if not _within(one, doomed)]

    def _move_directory(self, old: str) -> None:
        new = self._new(over_the_edge_from=old)
        if not _within(new, old):
            self._move(old, new)

    def _move(self, old: str, new: str) -> None:
        self._do(
            "MOVE", old, headers={"Destination": str(self._client.base_url).rstrip("/") + new}
        )
        tree = self._roots[0]
        self.moved_over_the_edge += _within(old, tree) != _within(new, tree)
        for known in (self._directories, self._files):
            known[:] = [new + one.removeprefix(old) if _within(one, old) else one for one in known]

    def _do(self, method: str, path: str, **arguments: Any) -> None:
        answer = self._client.request(method, path, **arguments)
        assert answer.is_success, (method, path, answer.status_code, answer.text)


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operations", [250, pytest.param(5000, marks=pytest.mark.conformance)])
def test_a_recursive_watch_is_a_filter_over_all_that_happened(
    operations: int, stack: Stack, directory: str, listener: Callable[..., Listener]
) -> None:
    """With each filter, live on each node, and connected for the first time afterwards."""
    tree, outside = f"{directory}/tree", f"{directory}/outside"
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with httpx.Client(base_url=stack.webdav_url, auth=LOGIN, timeout=60) as client:
        for each in (tree, outside):
            client.request("MKCOL", each).raise_for_status()
        ears: dict[tuple[str, str], Listener] = {}
        for index, (name, (selector, _)) in enumerate(FILTERS.items()):
            for when in ("live", "afterwards"):
                ear = ears[when, name] = listener(node=index % len(stack.api_urls), timeout_s=3600)
                assert ear.watch(tree, recursive=True, **selector).status_code == 201
                if when == "live":
                    ear.start()
        gardener = Gardener(client, tree, outside, seed)
        for _ in range(operations):
            gardener.operate()
        for ending in ENDINGS:
            client.put(f"{tree}/the-end{ending}", content=b"x" * LEAST).raise_for_status()
    happened = full_history(stack.bootstrap, tree, f"{tree}/the-end{ENDINGS[-1]}")
    for (when, name), ear in ears.items():
        chosen = [event for event in happened if FILTERS[name][1](event)]
        if when == "afterwards":
            ear.start()
        assert ear.wait(lambda ear=ear, chosen=chosen: len(ear.heard) >= len(chosen), timeout_s=90)
        told = [
            (one.name, tuple(one.event["mask"]), one.event.get("cookie", "")) for one in ear.heard
        ]
        assert told == [event[:3] for event in chosen], (when, name)
        print(f"{when} {name}: {len(chosen)} of {len(happened)} events")
    print(f"{gardener.moved_over_the_edge} moves in or out")
    assert gardener.moved_over_the_edge > operations / 50
