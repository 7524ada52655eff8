from __future__ import annotations

import asyncio
import difflib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.conformance.kernel.linux import fast_folder
from tests.conformance.noninterference import histories, scenes
from tests.conformance.noninterference.alice import Alice, without_chance
from tests.conformance.noninterference.house import House
from tests.conformance.noninterference.others import Others

if TYPE_CHECKING:
    from collections.abc import Sequence

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHARDS = 8
CASES = 500
LONG = settings(QUICK, max_examples=-(-CASES // len(scenes.SCENES)), database=None)
GROUND = histories.Ground(("mode", "acl"), "mode", ("mode", "group"))
FOLDER = fast_folder()


async def received(
    folder: Path,
    pair: histories.Pair,
    bobs: Sequence[Sequence[histories.Hidden]],
) -> list[str]:
    """Return all that alice receives in a history."""
    async with House(folder) as house:
        alice = Alice(house, pair.ground)
        await house.carry()
        await alice.begin()
        for step, hidden in zip(pair.steps, bobs[: len(pair.steps)], strict=True):
            await alice.step(step, hidden)
        await alice.end()
    return list(without_chance(alice.received))


async def _both(folder: Path, pair: histories.Pair) -> list[list[str]]:
    return await asyncio.gather(
        received(folder / "one", pair, pair.one),
        received(folder / "other", pair, pair.other),
    )


def difference(pair: histories.Pair) -> str:
    """Return how what alice receives differs between the two histories; empty: not at all."""
    folder = Path(tempfile.mkdtemp(prefix="noninterference-", dir=FOLDER))
    try:
        one, other = uvloop.run(_both(folder, pair))
    finally:
        shutil.rmtree(folder)
    lines = [[line for text in side for line in text.splitlines()] for side in (one, other)]
    return "\n".join(difflib.unified_diff(*lines, lineterm="", n=1))


@QUICK
@given(scenes.PAIRS)
def test_what_is_hidden_leaves_no_trace(pair: histories.Pair) -> None:
    """Whatever bob does where alice may not look, she receives the same bytes."""
    found = difference(pair)
    note(found)
    assert not found


ALL_OF_IT = (
    *(f"hidden {kind}" for kind in histories.HIDDEN_KINDS),
    *(f"visible {kind}" for kind in (*histories.VISIBLE_KINDS, "out", "in", "close")),
    *(f"closed by {way}" for way in (*histories.WAYS_TO_CLOSE, "move")),
    "reopened", "moved back", "came back with id", "came back with cursor",
    "came back with nothing", "subscribed recursive", "subscribed snapshot", "subscribed details",
    "answered GET 200", "answered GET 400", "answered GET 404", "answered POST 201",
    "answered POST 303", "answered POST 400", "answered POST 403", "answered POST 404",
    "answered DELETE 200", "answered DELETE 204", "answered DELETE 404",
    "answered DAV PROPFIND 207", "answered DAV LOCK 200", "answered DAV LOCK 201",
    "answered DAV LOCK 403", "answered DAV DELETE 204", "answered DAV DELETE 403",
    "answered DAV DELETE 423", "answered DAV PUT 201", "answered DAV MKCOL 201",
    "answered DAV MOVE 201", "answered DAV COPY 201", "answered DAV GET 200",
    "answered DAV HEAD 200", "answered DAV OPTIONS 200",
)  # fmt: skip
"""What must have happened, else the histories show less than they say."""


def _missing() -> list[str]:
    return [what for what in ALL_OF_IT if not Others.done[what]]


def test_the_scenes_show_all_of_it() -> None:
    """Each thing that should be compared happens in a scene, and is not left to chance."""
    Others.done.clear()
    for scene in scenes.SCENES:
        nothing: list[list[histories.Hidden]] = [[] for _ in scene.steps]
        assert not difference(scenes.begun(scene, [], nothing, nothing, GROUND)), scene
    assert not _missing()


@pytest.mark.conformance
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_what_is_hidden_leaves_no_trace_ever(shard: int) -> None:
    """The long form, in parts that may run beside each other (`-k 'ever and 3'`)."""
    Others.done.clear()
    cases = 0
    for scene in scenes.SCENES:

        @LONG
        @given(scenes.pairs(st.just(scene)))
        def no_difference(pair: histories.Pair) -> None:
            nonlocal cases
            cases += 1
            found = difference(pair)
            note(found)
            assert not found

        no_difference()
    print(*sorted(f"{count} {what}" for what, count in Others.done.items()), sep="\n")
    print(f"{cases} cases in shard {shard}")
    assert cases >= CASES
    assert not _missing()
