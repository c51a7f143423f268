"""How much of the journal is folded in one turn of the event loop: records, and bytes, since a large one takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TURN_RECORDS: Final = 500  # 15 ms of folding, so that no other shard and no question waits longer
TURN_BYTES: Final = 1 << 20  # of values: as much as one record may have, which takes up to 0.1 s
R = TypeVar("R", bound=Any)


def length_of_turn(records: Sequence[R]) -> int:
    """Return how many of these records are one turn: at least one."""
    size = 0
    for number, record in enumerate(records[:TURN_RECORDS]):
        size += len(record.value or b"")
        if size > TURN_BYTES:
            return max(number, 1)
    return min(len(records), TURN_RECORDS)


def turns(records: Sequence[R]) -> Iterator[Sequence[R]]:
    """Yield records turn by turn."""
    at = 0
    while at < len(records):
        end = at + length_of_turn(records[at : at + TURN_RECORDS])
        yield records[at:end]
        at = end
