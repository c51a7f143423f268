"""A cancellation is told apart: of the task itself, or only of what it waits for."""

import asyncio

from annals.agents.cancellation import is_task_cancelled


async def told_by(cancel) -> bool:
    """What a task finds that waits for a future, when `cancel` (of task and future) has cancelled one of them."""
    future = asyncio.get_running_loop().create_future()

    async def waiting() -> bool:
        try:
            await future
        except asyncio.CancelledError:
            return is_task_cancelled()
        return False

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    cancel(task, future)
    return await task


async def test_a_task_that_was_cancelled_is_told_to_end() -> None:
    assert await told_by(lambda task, future: task.cancel())


async def test_a_task_whose_future_a_client_cancelled_is_not() -> None:
    assert not await told_by(lambda task, future: future.cancel())


async def test_a_task_of_which_both_were_cancelled_is_told_to_end() -> None:
    assert await told_by(lambda task, future: (future.cancel(), task.cancel()))


def test_outside_of_a_task_nobody_else_can_be_meant() -> None:
    loop = asyncio.new_event_loop()
    told: list[bool] = []
    loop.call_soon(lambda: told.append(is_task_cancelled()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert told == [True]
