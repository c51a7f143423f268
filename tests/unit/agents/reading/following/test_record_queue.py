"""What waits for a reading shard is bounded in bytes of all that it holds."""

import pytest

from annals.agents.folding.turns import TURN_BYTES
from annals.agents.ports import Delivery
from annals.agents.reading.following.record_queue import RecordQueue
from annals.agents.waiting_records import HIGH_BYTES
from following import Fetched, Journal


@pytest.mark.parametrize(
    "record",
    [
        Fetched(0, b"k" * (HIGH_BYTES // 4), b"v"),
        Fetched(0, b"k", b"v" * (HIGH_BYTES // 4)),
        Fetched(0, b"k", b"v", [("h", b"h" * (HIGH_BYTES // 4))]),
        Fetched(0, b"k", b"v", [("h", b"")] * (HIGH_BYTES // 600)),
    ],
    ids=["keys", "values", "headers", "many headers"],
)
def test_a_source_is_paused_whatever_the_bytes_are_in(record: Fetched) -> None:
    journal = Journal()
    queue = RecordQueue(journal)
    queue.begin(0)
    queue.put(Delivery("events.person", 0, journal.generation, [record] * 5))
    assert journal.paused == 1
    taken = 0
    while len(queue):
        taken += len(queue.take())
    assert taken == 5
    assert journal.resumed == 1


def test_what_is_taken_at_once_is_bounded_in_bytes() -> None:
    journal = Journal()
    queue = RecordQueue(journal)
    queue.begin(0)
    records = [Fetched(offset, b"k", bytes(TURN_BYTES // 2)) for offset in range(5)]
    queue.put(Delivery("events.person", 0, journal.generation, records))
    taken = [queue.take() for _ in range(3)]
    assert [[each.offset for each in some] for some in taken] == [[0, 1], [2, 3], [4]]
