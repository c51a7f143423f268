"""How fast a shard may go: the commands that a batch may have, and the time that the brokers ask it to wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from annals.agents.ports import FencedError, OutlastedError
from annals.agents.writing.command_queue import BATCH_RECORDS

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

QUICK_S: Final = 2.5  # a commit this quick could be of twice as much: a transaction may last four times as long
SAID_FROM_S: Final = 1.0  # a shorter wait is not worth a word


class Pace:
    """Halves batches that outlast their transaction, and doubles them again; waits where a quota asks for it."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        """Begin at full size."""
        self.most = BATCH_RECORDS
        """How many commands the next batch may have."""
        self.trouble = ""
        """What slows the shard down now, for those who ask whether it is ready; empty if nothing does."""
        self._log: Any = log

    def failed(self, commands: int, error: BaseException) -> None:
        """Halve the batches if one of so many commands took longer than a transaction may."""
        if isinstance(error, OutlastedError) or (isinstance(error, FencedError) and error.outlasted):
            self.most = max(1, commands // 2)
            self.trouble = (
                f"a batch of {commands} commands took longer than a transaction may; batches are halved to {self.most} "
                f"until commits are quick again: {error}"
            )
            self._log.warning("batches halved", commands=commands, next=self.most, error=str(error))

    def committed(self, commit_s: float, wait_s: float) -> None:
        """Double the batches after a quick commit, up to their full size, unless the brokers ask to wait behind it."""
        if self.most == BATCH_RECORDS or commit_s > QUICK_S or wait_s > 0:
            return
        self.most = min(2 * self.most, BATCH_RECORDS)
        if self.most == BATCH_RECORDS:
            self.trouble = ""
            self._log.info("batches have their full size again", commands=self.most)

    async def obey(self, wait_s: float) -> None:
        """Wait as long as the brokers ask for."""
        if wait_s <= 0:
            return
        if wait_s < SAID_FROM_S:
            await asyncio.sleep(wait_s)
            return
        before = self.trouble
        self.trouble = (
            f"the brokers throttle this worker's writes for {wait_s:.0f} s: a quota of its user or client id is too "
            f"low (producer_byte_rate or request_percentage)"
        )
        self._log.warning("writes are throttled by a quota", wait_s=round(wait_s, 1))
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.trouble = before
