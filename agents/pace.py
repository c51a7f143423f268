"""How fast a writer may go: how much a transaction of it may hold, and the time that the brokers ask it to wait."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from annals.agents.ports import FencedError, OutlastedError, RefusedSizeError
from annals.agents.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from structlog.typing import FilteringBoundLogger

    from annals.agents.ports import Clock

QUICK_S: Final = 2.5  # a commit this quick could be of twice as much: a transaction may last four times as long
SAID_FROM_S: Final = 1.0  # a shorter wait is not worth a word
REFUSED_S: Final = 60.0  # what a topic refused is not tried again before: each refusal is a transaction and an opening


class Limit:
    """How many a batch may have, for one cause. reason: what was too much; empty at full size."""

    def __init__(self, full: int) -> None:
        """Begin at full size."""
        self._full = self.most = full
        self.reason = ""

    def halve(self, count: int) -> None:
        """Have half of so many, which were too many."""
        self.most = max(1, min(count, self._full) // 2)

    def double(self) -> None:
        """Have twice as many, up to the full size."""
        self.most = min(2 * self.most, self._full)
        if self.most == self._full:
            self.reason = ""


class Pace:
    """Halves a writer's batches that outlast their transaction or are too large, and doubles them; obeys quotas.

    Time and size have limits of their own: a quick commit says that there is time for more, and nothing of what a topic
    takes.
    """

    def __init__(
        self,
        clock: Clock,
        log: FilteringBoundLogger,
        full: int,
        of: str = "commands",
        most_of_other: Callable[[], int] | None = None,
    ) -> None:
        """Begin at full size; of: what batches consist of; most_of_other: returns another limit, of another writer."""
        self._clock = clock
        self._time, self._size = Limit(full), Limit(full)
        self._refused_at = -REFUSED_S
        self._full = full
        self._most_of_other = most_of_other or (lambda: full)
        self._of = of
        self._log: Any = log
        self._waiting = 0
        self._throttled = ""
        self.failure = ""
        """Why the last transaction failed; empty once one is committed."""

    def beside(self, **names: str) -> Pace:
        """Return the pace of another writer, whose rest this one takes over: it has no more than this one may have.

        What it may have besides says nothing of this one: its topics are others. names: of it, for the log.
        """
        return Pace(self._clock, self._log.bind(**names), self._full, self._of, lambda: self.most)

    @property
    def most(self) -> int:
        """How many the next batch may have."""
        return min(self._time.most, self._size.most, self._most_of_other())

    @property
    def trouble(self) -> str:
        """What slows the writer down now, for those who ask whether it is ready; empty if nothing does."""
        return self._throttled or self._size.reason or self._time.reason

    @property
    def is_full(self) -> bool:
        """Whether the next batch may have its full size."""
        return self.most == self._full

    def part_of(self, number: int) -> int:
        """Return as much of a number as a batch may have of its full size; 1 where it may have 1."""
        return 1 if self.most == 1 else max(1, number * self.most // self._full)

    @contextmanager
    def committing(self, count: int, throttled_s: Callable[[], float]) -> Iterator[None]:
        """Note how a transaction of so many ends; throttled_s: returns what the brokers ask to wait behind it."""
        began = self._clock.monotonic()
        try:
            yield
        except Exception as error:
            self.failed(count, error)
            raise
        self.committed(self._clock.monotonic() - began, throttled_s())

    def failed(self, count: int, error: BaseException) -> bool:
        """Note why; halve the batches if one of so many took longer than it may, or was refused for its size.

        Returns whether the next one will be smaller.
        """
        self.failure = str(error)
        if isinstance(error, RefusedSizeError):
            self._refused_at = self._clock.monotonic()
            limit, what, until = self._size, "is refused for its size", "a topic takes more"
        elif isinstance(error, OutlastedError) or (isinstance(error, FencedError) and error.outlasted):
            limit, what, until = self._time, "took longer than a transaction may", "commits are quick again"
        else:
            return False
        limit.halve(count)
        limit.reason = (
            f"a batch of {count} {self._of} {what}; batches are halved to {limit.most} until {until}: {error}"
        )
        self._log.warning("batches halved", **{self._of: count}, next=self.most, error=str(error))
        return self.most < count

    def committed(self, commit_s: float, wait_s: float) -> None:
        """Double the batches after a quick commit, unless the brokers ask to wait, or a topic refused more lately."""
        self.failure = ""
        if self.most == self._full or commit_s > QUICK_S or wait_s > 0:
            return
        self._time.double()
        if self._clock.monotonic() - self._refused_at >= REFUSED_S:
            self._size.double()
        if self.is_full:
            self._log.info("batches have their full size again", **{self._of: self.most})

    async def obey(self, wait_s: float, stopping: asyncio.Event | None = None) -> None:
        """Wait as long as the brokers ask for, or until somebody stops it."""
        if wait_s <= 0:
            return
        if wait_s < SAID_FROM_S:
            await _wait(wait_s, stopping)
            return
        self._throttled = (
            f"the brokers throttle this worker's writes for {wait_s:.0f} s: a quota of its user or client id is too "
            f"low (producer_byte_rate or request_percentage)"
        )
        self._log.warning("writes are throttled by a quota", wait_s=round(wait_s, 1))
        self._waiting += 1
        try:
            await _wait(wait_s, stopping)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._throttled = ""


async def _wait(wait_s: float, stopping: asyncio.Event | None) -> None:
    if stopping is None:
        await asyncio.sleep(wait_s)
    else:
        await first_of(stopping.wait(), timeout_s=wait_s)
