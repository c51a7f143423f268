"""Events out of the rows of the event index: a block is decoded as it is in the journal, its CID computed anew."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.found import FoundEvent
from annals.agents.reading.keeping.layout import CID, EVENTS, aggregate_of, decode_event
from annals.agents.reading.ports import BrokenChainError
from annals.schemas.chain import VALUES, decode_again, read_block
from annals.schemas.cid import cid_of, cid_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annals.agents.reading.keeping.layout import EventRow
    from annals.agents.reading.ports import ReadView

FIRST_ROWS: Final = 2  # many large events are held that may not be wanted
AT_ONCE: Final = 16  # rows: each takes two thirds as long
FEW_BYTES: Final = 1 << 18  # of rows that are read at once: where they are small, more are next time


def event_rows(view: ReadView, places: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield the rows of events at some places (their keys without the `e`), a few of them read at once."""
    places, count = iter(places), FIRST_ROWS
    while some := [EVENTS + place for place in islice(places, count)]:
        values = view.get_many(some)
        count = count_behind(count, values, AT_ONCE)
        yield from values


def count_behind(count: int, values: Iterable[bytes | None], most: int) -> int:
    """Return how many rows, at most `most`, to read at once behind `count` that had these values."""
    size = sum(len(value or b"") for value in values)
    return min(4 * count, most) if size < FEW_BYTES else max(count // 4, 1)


def name_of(kind: str, key: bytes, version: int) -> str:
    """Return an event's name in messages."""
    return f"{kind} {key.decode(errors='replace')!r} version {version}"


def event_in(kind: str, place: bytes, value: bytes | None) -> tuple[EventRow, dict[str, Any]]:
    """Return the event that the row of a place (its key without the `e`) holds.

    The reader's rule has taken a block before its row was written: one that has its CID still is that block. Whether it
    has the members of an event is looked at all the same, since a stranger may have written a row with its CID.

    Raises:
        BrokenChainError: it is missing, is not of its CID, or is no event of this kind and place.
    """
    key, version = aggregate_of(place)
    if value is None:
        raise BrokenChainError(f"{name_of(kind, key, version)}: the event is missing")
    row = decode_event(value)
    if cid_of(row.block) != row.cid:
        kept = cid_text(row.cid) if len(row.cid) == CID else row.cid.hex()
        raise BrokenChainError(f"{_where(kind, key, version, row)}: its block is not that of {kept}")
    try:
        event = decode_again(row.block)
        is_here = _is_of(event, kind, key.decode(), version)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BrokenChainError(f"{_where(kind, key, version, row)}: it is no event") from error
    if not is_here:
        is_in_it = f"{event['kind']} {event['aggregate_id']!r} version {event['version']}"
        raise BrokenChainError(f"{_where(kind, key, version, row)}: it is {is_in_it}")
    return row, event


def _is_of(event: dict[str, Any], kind: str, aggregate_id: str, version: int) -> bool:
    """Whether an event is of an aggregate and a version. TypeError, LookupError: it has not the members of an event."""
    data, own_kind, type_, _, own_version, _, command_id, at, own_id, _, correlation_id, _ = VALUES(event)
    if type(data) is not dict or not type(type_) is type(command_id) is type(at) is type(correlation_id) is str:
        raise TypeError
    return bool(own_kind == kind and own_version == version and own_id == aggregate_id)


def _where(kind: str, key: bytes, version: int, row: EventRow) -> str:
    return f"{name_of(kind, key, version)}, offset {row.offset}"


def event_of(kind: str, partition: int, offset: int, block: bytes) -> FoundEvent:
    """Return an event that another worker found, its CID computed anew; ForeignError: its block is none."""
    return FoundEvent(read_block(kind, block), block, cid_of(block), partition, offset)
