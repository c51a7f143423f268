"""Deadlines of requests: one timer for all of them. One for each costs more than most answers take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


class OverdueError(Exception):
    """It was cancelled at its deadline."""


class Deadlines:
    """Cancels what takes too long. A task has one deadline at a time."""

    def __init__(self) -> None:
        """Begin with nothing that is waited for."""
        self._due: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, deadline: float, answer: Awaitable[T]) -> T:
        """Return an answer, awaited by the running task. deadline: of the event loop's clock.

        Raises:
            OverdueError: it did not come by then. Whoever else cancels the task cancels it as ever.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        if self._timer is None or deadline < self._timer.when():
            self._look_at(deadline)
        self._due[task] = deadline
        others = task.cancelling()
        try:
            return await answer
        except asyncio.CancelledError:
            if task in self._overdue and task.cancelling() == others + 1:
                raise OverdueError from None
            raise
        finally:
            del self._due[task]
            if task in self._overdue:
                self._overdue.remove(task)
                task.uncancel()

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for task, deadline in self._due.items():
            if deadline <= now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        left = [deadline for task, deadline in self._due.items() if task not in self._overdue]
        if left:
            self._look_at(min(left))
