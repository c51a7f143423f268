"""A journal's records as those who fold it take them: of a dozen headers the few alone that go on to subscribers.

aiokafka's decoder makes a tuple, a text and bytes of each header: more than all the rest of a record, and as much again
each time that somebody counts the record's bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annals.workers.kafka.protocol.record_batches import batches_of
from annals.workers.kafka.read.carried import carried_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from annals.topics.headers import Header


class FetchedEvent(NamedTuple):
    """A record of a journal (a `CommandRecord`). timestamp: of the first record in its batch; headers: carried ones."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


class JournalBatch:
    """A batch as aiokafka asks for it: aiokafka's own knows what it is, its records are decoded here.

    A record that cannot be read is one without key and value, and the last (`Batch.records`).
    """

    def __init__(self, batch: Any, data: bytes) -> None:
        """Take aiokafka's batch, and its bytes."""
        self._batch = batch
        self._data = data
        self.validate_crc = batch.validate_crc
        self.producer_id = batch.producer_id
        self.base_offset = batch.base_offset
        self.next_offset = batch.next_offset
        self.is_control_batch = batch.is_control_batch
        self.is_transactional = batch.is_transactional

    def __iter__(self) -> Iterator[FetchedEvent]:
        """Yield the records."""
        timestamp = self._batch.first_timestamp
        for batch in batches_of(self._data):
            for offset, key, value, headers in batch.records():
                yield FetchedEvent(offset, timestamp, key, value, carried_of(headers))

    def __next__(self) -> Any:
        """Return the record of a marker."""
        return next(self._batch)
