"""A signal is waited for as an `asyncio.Event` is."""

from __future__ import annotations

import asyncio

import pytest

from api.signal import Signal


async def test_all_who_wait_are_woken_once_it_is_set() -> None:
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    signal.set()
    await asyncio.gather(*waiting)
    await signal.wait()
    assert signal.is_set()


async def test_after_clearing_it_is_waited_for_again() -> None:
    signal = Signal()
    signal.set()
    signal.clear()
    assert not signal.is_set()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.set()
    await waiting


async def test_set_and_cleared_at_once_it_still_wakes_who_waited() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    await waiting


async def test_one_who_gives_up_leaves_the_others_waiting() -> None:
    signal = Signal()
    patient = asyncio.create_task(signal.wait())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(signal.wait(), 0.01)
    assert not patient.done()
    signal.set()
    await patient
