"""Events by type, correlation, causation, command, actor and time, in the order of their offsets."""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING, Any, Final

from annals.agents.reading.found import EventPage, FoundEvent, ShardPosition
from annals.agents.reading.keeping.blocks import AT_ONCE
from annals.agents.reading.keeping.layout import (
    ACTORS,
    BLOCK,
    BLOCK_TIMES,
    CAUSATIONS,
    COMMANDS,
    CORRELATIONS,
    EVENT_BEFORE,
    EVENT_HERE,
    EVENTS,
    FIRST_EVENT,
    OFFSETS,
    STRETCH,
    STRETCH_TIMES,
    TIME,
    TYPES,
    after,
    decode_event,
    number,
    offset_in,
    offset_key,
    prefixed,
    read_position,
)
from annals.agents.reading.queries.events import PAGE_BYTES, by_offsets
from annals.agents.reading.queries.run import last_before
from annals.schemas.values.moments import recorded_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annals.agents.reading.found import EventFilter
    from annals.agents.reading.keeping.recent_events import RecentEvents
    from annals.agents.reading.ports import ReadView
    from annals.agents.reading.queries.events import Place


BY_BLOCKS: Final = (TYPES, ACTORS)
LOOKED_AT: Final = 10_000  # events for one page: a fraction of the seconds that a partition has to answer


def find_recent(
    recent: RecentEvents, view: ReadView, place: Place, wanted: EventFilter, *, start: int, limit: int
) -> EventPage | None:
    """Return an ascending page as `find` does, of events in memory; None where those from `start` on are not there."""
    events = recent.since(start)
    if events is None:
        return None
    end = read_position(view).offset
    position = ShardPosition(place.kind, place.partition, end)
    before = recent.last_before(start)
    mark = _mark_before(view, start) if before is None else before.cid[EVENT_BEFORE]
    here = events[0].cid[EVENT_HERE] if events and events[0].offset == start else b""
    journal = recent.journal = recent.journal or _journal(view)
    begun = [each for each in (here, mark) if each]
    found: list[FoundEvent] = []
    since, until = _text(wanted.since), _text(wanted.until)
    for each in events:
        event = each.decoded()
        if not _matches(event, wanted, since, until):
            continue
        if len(found) == limit:
            mark = each.cid[EVENT_HERE]
            return EventPage(found, each.offset, False, position, journal, begun, mark)  # noqa: FBT003 - it is not the end
        found.append(FoundEvent(event, each.block, each.cid, place.partition, each.offset))
    mark = events[-1].cid[EVENT_BEFORE] if events else mark
    return EventPage(found, max(start, end), True, position, journal, begun, mark)  # noqa: FBT003 - it is the end


def find(
    view: ReadView, place: Place, wanted: EventFilter, *, start: int | None, descending: bool, limit: int
) -> EventPage:
    """Return a page of events.

    start: the page begins at this offset, which counts, in either direction. The next page begins at the first event
    that did not fit; behind the last one, at the position (descending: at -1). Where few are wanted of those that are
    looked at, a page ends behind LOOKED_AT of them, or `PAGE_BYTES`, perhaps without any event.
    """
    end = read_position(view).offset
    position = ShardPosition(place.kind, place.partition, end)
    first, last = (0, end) if start is None else (0, min(start + 1, end)) if descending else (start, end)
    journal, begun = _journal(view), None if start is None else _marks(view, start)
    found: list[FoundEvent] = []
    since, until = _text(wanted.since), _text(wanted.until)
    size = 0
    offsets = _offsets(view, wanted, first, last, (since, until), descending=descending)
    for number_of, event in enumerate(by_offsets(view, place, offsets, min(limit + 1, AT_ONCE))):
        is_wanted = _matches(event.event, wanted, since, until)
        if (len(found) == limit and is_wanted) or size > PAGE_BYTES or number_of == LOOKED_AT:
            mark = event.cid[EVENT_HERE]
            return EventPage(found, event.offset, False, position, journal, begun, mark)  # noqa: FBT003 - it is not the end
        if is_wanted:
            found.append(event)
        size += len(event.block)
    following = -1 if descending else max(first, end)
    mark = b"" if descending else _mark_before(view, following)
    return EventPage(found, following, True, position, journal, begun, mark)  # noqa: FBT003 - it is the end


def _marks(view: ReadView, offset: int) -> list[bytes]:
    """Return the marks that a cursor at an offset may have."""
    place = view.get(offset_key(offset)) if offset >= 0 else None
    value = None if place is None else view.get(EVENTS + place)
    here = b"" if value is None else decode_event(value).cid[EVENT_HERE]
    return [mark for mark in (here, _mark_before(view, offset)) if mark]


