"""Journal records that were fetched and not read: bounded by pausing the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.folding.turns import length_of_turn
from annals.agents.ports import StaleStateError
from annals.agents.reading.ports import FollowedRecord
from annals.agents.record_sizes import bytes_of
from annals.topics.carried import carried_headers

if TYPE_CHECKING:
    from annals.agents.ports import CommandRecord, CommandSource, Delivery

HIGH_BYTES: Final = 6 << 20  # above, the source is paused; at half of it, it goes on


class RecordQueue:
    """The records of one partition, in its order."""

    def __init__(self, source: CommandSource) -> None:
        """Begin empty."""
        self._source = source
        self._waiting: list[CommandRecord] = []
        self._sizes: list[int] = []  # of those that wait: with a dozen headers each, they are not counted twice
        self._bytes = 0
        self._is_paused = False
        self._arrived = asyncio.Event()
        self._failure: Exception | None = None

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._waiting)

    @property
    def oldest_ms(self) -> int | None:
        """The timestamp of the record that is read next; None if none waits."""
        return self._waiting[0].timestamp if self._waiting else None

    def begin(self, offset: int) -> None:
        """Forget what waits, and take deliveries from an offset on."""
        self._waiting.clear()
        self._sizes.clear()
        self._bytes, self._is_paused, self._failure = 0, False, None
        self._source.deliver_from(offset)

    def put(self, delivery: Delivery) -> None:
        """Take a delivery, unless it was fetched before the last `begin`."""
        if delivery.generation != self._source.generation:
            return
        if not delivery.records:
            self.fail(StaleStateError("the offset to go on from is not in the journal"))
        sizes = [bytes_of(record) for record in delivery.records]
        self._waiting += delivery.records
        self._sizes += sizes
        self._bytes += sum(sizes)
        self._arrived.set()
        if self._bytes > HIGH_BYTES and not self._is_paused:
            self._is_paused = True
            self._source.pause()

    def fail(self, error: Exception) -> None:
        """Raise an exception where records are taken."""
        self._failure = error
        self._arrived.set()

    def wake(self) -> None:
        """End the waiting once."""
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something has come."""
        await self._arrived.wait()

    def take(self) -> list[FollowedRecord]:
        """Return the next records, as many as one batch may have."""
        self._arrived.clear()
        if self._failure is not None:
            raise self._failure
        length = length_of_turn(self._waiting)
        taken, self._waiting = self._waiting[:length], self._waiting[length:]
        self._bytes -= sum(self._sizes[:length])
        del self._sizes[:length]
        if self._is_paused and self._bytes < HIGH_BYTES // 2:
            self._is_paused = False
            self._source.resume()
        return [
            FollowedRecord(record.offset, record.key, record.value, carried_headers(record.headers)) for record in taken
        ]
