"""Deadlines of requests: what is late ends at its own, and nothing else does."""

from __future__ import annotations

import asyncio

import pytest

from annals.workers.api.serving.deadlines import Deadlines, OverdueError

NEVER_S = 3_600


async def in_time() -> str:
    await asyncio.sleep(0)
    return "answer"


async def stuck() -> None:
    await asyncio.Event().wait()


def after(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_what_comes_in_time_is_returned_and_leaves_nothing():
    deadlines = Deadlines()
    assert await deadlines.within(after(NEVER_S), in_time()) == "answer"
    assert not deadlines._due


async def test_each_ends_at_its_own_deadline_whichever_was_begun_first():
    deadlines = Deadlines()
    late = asyncio.create_task(deadlines.within(after(NEVER_S), stuck()))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(OverdueError):
            await deadlines.within(after(0.01), stuck())
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert not late.done()
    second = asyncio.create_task(deadlines.within(after(0.01), stuck()))  # the timer goes on to the ones behind it
    with pytest.raises(OverdueError):
        await second
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert not deadlines._due


async def test_who_is_gone_cancels_an_answer_also_when_it_is_overdue():
    deadlines = Deadlines()
    asked = asyncio.create_task(deadlines.within(after(0), stuck()))
    await asyncio.sleep(0)
    deadlines._look()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not deadlines._overdue


async def test_an_error_of_the_answer_is_its_own():
    async def fails() -> None:
        raise TimeoutError("a broker's")

    with pytest.raises(TimeoutError, match="a broker's"):
        await Deadlines().within(after(NEVER_S), fails())


async def test_an_answer_that_comes_all_the_same_is_taken_and_the_task_goes_on():
    async def stubborn() -> str:
        try:
            await stuck()
        except asyncio.CancelledError:
            return "answer"
        return "nothing"

    assert await Deadlines().within(after(0), stubborn()) == "answer"
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
