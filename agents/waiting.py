"""Waiting for the first of several things, ending tasks, and working in pieces."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable

    from annals.agents.ports import Clock

T = TypeVar("T")
CANCEL_AGAIN_S: Final = 0.5
LONG_S: Final = 0.02  # of one turn of the event loop


async def first_of(
    *awaited: Coroutine[Any, Any, object], timeout_s: float, tasks: Iterable[asyncio.Task[Any]] = ()
) -> None:
    """Wait until one of several things has come, or the time is over; the others are then waited for no longer.

    tasks: of others, which go on.
    """
    waiting = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait([*waiting, *tasks], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(*waiting)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks until each has ended, however that is.

    Once is not enough where a library takes a cancellation that meets it for that of a task of its own, and whoever
    called it goes on: aiokafka's consumers do so where they stop, and Faust's services.
    """
    while under_way := [task for task in tasks if not task.done()]:
        for task in under_way:
            task.cancel()
        await asyncio.wait(under_way, timeout=CANCEL_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # whoever has to know asked before


async def together(*awaited: Coroutine[Any, Any, Any]) -> list[Any]:
    """Return the results of several things, asked for at once; the first that fails ends the others, and is raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await ended(*tasks)


async def in_turns(items: Iterable[T], most: int) -> AsyncGenerator[list[T], None]:
    """Yield items in lists of at most so many; between two of them whatever else the event loop has to do is done."""
    rest = iter(items)
    while some := list(islice(rest, most)):
        yield some
        await asyncio.sleep(0)


class Turn:
    """A turn of the event loop, by whoever does one thing after another of which nobody knows how long each takes."""

    def __init__(self, clock: Clock) -> None:
        """Begin it."""
        self._clock = clock
        self._began = clock.monotonic()

    async def end_if_long(self) -> None:
        """Have whatever else the event loop has to do be done, where this turn has lasted for LONG_S."""
        if self._clock.monotonic() - self._began >= LONG_S:
            await asyncio.sleep(0)
            self._began = self._clock.monotonic()


async def all_of(calls: Iterable[Callable[[], Awaitable[object]]], most: int) -> None:
    """Make calls, at most so many of them at once; return when all have ended.

    The first that fails has none begin after it, and is raised when those under way have ended.
    """
    waiting = iter(calls)
    failures: list[Exception] = []

    async def work() -> None:
        for call in waiting:
            if failures:
                return
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - it is raised below
                failures.append(error)

    await asyncio.gather(*(work() for _ in range(most)))
    if failures:
        raise failures[0]
