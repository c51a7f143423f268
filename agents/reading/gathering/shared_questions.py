"""Questions that several ask at the same moment are put once, as those of streams that stand at the same place.

A stream waits at every partition. If each put its own question to the worker that has one, a few streams would take all
connections between two workers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from annals.agents.waiting import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterable

T = TypeVar("T")


class SharedQuestions:
    """The questions that are being asked, by what distinguishes them, and how many wait for each answer."""

    def __init__(self) -> None:
        """Begin with none."""
        self._asked: dict[Hashable, tuple[asyncio.Task[Any], int]] = {}

    def begin(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the task that asks, which others may wait for, too. `leave` ends waiting for it."""
        task, askers = self._asked.get(key, (None, 0))
        if task is None or task.done():  # what was answered rests on what was there then
            task, askers = asyncio.create_task(ask()), 0
            task.add_done_callback(_seen)
        self._asked[key] = task, askers + 1
        return task

    async def leave(self, left: Iterable[tuple[Hashable, asyncio.Task[Any]]]) -> None:
        """Wait for some no longer; a question for whose answer nobody waits ends."""
        unwanted = []
        for key, task in left:
            asked, askers = self._asked.get(key, (None, 0))
            if asked is not task:
                continue
            if askers > 1:
                self._asked[key] = task, askers - 1
            else:
                del self._asked[key]
                unwanted.append(task)
        await ended(*unwanted)

    async def ask(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer to a question that others may be asking already."""
        task = self.begin(key, ask)
        try:
            return await asyncio.shield(task)
        finally:
            await self.leave([(key, task)])


def _seen(task: asyncio.Task[Any]) -> None:
    """Take an error as read: who waited for it may have gone."""
    if not task.cancelled():
        task.exception()
