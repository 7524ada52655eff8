"""The telescope's demo tells the truth: what was killed, what had two outcomes, how far it is."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.killing import Killer
from deploy.local.night import Night
from deploy.local.night_screen import Screen
from deploy.local.processes import Process, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("worker", "kafka", "storage")


@pytest.fixture
def victims(tmp_path: Path) -> Iterator[list[Process]]:
    made = [Process(name, ["sleep", "1000"], tmp_path) for name in NAMES]
    for each in made:
        each.start()
    yield made
    for each in made:
        each.kill()


def killer(victims: list[Process], start: Any, said: list[str]) -> Killer:
    made = Killer(victims, start=start, chance=random.Random(1), say=said.append)
    made.between_s = (0.0, 0.01)
    return made


def test_each_is_killed_and_counted_and_comes_back(victims: list[Process]) -> None:
    said: list[str] = []
    pids = {each.pid for each in victims}

    def start() -> None:
        for each in victims:
            each.start()

    killing = killer(victims, start, said)
    killing.run(lambda: len(said) >= 6, threading.Event())
    assert killing.spared() == []
    assert all(killing.kills[name] >= 1 for name in NAMES)
    assert sum(killing.kills.values()) == sum(line.count(name) for line in said for name in NAMES)
    assert pids.isdisjoint({each.pid for each in victims})
    assert f"kafka {killing.kills['kafka']}×" in killing.told()


def test_who_was_not_alive_is_not_counted_and_who_does_not_come_back_is_told(
    victims: list[Process],
) -> None:
    victims[0].kill()

    def start() -> None:
        raise StartError("kafka is not ready")

    killing = killer(victims[:1], start, [])
    killing.run(lambda: True, threading.Event())
    assert killing.spared() == ["worker was never killed", "kafka is not ready"]


def outcome(name: str, shard: str, number: int) -> dict[str, Any]:
    return {
        "state": "DONE", "path": f"/raw/{name}.fits", "id": f"facility:{number}:preview",
        "shard": shard, "number": number,
    }  # fmt: skip


def test_two_outcomes_of_one_exposure_are_found_and_repeats_are_not() -> None:
    night = Night()
    for name, shard, number in (("a", "x", 1), ("a", "x", 1), ("b", "x", 2), ("b", "y", 2)):
        night.take("ingest", outcome(name, shard, number))
    assert night.twice() == ["b: told by [('x', 2), ('y', 2)]"]
    assert night.processed == {"a", "b"}


def test_a_log_gets_lines_and_at_last_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    night = Night()
    screen = Screen(night, 2)
    night.take("ingest", outcome("a", "x", 1))
    screen.show()
    screen.say("kill -9 kafka")
    screen.show(at_last=True)
    first, second, *bars = capsys.readouterr().out.splitlines()
    assert first.endswith("observed 0/2, safe 0/2, processed 1/2, returned 0/4, freed 0/2")
    assert second == "   0:00  kill -9 kafka"
    assert len(bars) == 6
    assert bars[2].endswith("1/2       preview and metadata made there")