def _mark_before(view: ReadView, offset: int) -> bytes:
    cid = last_before(view, offset) if offset > 0 else None
    return b"" if cid is None else cid[EVENT_BEFORE]


def _journal(view: ReadView) -> bytes:
    """Return what identifies the partition's journal: a part of its first event's CID; nothing if it has none."""
    place = next((place for _, place in view.range(OFFSETS, after(OFFSETS))), None)
    value = None if place is None else view.get(EVENTS + place)
    return b"" if value is None else decode_event(value).cid[FIRST_EVENT]


def _text(moment: object) -> str | None:
    return None if moment is None else recorded_at(moment)  # type: ignore[arg-type]


def _matches(event: Mapping[str, Any], wanted: EventFilter, since: str | None, until: str | None) -> bool:
    return (
        (not wanted.types or event["type"] in wanted.types)
        and wanted.correlation_id in (None, event["correlation_id"])
        and wanted.causation_id in (None, event["causation_id"])
        and wanted.command_id in (None, event["command_id"])
        and wanted.actor in (None, event["actor"])
        and (since is None or event["recorded_at"] >= since)
        and (until is None or event["recorded_at"] < until)
    )


def _offsets(
    view: ReadView,
    wanted: EventFilter,
    first: int,
    last: int,
    times: tuple[str | None, str | None],
    *,
    descending: bool,
) -> Iterator[int]:
    """Yield the offsets of events that may match, by the index that has the fewest."""
    spaces = _spaces(wanted)
    for start, stop in _spans(view, first, last, times, descending=descending):
        ranges = [_within_space(view, space, prefix, start, stop, descending=descending) for space, prefix in spaces]
        yield from merge(*ranges, reverse=descending)


def _spaces(wanted: EventFilter) -> list[tuple[bytes, bytes]]:
    """Return the key spaces in which what is wanted is found, each event in one, and the beginning of its keys there.

    Events are below their correlation id where that is not their command id; all others are below that.
    """
    for spaces, text in (
        ((COMMANDS,), wanted.command_id),
        ((CAUSATIONS,), wanted.causation_id),
        ((CORRELATIONS, COMMANDS), wanted.correlation_id),
        ((ACTORS,), wanted.actor),
    ):
        if text is not None and not (spaces == (ACTORS,) and wanted.types):
            return [(space, prefixed(space, text.encode())) for space in spaces]
    return [(TYPES, prefixed(TYPES, type_.encode())) for type_ in sorted(set(wanted.types))] or [(OFFSETS, OFFSETS)]


def _within_space(
    view: ReadView, space: bytes, prefix: bytes, start: int, stop: int, *, descending: bool
) -> Iterator[int]:
    """Yield the offsets between two that a space has below a prefix."""
    if space not in BY_BLOCKS:
        for key, _ in view.range(prefix + number(start), prefix + number(stop), reverse=descending):
            yield offset_in(key)
        return
    first, last = prefix + number(start // BLOCK), prefix + number((stop - 1) // BLOCK + 1)
    for key, marks in view.range(first, last, reverse=descending):
        base = offset_in(key) * BLOCK
        for mark in reversed(marks) if descending else marks:
            if start <= base + mark < stop:
                yield base + mark


def _spans(
    view: ReadView, first: int, last: int, times: tuple[str | None, str | None], *, descending: bool
) -> Iterator[tuple[int, int]]:
    """Yield the offsets between two in whose blocks something of the wanted times was recorded, as they are asked for.

    Stretches are looked at first: whoever asks for a time far from where the page begins passes over most blocks
    unseen.
    """
    if first >= last:
        return
    if times == (None, None):
        yield first, last
        return
    for start, stop in _within(view, STRETCH_TIMES, STRETCH, (first, last), times, descending=descending):
        yield from _within(view, BLOCK_TIMES, BLOCK, (start, stop), times, descending=descending)


def _within(
    view: ReadView,
    space: bytes,
    size: int,
    offsets: tuple[int, int],
    times: tuple[str | None, str | None],
    *,
    descending: bool,
) -> Iterator[tuple[int, int]]:
    """Yield the parts of some offsets, each of one row of a space of times, that have something of the wanted times."""
    (first, last), (since, until) = offsets, times
    rows = view.range(space + number(first // size), space + number((last - 1) // size + 1), reverse=descending)
    for key, value in rows:
        least, greatest = value[:TIME].decode(), value[TIME:].decode()
        if (since is None or greatest >= since) and (until is None or least < until):
            start = offset_in(key) * size
            yield max(start, first), min(start + size, last)
