"""An event loop with virtual time, whose order of ready callbacks a seed chooses.

Nothing waits: when no callback is ready, the time jumps to the next timer. Together with a random number generator that
only the history uses, the same seed gives the same history.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

SHUFFLED: Final = 0.5  # of the rounds in which several callbacks are ready
PER_SECOND: Final = 2_000  # of the exponential distribution of what a thread takes


class _NoSelector(selectors.BaseSelector):
    """Has no files, and never waits."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        del timeout
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop of one history."""

    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int

    def __init__(self, rng: random.Random) -> None:
        """Begin at 0 seconds."""
        self._rng = rng
        self._now = 0.0
        self.steps = 0
        super().__init__(_NoSelector())

    def time(self) -> float:
        """Return the seconds since the history began."""
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override] # it is no coroutine
        """Do at once what else a thread does, and tell of it a little later: no thread is part of a history."""
        del executor
        future: asyncio.Future[Any] = self.create_future()
        try:
            tell = partial(future.set_result, func(*args))
        except Exception as error:  # noqa: BLE001 - whoever waits has it
            tell = partial(future.set_exception, error)
        self.call_later(self._rng.expovariate(PER_SECOND), lambda: future.done() or tell())
        return future

    def _run_once(self) -> None:
        self.steps += 1
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0].cancelled():
                heapq.heappop(scheduled)._scheduled = False  # noqa: SLF001 - as asyncio's own step does
                self._timer_cancelled_count -= 1
            if scheduled:
                self._now = max(self._now, scheduled[0].when())
        elif len(ready) > 1 and self._rng.random() < SHUFFLED:
            waiting = list(ready)
            self._rng.shuffle(waiting)
            ready.clear()
            ready.extend(waiting)
        super()._run_once()  # type: ignore[misc] # asyncio's own step, which typeshed does not list

    def _make_self_pipe(self) -> None:
        """No other thread wakes this loop."""

    def _close_self_pipe(self) -> None:
        """See `_make_self_pipe`."""

    def _write_to_self(self) -> None:
        """See `_make_self_pipe`."""

    def _process_events(self, event_list: Any) -> None:
        """There are no files."""
