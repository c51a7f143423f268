"""The commands of one partition, delivered from Kafka's log in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.ports import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.workers.memory.partition import PartitionLog

FETCH_RECORDS: Final = 500


class MemoryCommandSource:
    """Delivers a command partition (the `CommandSource` port). Nothing is fetched before `deliver_from`.

    offer: takes what a fetch brought. `fetch` has the source look for more: nothing else tells it of new records.
    is_damaged: False, and for a test to set.
    """

    def __init__(self, log: PartitionLog, topic: str, partition: int, offer: Callable[[Delivery], None]) -> None:
        """Begin closed."""
        self.generation = 0
        self._log = log
        self._partition = (topic, partition)
        self._offer = offer
        self._is_open = self.is_paused = self.is_damaged = False
        self._position = self._delivered_until = 0

    def deliver_from(self, offset: int) -> None:
        """Deliver from this offset on. What was fetched before belongs to an older generation."""
        self.generation += 1
        self._position = self._delivered_until = offset
        self._is_open, self.is_paused = True, False
        self.fetch()

    def decided_until(self, next_offset: int) -> int:
        """Return the offset below which all is decided if all commands below another one are."""
        return max(next_offset, self._position) if self._delivered_until <= next_offset else next_offset

    def pause(self) -> None:
        """Fetch no more for the time being."""
        self.is_paused = True

    def resume(self) -> None:
        """Fetch again."""
        self.is_paused = False
        self.fetch()

    def fetch(self) -> None:
        """Deliver what is new, in a later turn of the event loop, as a fetch from brokers would."""
        asyncio.get_running_loop().call_soon(self._fetch, self.generation)

    def _fetch(self, generation: int) -> None:
        if generation != self.generation or self.is_paused or not self._is_open:
            return
        if not self._log.start <= self._position <= self._log.end:
            self._is_open = False
            self._offer(Delivery(*self._partition, generation, ()))
            return
        records, self._position = self._log.committed(self._position, FETCH_RECORDS)
        if records:
            self._delivered_until = records[-1].offset + 1
            self._offer(Delivery(*self._partition, generation, records))
            self.fetch()
