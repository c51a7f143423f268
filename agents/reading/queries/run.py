"""Runs of the journal for what copies all of it: no index but that of offsets, and each CID computed anew."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from annals.agents.reading.found import JournalEvent, JournalRun
from annals.agents.reading.keeping.blocks import event_in, event_rows
from annals.agents.reading.keeping.layout import (
    CARRIED,
    EVENTS,
    OFFSETS,
    after,
    decode_event,
    number,
    offset_in,
    offset_key,
    read_position,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.reading.keeping.recent_events import RecentEvents
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.queries.events import Place

RUN_BYTES: Final = 4 << 20  # of blocks: beyond, the run ends early, so that what is made of it fits a transaction
_DECODER: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def encode_carried(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the headers that go with an event as a row."""
    return msgspec.msgpack.encode(headers)


def run_from(view: ReadView, place: Place, offset: int, limit: int, read: int) -> JournalRun:
    """Return the next events that count, at most `limit`, and where to go on.

    read: the offset below which everything was read when the view was made. It may be behind the store's position by
    the markers that stand behind the last event: whoever goes on from here must not wait for them.

    Raises:
        BrokenChainError: a row is not the event that it should be.
    """
    end = max(read_position(view).offset, read)
    if offset >= end:
        return JournalRun([], offset, is_end=True)
    found = list(islice(view.range(offset_key(offset), after(OFFSETS)), limit))
    if not found:
        return JournalRun([], end, is_end=True)
    last = offset_in(found[-1][0])
    headers = {
        offset_in(key): _DECODER.decode(value)
        for key, value in view.range(CARRIED + number(offset), CARRIED + number(last + 1))
    }
    events, size = [], 0
    for (key, where), value in zip(found, event_rows(view, [where for _, where in found]), strict=True):
        row, event = event_in(place.kind, where, value)
        at = offset_in(key)
        events.append(JournalEvent(at, event, row.block, row.cid, headers.get(at, ())))
        size += len(row.block)
        if size > RUN_BYTES:
            return JournalRun(events, at + 1, is_end=False)
    is_end = len(found) < limit
    return JournalRun(events, end if is_end else last + 1, is_end)


def run_of_recent(recent: RecentEvents, offset: int, limit: int, read: int) -> JournalRun | None:
    """Return the same of events in memory; None where those from the offset on are not there."""
    if offset >= read:
        return JournalRun([], offset, is_end=True)
    found = recent.since(offset)
    if found is None:
        return None
    events = [each.as_journal_event() for each in found[:limit]]
    is_end = len(found) < limit
    return JournalRun(events, read if is_end else events[-1].offset + 1, is_end)


def events_at(view: ReadView, place: Place, offsets: Sequence[int]) -> dict[int, JournalEvent]:
    """Return the events that count at some offsets, as many of them as a run may have: at least the first.

    Raises:
        BrokenChainError: a row is not the event that it should be.
    """
    there = [
        (at, where) for at, where in zip(offsets, view.get_many([*map(offset_key, offsets)]), strict=True) if where
    ]
    headers = view.get_many([CARRIED + number(at) for at, _ in there])
    found: dict[int, JournalEvent] = {}
    size = 0
    for (at, where), carried, value in zip(
        there, headers, event_rows(view, [where for _, where in there]), strict=True
    ):
        row, event = event_in(place.kind, where, value)
        found[at] = JournalEvent(at, event, row.block, row.cid, () if carried is None else _DECODER.decode(carried))
        size += len(row.block)
        if size > RUN_BYTES:
            break
    return found


def placed_from(view: ReadView, offset: int, limit: int) -> list[tuple[int, bytes]]:
    """Return where the next events that count are, from an offset on, and their CIDs as the rows have them."""
    found = list(islice(view.range(offset_key(offset), after(OFFSETS)), limit))
    rows = event_rows(view, [where for _, where in found])
    return [
        (offset_in(key), b"" if row is None else decode_event(row).cid)
        for (key, _), row in zip(found, rows, strict=True)
    ]


def last_before(view: ReadView, offset: int) -> bytes | None:
    """Return the CID of the last event that counts below an offset; None if there is none."""
    for _, where in view.range(OFFSETS, offset_key(offset), reverse=True):
        value = view.get(EVENTS + where)
        return None if value is None else decode_event(value).cid
    return None
