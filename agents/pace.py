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

QUICK_S: Final = 2.5  # a commit this quick could be of twice as much: a transaction may last four times as long
SAID_FROM_S: Final = 1.0  # a shorter wait is not worth a word


class Pace:
    """Halves batches that outlast their transaction or are too large, and doubles them again; obeys quotas.

    most: how many the next batch may have. Writers of one partition may share it: a quota holds for all of them.
    """

    def __init__(self, log: FilteringBoundLogger, full: int, of: str = "commands") -> None:
        """Begin at full size; of: what batches consist of."""
        self.most = full
        self._full = full
        self._of = of
        self._log: Any = log
        self._waiting = 0
        self._halved = self._throttled = ""
        self.failure = ""
        """Why the last transaction failed; empty once one is committed."""

    @property
    def trouble(self) -> str:
        """What slows the writer down now, for those who ask whether it is ready; empty if nothing does."""
        return self._throttled or self._halved

    @property
    def is_full(self) -> bool:
        """Whether the next batch may have its full size."""
        return self.most == self._full

    def part_of(self, number: int) -> int:
        """Return as much of a number as a batch may have of its full size, at least 1."""
        return max(1, number * self.most // self._full)

    @contextmanager
    def committing(self, count: int, throttled_s: Callable[[], float]) -> Iterator[None]:
        """Note how a transaction of so many ends; throttled_s: returns what the brokers ask to wait behind it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        except Exception as error:
            self.failed(count, error)
            raise
        self.committed(loop.time() - began, throttled_s())

    def failed(self, count: int, error: BaseException) -> None:
        """Note why; halve the batches if one of so many took longer than it may, or was refused for its size."""
        self.failure = str(error)
        if isinstance(error, RefusedSizeError):
            what, until = "is refused for its size", "a topic takes more"
        elif isinstance(error, OutlastedError) or (isinstance(error, FencedError) and error.outlasted):
            what, until = "took longer than a transaction may", "commits are quick again"
        else:
            return
        self.most = max(1, min(count, self._full) // 2)
        self._halved = f"a batch of {count} {self._of} {what}; batches are halved to {self.most} until {until}: {error}"
        self._log.warning("batches halved", **{self._of: count}, next=self.most, error=str(error))

    def committed(self, commit_s: float, wait_s: float) -> None:
        """Double the batches after a quick commit, up to their full size, unless the brokers ask to wait behind it."""
        self.failure = ""
        if self.most == self._full or commit_s > QUICK_S or wait_s > 0:
            return
        self.most = min(2 * self.most, self._full)
        if self.most == self._full:
            self._halved = ""
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
