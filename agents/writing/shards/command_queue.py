"""What waits for a shard: bounded in bytes by pausing its source, taken in batches as large as there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.ports import StaleStateError
from annals.agents.waiting_records import WaitingRecords

if TYPE_CHECKING:
    from annals.agents.ports import CommandRecord, CommandSource, Delivery

BATCH_RECORDS: Final = 3_000  # about 0.1 s of deciding, so that no other shard and no heartbeat waits longer
BATCH_BYTES: Final = 4 << 20


class CommandQueue:
    """The commands that were fetched and are not decided."""

    def __init__(self, source: CommandSource) -> None:
        """Begin empty and paused: the shard says from where."""
        self._source = source
        self._waiting = WaitingRecords(source)
        self._arrived = asyncio.Event()
        self._stale_state: StaleStateError | None = None
        self._is_woken = False

    def __len__(self) -> int:
        """Return how many commands wait."""
        return len(self._waiting.records)

    @property
    def damage(self) -> str:
        """Why the commands behind these cannot be read; empty if nothing is wrong."""
        return self._waiting.damage

    def look_again(self) -> None:
        """Have what could not be read be fetched again."""
        self._waiting.look_again()

    def decided_until(self, next_offset: int) -> int:
        """Return the offset below which all is decided if all commands below another one are."""
        return next_offset if self._waiting.records else self._source.decided_until(next_offset)

    def begin(self, offset: int) -> None:
        """Forget what waits, and take deliveries from an offset on."""
        self.clear()
        self._waiting.begin(offset)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._arrived.clear()
        self._stale_state = None

    def put(self, delivery: Delivery) -> None:
        """Take a delivery, unless it was fetched before the last `begin`."""
        if delivery.generation != self._source.generation:
            return
        if not delivery.records and not delivery.damage:
            self.invalidate("the next command is not in the topic any more")
        self._waiting.put(delivery)
        self._arrived.set()

    def invalidate(self, why: str) -> None:
        """Let nothing more be taken before the next `begin`."""
        self._stale_state = StaleStateError(why)
        self._arrived.set()

    def wake(self) -> None:
        """End the waiting once, also with nothing there."""
        self._is_woken = True
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something is there, or must not be taken."""
        while not self._waiting.records and self._stale_state is None and not self._is_woken:
            self._arrived.clear()
            await self._arrived.wait()

    def take(self, first: int, most: int = BATCH_RECORDS) -> list[CommandRecord]:
        """Take as much of what is there as one batch may hold, and at most so many commands.

        first: the next offset to decide. What was delivered anew while its transaction was still in flight is left out.

        Raises:
            StaleStateError: what waits must not be decided before everything was read again.
        """
        self._is_woken = False
        if self._stale_state is not None:
            raise self._stale_state
        sizes = self._waiting.sizes[:most]
        size = sum(sizes)
        while size > BATCH_BYTES and len(sizes) > 1:
            size -= sizes.pop()
        taken = self._waiting.take(len(sizes))
        if taken and taken[0].offset < first:
            return [record for record in taken if record.offset >= first]
        return taken
