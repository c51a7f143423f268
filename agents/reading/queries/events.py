"""Events as the rows hold them: decoded again, each checked against its CID and against the event before it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.reading.found import FoundEvent
from annals.agents.reading.keeping.blocks import AT_ONCE, FIRST_ROWS, count_behind, event_in, name_of
from annals.agents.reading.keeping.layout import (
    EVENTS,
    HASH,
    HASHES,
    after,
    aggregate_of,
    cid_in,
    decode_event,
    event_key,
    offset_in,
    offset_key,
    read_aggregate,
)
from annals.agents.reading.ports import BrokenChainError
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from annals.agents.reading.keeping.layout import AggregateRow
    from annals.agents.reading.ports import ReadView

PAGE_BYTES: Final = 8 << 20  # a page of large events has fewer
MOST_CIDS: Final = 1_000  # that are remembered: 200 KB
NOT_BEFORE: Final = "its link is not to the event before it"


class Place(NamedTuple):
    """Whose rows these are."""

    kind: str
    partition: int


def history(
    view: ReadView, place: Place, key: bytes, first: int, last: int | None, *, descending: bool, limit: int | None
) -> list[FoundEvent]:
    """Return an aggregate's events from one version to another, both inclusive.

    With a limit there are fewer where they are large: it ends behind the one with which it has `PAGE_BYTES`.
    """
    found: list[FoundEvent] = []
    left = PAGE_BYTES
    for event in islice(chain(view, place, key, first, last, descending=descending), limit):
        found.append(event)
        left -= len(event.block)
        if limit is not None and left <= 0:
            break
    return found


def chain(
    view: ReadView, place: Place, key: bytes, first: int, last: int | None, *, descending: bool = False
) -> Iterator[FoundEvent]:
    """Yield an aggregate's events from one version to another, each with the link to the one beside it checked."""
    end = read_aggregate(view, key)
    first, last = max(first, 1), end.version if last is None else min(last, end.version)
    if first > last:
        return
    # the CID of the event below the lowest, or above the highest: a link to the outside is checked, too
    known = end.head if last == end.version else _previous_of(view, place, key, last + 1)
    if not descending:
        known = cid_at(view, place, key, first - 1) if first > 1 else None
    expected = last if descending else first
    rows = view.range(event_key(key, first), event_key(key, last + 1), reverse=descending)
    for row_key, value in rows:
        found = _read(place, row_key[1:], value)
        if found.event["version"] != expected:
            raise _broken(place, found, f"version {expected} is missing")
        if descending:
            if found.cid != known:
                raise _broken(place, found, "the event behind it links to another")
            known, expected = found.event["previous"], expected - 1
        else:
            if found.event["previous"] != known:
                raise _broken(place, found, NOT_BEFORE)
            known, expected = found.cid, expected + 1
        yield found
    if expected not in (first - 1, last + 1):
        raise _missing(place, key, expected)
    if not descending and last == end.version and known != end.head:
        raise BrokenChainError(f"{_name(place, key, last)}: it is not the head of the chain")


def of_version(view: ReadView, place: Place, key: bytes, version: int, end: AggregateRow) -> FoundEvent:
    """Return one event of an aggregate, of a version that it has, checked as by `chain`; end: the aggregate's row."""
    value = view.get(event_key(key, version))
    if value is None:
        raise _missing(place, key, version)
    found = _read(place, event_key(key, version)[1:], value)
    known = cid_at(view, place, key, version - 1) if version > 1 else None
    if found.event["previous"] != known:
        raise _broken(place, found, NOT_BEFORE)
    if version == end.version and found.cid != end.head:
        raise BrokenChainError(f"{_name(place, key, version)}: it is not the head of the chain")
    return found


def by_offset(view: ReadView, place: Place, offset: int) -> FoundEvent | None:
    """Return the event at an offset, its link checked; None if none that counts is there."""
    return next(by_offsets(view, place, [offset], 1), None)


def by_offsets(view: ReadView, place: Place, offsets: Iterable[int], most: int = AT_ONCE) -> Iterator[FoundEvent]:
    """Yield the events that count at some offsets, each with its link checked; at most so many are read at once."""
    offsets, count = iter(offsets), min(FIRST_ROWS, most)
    cids: dict[bytes, bytes] = {}  # by the keys of events that were read: what links to them is not far
    while some := list(islice(offsets, count)):
        keys = view.get_many([offset_key(offset) for offset in some])
        there = [(offset, key) for offset, key in zip(some, keys, strict=True) if key is not None]
        before = {key: _key_before(key) for _, key in there}
        wanted = list(dict.fromkeys(before) | {key: None for key in before.values() if key and key not in cids})
        values = view.get_many([EVENTS + key for key in wanted])
        count = count_behind(count, values, most)
        rows = dict(zip(wanted, values, strict=True))
        cids |= {key: cid_in(value) for key, value in rows.items() if value is not None}
        for offset, key in there:
            found = _read(place, key, rows[key])
            if found.offset != offset:
                raise _broken(place, found, f"it is not at offset {offset}, where it was found")
            previous = before[key]
            if previous is not None and previous not in cids:
                raise _missing(place, found.event["aggregate_id"].encode(), found.event["version"] - 1)
            if found.event["previous"] != (None if previous is None else cids[previous]):
                raise _broken(place, found, NOT_BEFORE)
            yield found
        if len(cids) > MOST_CIDS:
            cids = {key: cids[key] for key in before if key in cids}


def _key_before(key: bytes) -> bytes | None:
    """Return the key of the event before one, both without their `e`; None where that is the first."""
    aggregate, version = aggregate_of(key)
    return event_key(aggregate, version - 1)[len(EVENTS) :] if version > 1 else None


def by_cid(view: ReadView, place: Place, cid: bytes) -> FoundEvent | None:
    """Return the event of a CID."""
    prefix = HASHES + cid[HASH]
    for key, _ in view.range(prefix, after(prefix)):
        found = by_offset(view, place, offset_in(key))
        if found is not None and found.cid == cid:
            return found
    return None


def offset_of(view: ReadView, key: bytes, version: int) -> int | None:
    """Return where an aggregate's event of a version is; None if it is not there."""
    value = view.get(event_key(key, version)) if version > 0 else None
    return None if value is None else decode_event(value).offset


def _read(place: Place, where: bytes, value: bytes | None) -> FoundEvent:
    row, event = event_in(place.kind, where, value)
    return FoundEvent(event, row.block, row.cid, place.partition, row.offset)


def _previous_of(view: ReadView, place: Place, key: bytes, version: int) -> bytes | None:
    where = event_key(key, version)
    link: bytes | None = _read(place, where[1:], view.get(where)).event["previous"]
    return link


def cid_at(view: ReadView, place: Place, key: bytes, version: int) -> bytes:
    """Return the CID of an aggregate's event, as its row has it."""
    value = view.get(event_key(key, version))
    if value is None:
        raise _missing(place, key, version)
    return decode_event(value).cid


def _missing(place: Place, key: bytes, version: int) -> BrokenChainError:
    return BrokenChainError(f"{_name(place, key, version)}: the event is missing")


def _broken(place: Place, found: FoundEvent, what: str) -> BrokenChainError:
    event = found.event
    name = _name(place, event["aggregate_id"].encode(), event["version"])
    return BrokenChainError(f"{name}, offset {found.offset}, {cid_text(found.cid)}: {what}")


def _name(place: Place, key: bytes, version: int) -> str:
    return f"{name_of(place.kind, key, version)}, partition {place.partition}"
