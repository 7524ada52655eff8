"""Background tasks end, also when a cancellation is lost on the way."""

from __future__ import annotations

import asyncio

from schemas import tasks


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    lost = 0

    async def work() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1

    task = asyncio.create_task(work())
    await asyncio.sleep(0)

    await asyncio.wait_for(tasks.end([task]), 30)

    assert lost == 1
    assert task.cancelled()


async def test_what_has_ended_is_left_alone() -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    task = asyncio.create_task(fail())
    await asyncio.wait({task})

    await tasks.end([task])

    assert isinstance(task.exception(), ValueError)
