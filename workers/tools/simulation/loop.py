"""An event loop with virtual time, whose order of ready callbacks a seed chooses.

Nothing waits: when no callback is ready, the time jumps to the next timer. Together with a random number generator that
only the history uses, the same seed gives the same history.

A third of a history's time was asyncio's own step and its timers, which compare themselves in Python: here a timer is
found by a pair of its time and itself. In all that a history can see, the step is asyncio's.
"""

from __future__ import annotations

import asyncio
import heapq
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from contextvars import Context

SHUFFLED: Final = 0.5  # of the rounds in which several callbacks are ready
PER_SECOND: Final = 2_000  # of the exponential distribution of what a thread takes
AT_ONCE_S: Final = 1e-9  # timers that are so near are due at the same time
FEW_TIMERS: Final = 100  # of which cancelled ones are taken out when it is their time
MOST_CANCELLED: Final = 0.5  # of more timers


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one history."""

    _closed: bool
    _ready: Any

    def __init__(self, rng: random.Random) -> None:
        """Begin at 0 seconds."""
        self._rng = rng
        self._now = 0.0
        self._timers: list[tuple[float, Any]] = []
        self._cancelled_timers = 0
        self.steps = 0
        super().__init__()

    def time(self) -> float:
        """Return the seconds since the history began."""
        return self._now

    def call_at(  # type: ignore[override] # the same, in fewer words
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something at a time."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer: Any = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        timer._scheduled = True  # noqa: SLF001 - asked for when it is cancelled; a timer offers nothing else for it
        return timer  # type: ignore[no-any-return] # see above

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

    def close(self) -> None:
        """Forget all that is left."""
        super().close()
        self._timers.clear()

    def _run_once(self) -> None:
        """Do what is ready, in an order that the seed chooses; if nothing is, let the time pass until something is."""
        self.steps += 1
        ready, timers = self._ready, self._timers
        if not ready:
            self._drop_cancelled(timers)
            if timers:
                self._now = max(self._now, timers[0][0])
        elif len(ready) > 1 and self._rng.random() < SHUFFLED:
            waiting = list(ready)
            self._rng.shuffle(waiting)
            ready.clear()
            ready.extend(waiting)
        if len(timers) > FEW_TIMERS and self._cancelled_timers > MOST_CANCELLED * len(timers):
            self._timers = timers = self._not_cancelled(timers)
        else:
            self._drop_cancelled(timers)
        until = self._now + AT_ONCE_S
        while timers and timers[0][0] < until:
            _, timer = heapq.heappop(timers)
            timer._scheduled = False  # noqa: SLF001
            ready.append(timer)
        for _ in range(len(ready)):  # what comes meanwhile is for the next step
            handle = ready.popleft()
            if not handle._cancelled:  # noqa: SLF001
                handle._run()  # noqa: SLF001

    def _drop_cancelled(self, timers: list[tuple[float, Any]]) -> None:
        """Take out what is cancelled and would come next."""
        while timers and timers[0][1]._cancelled:  # noqa: SLF001
            heapq.heappop(timers)[1]._scheduled = False  # noqa: SLF001
            self._cancelled_timers -= 1

    def _not_cancelled(self, timers: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        """Return the timers that are not cancelled: most are."""
        kept = []
        for each in timers:
            if each[1]._cancelled:  # noqa: SLF001
                each[1]._scheduled = False  # noqa: SLF001
            else:
                kept.append(each)
        heapq.heapify(kept)
        self._cancelled_timers = 0
        return kept

    def _timer_handle_cancelled(self, handle: Any) -> None:
        """Hear of a timer that is cancelled, before its time or behind it."""
        self._cancelled_timers += handle._scheduled  # noqa: SLF001

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""

    def _process_events(self, event_list: Any) -> None:
        """There are no files."""
