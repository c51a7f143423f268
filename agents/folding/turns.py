"""How much of the journal is folded in one turn of the event loop: records, and bytes, since a large one takes long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TURN_RECORDS: Final = 500  # 15 ms of folding, so that no other shard and no question waits longer
TURN_BYTES: Final = 1 << 20  # of values: as much as one record may have, which takes up to 0.1 s
TURN_S: Final = 0.1  # of CPU; of a projection that changes hundreds of rows with each event, 500 would be 0.3 s
R = TypeVar("R", bound=Any)


class TurnLength:
    """How many records a turn may have, by how long those before took: in seconds of CPU. records: at most."""

    def __init__(self) -> None:
        """Begin with as many as a turn may ever have."""
        self.records = TURN_RECORDS

    def took(self, records: int, seconds: float) -> None:
        """Take how long a turn of so many records took: the next have fewer if it was long, else more again."""
        if seconds > TURN_S:
            self.records = max(1, int(min(records, self.records) * TURN_S / seconds))
        elif records >= self.records and 2 * seconds <= TURN_S:
            self.records = min(TURN_RECORDS, 2 * self.records)


def length_of_turn(records: Sequence[R], most: int) -> int:
    """Return how many of these records are one turn: at least one."""
    size = 0
    for number, record in enumerate(records[:most]):
        size += len(record.value or b"")
        if size > TURN_BYTES:
            return max(number, 1)
    return min(len(records), most)


def turns(records: Sequence[R], length: TurnLength | None = None) -> Iterator[Sequence[R]]:
    """Yield records turn by turn; length: of turns whose time is taken."""
    at = 0
    while at < len(records):
        end = at + length_of_turn(records[at : at + TURN_RECORDS], TURN_RECORDS if length is None else length.records)
        yield records[at:end]
        at = end
