"""Journal records that were fetched and not read: bounded by pausing the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from annals.agents.folding.turns import TURN_RECORDS, length_of_turn
from annals.agents.ports import StaleStateError
from annals.agents.reading.ports import FollowedRecord
from annals.agents.waiting_records import WaitingRecords
from annals.topics.carried import carried_headers

if TYPE_CHECKING:
    from annals.agents.ports import CommandSource, Delivery


class RecordQueue:
    """The records of one partition, in its order."""

    def __init__(self, source: CommandSource) -> None:
        """Begin empty."""
        self._source = source
        self._waiting = WaitingRecords(source)
        self._arrived = asyncio.Event()
        self._failure: Exception | None = None

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._waiting.records)

    @property
    def damage(self) -> str:
        """Why what is behind these records cannot be read; empty if nothing is wrong."""
        return self._waiting.damage

    @property
    def oldest_ms(self) -> int | None:
        """The timestamp of the record that is read next; None if none waits."""
        return self._waiting.records[0].timestamp if self._waiting.records else None

    def begin(self, offset: int) -> None:
        """Forget what waits, and take deliveries from an offset on."""
        self._failure = None
        self._waiting.begin(offset)

    def put(self, delivery: Delivery) -> None:
        """Take a delivery, unless it was fetched before the last `begin`."""
        if delivery.generation != self._source.generation:
            return
        if not delivery.records and not delivery.damage:
            self.fail(StaleStateError("the offset to go on from is not in the journal"))
        self._waiting.put(delivery)
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Raise an exception where records are taken."""
        self._failure = error
        self._arrived.set()

    def wake(self) -> None:
        """End the waiting once, and have what could not be read be fetched again."""
        self._waiting.look_again()
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something has come."""
        await self._arrived.wait()

    def take(self, most: int = TURN_RECORDS) -> list[FollowedRecord]:
        """Return the next records, as many as one turn may have."""
        self._arrived.clear()
        if self._failure is not None:
            raise self._failure
        taken = self._waiting.take(length_of_turn(self._waiting.records, most))
        return [
            FollowedRecord(
                record.offset, record.key, record.value, carried_headers(record.headers) if record.headers else ()
            )
            for record in taken
        ]
