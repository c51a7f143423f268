"""What is folded in one turn of the event loop: bounded in records and in bytes, and at least one record."""

import pytest

from annals.agents.ports import JournalRecord
from annals.agents.reading.turns import TURN_BYTES, TURN_RECORDS, turns


@pytest.mark.parametrize(
    ("size", "count", "lengths"),
    [
        (10, 2 * TURN_RECORDS + 1, [TURN_RECORDS, TURN_RECORDS, 1]),
        (TURN_BYTES, 3, [1, 1, 1]),
        (2 * TURN_BYTES, 2, [1, 1]),
        (TURN_BYTES // 4, 9, [4, 4, 1]),
        (0, 0, []),
    ],
)
def test_turns(size: int, count: int, lengths: list[int]) -> None:
    records = [JournalRecord(offset, b"k", bytes(size)) for offset in range(count)]
    found = list(turns(records))
    assert [len(turn) for turn in found] == lengths
    assert [record for turn in found for record in turn] == records
