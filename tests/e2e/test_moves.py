"""Moves between two watched directories amid other traffic: both halves, side by side."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local import stack as local
from tests.e2e.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.listener import Heard, Listener
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e]

LOGIN = ("alice", local.password("alice"))


def halves(heard: list[Heard]) -> list[tuple[Heard, Heard]]:
    """Return the events with a cookie as pairs of neighbours.

    Every event with a cookie must be in such a pair: FROM, and right behind it its TO.
    """
    pairs = []
    at = 0
    while at < len(heard):
        if "cookie" not in heard[at].event:
            at += 1
            continue
        first, second = heard[at : at + 2]
        assert (first.flag, second.flag) == ("IN_MOVED_FROM", "IN_MOVED_TO")
        assert first.event["cookie"] == second.event["cookie"]
        pairs.append((first, second))
        at += 2
    return pairs


@pytest.mark.timeout(900)
@pytest.mark.parametrize("moves", [100, pytest.param(1000, marks=pytest.mark.conformance)])
def test_both_halves_of_a_move_stand_side_by_side(
    moves: int, stack: Stack, directory: str, listener: Callable[..., Listener]
) -> None:
    """FROM then TO, one cookie, however busy both directories are; each cookie once."""
    ends = [f"{directory}/one", f"{directory}/other"]
    with httpx.Client(base_url=stack.webdav_url, auth=LOGIN, timeout=60) as client:
        for each in ends:
            client.request("MKCOL", each).raise_for_status()
        ear = listener()
        for each in ends:
            assert ear.watch(each).status_code == 201
        ear.start()
        traffic = Traffic(stack.webdav_url, LOGIN, ends, seed=random.randrange(1 << 32), writers=2)
        traffic.allow(1 << 30)
        traffic.start()
        expected = []
        try:
            client.put(f"{ends[0]}/it-0", content=b"x").raise_for_status()
            for move in range(moves):
                old, new = f"it-{move}", f"it-{move + 1}"
                here, there = ends[move % 2], ends[(move + 1) % 2]
                headers = {"Destination": f"{stack.webdav_url}{there}/{new}"}
                client.request("MOVE", f"{here}/{old}", headers=headers).raise_for_status()
                expected.append((here, old, there, new))
        finally:
            traffic.stop()
        client.request("MKCOL", f"{ends[0]}/the-end").raise_for_status()
    assert ear.wait(lambda: bool(ear.heard) and ear.heard[-1].name == "the-end", timeout_s=60)
    pairs = halves(ear.heard)
    ours = [
        (first.path, first.name, second.path, second.name)
        for first, second in pairs
        if first.name.startswith("it-")
    ]
    assert ours == expected
    cookies = [first.event["cookie"] for first, _ in pairs]
    assert len(set(cookies)) == len(cookies)
    others = len(ear.heard) - 2 * moves
    print(f"{moves} moves amid {others} other events, {len(pairs) - moves} other moves")
    assert others > moves / 2
