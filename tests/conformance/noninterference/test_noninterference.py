from __future__ import annotations

import asyncio
import difflib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, note, settings

from tests.conformance.kernel.linux import fast_folder
from tests.conformance.noninterference import histories
from tests.conformance.noninterference.alice import Alice, without_chance
from tests.conformance.noninterference.house import House

if TYPE_CHECKING:
    from collections.abc import Sequence

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=3000)
FOLDER = fast_folder()


async def received(
    folder: Path,
    steps: Sequence[histories.Step],
    bobs: Sequence[Sequence[histories.Hidden]],
) -> list[str]:
    """Return all that alice receives in a history."""
    async with House(folder) as house:
        alice = Alice(house)
        alice.prepare()
        await house.carry()
        await alice.begin()
        for step, hidden in zip(steps, bobs, strict=False):
            for operation in hidden:
                alice.hidden(operation)
            await house.carry()
            await alice.step(step)
        await alice.end()
    return list(without_chance(alice.received))


async def _both(folder: Path, pair: histories.Pair) -> list[list[str]]:
    return await asyncio.gather(
        received(folder / "one", pair.steps, pair.one),
        received(folder / "other", pair.steps, pair.other),
    )


def difference(pair: histories.Pair) -> str:
    """Return how what alice receives differs between the two histories; empty: not at all."""
    folder = Path(tempfile.mkdtemp(prefix="noninterference-", dir=FOLDER))
    try:
        one, other = asyncio.run(_both(folder, pair))
    finally:
        shutil.rmtree(folder)
    lines = [[line for text in side for line in text.splitlines()] for side in (one, other)]
    return "\n".join(difflib.unified_diff(*lines, lineterm="", n=1))


@QUICK
@given(histories.PAIRS)
def test_what_is_hidden_leaves_no_trace(pair: histories.Pair) -> None:
    """Whatever bob does where alice may not look, she receives the same bytes."""
    found = difference(pair)
    note(found)
    assert not found


@pytest.mark.conformance
@pytest.mark.timeout(4 * 3600)
@LONG
@given(histories.PAIRS)
def test_what_is_hidden_leaves_no_trace_ever(pair: histories.Pair) -> None:
    """The long form."""
    assert not difference(pair)
