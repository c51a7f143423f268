"""Events of all partitions: pages behind a cursor, and a stream that goes on as events come."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from annals.agents.reading.found import EventFilter
from annals.agents.reading.gathering.cursors import Cursor
from annals.agents.reading.gathering.gather import Lag, gather, is_indexing
from annals.agents.reading.gathering.merging import merge
from annals.agents.reading.gathering.places import place_after, require_journal
from annals.agents.reading.gathering.shared_questions import SharedQuestions
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.queries.events import PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from annals.agents.reading.found import EventPage, FoundEvent
    from annals.agents.reading.gathering.cursors import Place
    from annals.agents.reading.gathering.expecting import ExpectedAt
    from annals.agents.reading.gathering.gather import PartitionReason
    from annals.agents.reading.gathering.merging import Merged
    from annals.agents.reading.ports import Key, ReadingShard

FOLLOWED_EVENTS: Final = 100  # of a page of a stream: what one client holds in memory
ALIVE_S: Final = 5.0  # at the latest, a stream says where it is
FOUND_S: Final = 2.0  # a partition that takes longer holds up the others no longer
ROUND_S: Final = 0.02  # between two looks for new events: at a high rate several come at each
ANY: Final = EventFilter()
LOOK_S: Final = 0.1  # between two looks whether a shard has indexed what there is


class EventsFound(NamedTuple):
    """A page of events over partitions.

    cursor: where it goes on, whether or not there is more now; is_end: all partitions answered, had no more,
    and have read what there was when they were opened.
    """

    events: list[FoundEvent]
    cursor: Cursor
    is_end: bool
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    lag: Lag


class Followed(NamedTuple):
    """An event of a stream and the cursor behind it; without an event: the stream is alive, and at this cursor.

    has_next: the next one is at hand already.
    """

    event: FoundEvent | None
    cursor: Cursor
    has_next: bool = False


async def read_events(
    shards: Sequence[ReadingShard],
    wanted: EventFilter,
    cursor: Cursor,
    limit: int,
    wait_s: float,
    deadline: float,
    expected: Sequence[ExpectedAt] = (),
) -> EventsFound:
    """Return the next page of events.

    wait_s: how long a partition that was not yet read up to the cursor is waited for, before it is missing; deadline:
    when all of them are, of the event loop's clock. Downwards a partition is begun only where it has read what there
    was when it was opened. What is missing keeps its place in the cursor. expected: where events are that must have
    been read, too.

    Raises:
        BadCursorError: the cursor is of a journal that was made anew.
        BrokenChainError: what was read is not what the journal had.
    """
    until = min(deadline, asyncio.get_running_loop().time() + wait_s)
    least: dict[Key, int] = {}
    for kind, partition, offset in expected:
        least[kind, partition] = max(offset + 1, least.get((kind, partition), 0))

    async def ask(cursor: Cursor, count: int, shard: ReadingShard) -> EventPage:
        return await _page(shard, wanted, cursor, count, until, least.get((shard.kind, shard.partition), 0))

    count = share_of(limit, len(shards))
    found = await gather(shards, partial(ask, cursor, count), deadline)
    pages = dict(found.answers)
    merged = merge(pages, limit, descending=cursor.descending)
    full = {key for key, page in pages.items() if len(page.events) == count}
    while short := _used_up(merged, pages, full, limit):
        behind, count = _moved(cursor, merged.places), limit - len(merged.events)
        asked = [shard for shard in shards if (shard.kind, shard.partition) in short]
        more = (await gather(asked, partial(ask, behind, count), deadline)).answers
        full = full - short | {key for key, page in more.items() if len(page.events) == count}
        pages |= {key: _joined(pages[key], page) for key, page in more.items()}
        merged = merge(pages, limit, descending=cursor.descending)
    positions = {kind: list(offsets) for kind, offsets in found.positions.items()}
    for (kind, partition), page in pages.items():
        positions[kind][partition] = page.position.offset
    moved = _moved(cursor, merged.places)
    is_end = merged.is_end and not found.missing and not any(is_indexing(shard.status()) for shard in shards)
    return EventsFound(merged.events, moved, is_end, positions, found.missing, found.stale, found.lag)


def share_of(limit: int, partitions: int) -> int:
    """Return how many events of a page a partition is asked for first.

    Somewhat more than it has of them where all have as many: what a page does not need is read for nothing.
    """
    even = limit / partitions
    return min(limit, math.ceil(even + 3 * math.sqrt(even)))


def _used_up(merged: Merged, pages: Mapping[Key, EventPage], full: AbstractSet[Key], limit: int) -> set[Key]:
    """Return the partitions without whose next events a page cannot go on. full: had as many as were asked for.

    One that had fewer has large events, or looked for long: the page ends there.
    """
    if len(merged.events) == limit or sum(len(event.block) for event in merged.events) >= PAGE_BYTES:
        return set()
    return {key for key in full if merged.places[key].offset == pages[key].next_offset and not pages[key].is_end}


def _joined(page: EventPage, following: EventPage) -> EventPage:
    """Return a page and the one behind it as one."""
    return msgspec.structs.replace(following, events=page.events + following.events, begun=page.begun)


async def _page(
    shard: ReadingShard, wanted: EventFilter, cursor: Cursor, limit: int, until: float, least: int
) -> EventPage:
    """Return a page of who has read so far; whoever answers may be another one each time.

    Raises:
        NotReadyError: nobody has read up to the cursor, or to the offset `least`, in time.
    """
    now = asyncio.get_running_loop().time
    place = cursor.places[shard.kind, shard.partition]
    # Upwards, everything below the place was read by whoever gave the cursor; downwards, the place, too.
    needed = max(least, 0 if place.offset is None else place.offset + cursor.descending)
    is_newest_first = cursor.descending and place.offset is None
    is_asked_again = False
    while True:
        page = await shard.find(wanted, start=place.offset, descending=cursor.descending, limit=limit)
        require_journal(shard.kind, shard.partition, place, page)
        status, is_late = shard.status(), is_asked_again and now() >= until
        if page.position.offset < needed:
            if is_late or not await shard.until_offset(needed, until):
                raise NotReadyError(f"read up to offset {page.position.offset} only, and the cursor is at {needed}")
        elif not (is_newest_first and is_indexing(status)):
            return page
        elif now() >= until:  # the page would begin below events that are there, and no later one has them
            raise NotReadyError(f"read up to offset {page.position.offset} of {status.end} only")
        else:
            await asyncio.sleep(min(LOOK_S, until - now()))
        is_asked_again = True


def _moved(cursor: Cursor, places: Mapping[Key, Place]) -> Cursor:
    """Return the cursor with other places for the partitions that answered."""
    return Cursor({**cursor.places, **places}, cursor.descending)


async def follow(
    shards: Sequence[ReadingShard], wanted: EventFilter, cursor: Cursor, shared: SharedQuestions | None = None
) -> AsyncGenerator[Followed, None]:
    """Yield events behind an ascending cursor, and go on as they come, until the iterator is closed.

    Each is asked for when the one before was taken: a slow taker holds a page in memory, and nothing of it is lost. At
    least every `ALIVE_S` the cursor is yielded: it passes events that are not wanted, too. shared: with other streams.

    Raises:
        BadCursorError: the cursor is of a journal that was made anew.
        BrokenChainError: what was read is not what the journal had.
    """
    now = asyncio.get_running_loop().time
    shared = shared or SharedQuestions()
    moves = _Moves(shards, shared)
    said_at = now()
    try:
        while True:
            ready = moves.take()
            ask = partial(_page_after, wanted, cursor, shared, share_of(FOLLOWED_EVENTS, max(1, len(ready))))
            pages = (await gather(ready, ask, now() + FOUND_S)).answers
            merged = merge(pages, FOLLOWED_EVENTS, descending=False)
            for number, (event, place) in enumerate(_places(merged, pages), 1):
                cursor = Cursor({**cursor.places, **place})
                yield Followed(event, cursor, number < len(merged.events))
                said_at = now()
            cursor = _moved(cursor, merged.places)
            moves.watch(ready, cursor, {key for key in pages if not _is_read(merged, pages, key)})
            if not moves.is_ready:
                await moves.wait(max(0.0, said_at + ALIVE_S - now()))
            if now() >= said_at + ALIVE_S:
                yield Followed(None, cursor)
                said_at = now()
    finally:
        await moves.close()


async def _page_after(
    wanted: EventFilter, cursor: Cursor, shared: SharedQuestions, count: int, shard: ReadingShard
) -> EventPage:
    key = shard.kind, shard.partition
    place = cursor.places[key]
    find = partial(shard.find, wanted, start=place.offset, descending=False, limit=count)
    page = await shared.ask((*key, place.offset, wanted, count), find)
    require_journal(shard.kind, shard.partition, place, page)
    if page.position.offset < (place.offset or 0):
        raise NotReadyError(f"read up to offset {page.position.offset} only, and the stream is at {place.offset}")
    return page


def _places(merged: Merged, pages: Mapping[Key, EventPage]) -> list[tuple[FoundEvent, dict[Key, Place]]]:
    return [
        (event, {key: place_after(pages[key], event)}) for event, key in zip(merged.events, merged.keys, strict=True)
    ]


def _is_read(merged: Merged, pages: Mapping[Key, EventPage], key: Key) -> bool:
    page = pages[key]
    return page.is_end and merged.places[key].offset == page.next_offset


async def _moved_or_page(shard: ReadingShard, offset: int) -> EventPage | None:
    """Return None once something may be at an offset or behind it; else, after a while, a page that begins there."""
    if await shard.until_offset(offset + 1, asyncio.get_running_loop().time() + ALIVE_S):
        return None
    page = await shard.find(ANY, start=offset, descending=False, limit=1)
    return None if page.events else page


class _Moves:
    """Which shards have something behind a cursor. Each that has not is waited for, by one question of all streams."""

    def __init__(self, shards: Sequence[ReadingShard], shared: SharedQuestions) -> None:
        self._shared = shared
        self._ready = list(shards)
        self._waiting: dict[asyncio.Task[EventPage | None], tuple[ReadingShard, Place]] = {}
        self._looked_at = -math.inf

    @property
    def is_ready(self) -> bool:
        return bool(self._ready)

    def take(self) -> list[ReadingShard]:
        """Return the shards to ask now."""
        ready, self._ready = self._ready, []
        return ready

    def watch(self, shards: Sequence[ReadingShard], cursor: Cursor, unread: set[Key]) -> None:
        """Ask those again at once that have more; wait for the others."""
        self._looked_at = asyncio.get_running_loop().time()
        for shard in shards:
            key = shard.kind, shard.partition
            if key in unread:
                self._ready.append(shard)
            else:
                self._wait_at(shard, cursor.places[key])

    async def wait(self, within_s: float) -> None:
        """Wait until one of them has moved, or was waited for long enough.

        Raises:
            BadCursorError: one of them does not have any more what the cursor was given for.
        """
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            # What comes behind a quiet time is found at once, and what follows on it a round later. A round begins
            # where the look before ended: where looking takes long, the folds have their turns between.
            rest_s = self._looked_at + ROUND_S - asyncio.get_running_loop().time()
            if rest_s > 0:
                await asyncio.sleep(min(rest_s, within_s))
        for task in [task for task in self._waiting if task.done()]:
            shard, place = self._waiting[task]
            page = None if task.cancelled() or task.exception() is not None else task.result()
            await self._leave(task)
            if page is None:
                self._ready.append(shard)
            else:  # nothing has come: there is nothing to read, but of the same journal it must be
                require_journal(shard.kind, shard.partition, place, page)
                self._wait_at(shard, place)

    async def close(self) -> None:
        """End all waiting."""
        await self._leave(*self._waiting)

    def _wait_at(self, shard: ReadingShard, place: Place) -> None:
        offset = place.offset or 0
        ask = partial(_moved_or_page, shard, offset)
        self._waiting[self._shared.begin(_question(shard, place), ask)] = shard, place

    async def _leave(self, *tasks: asyncio.Task[EventPage | None]) -> None:
        await self._shared.leave([(_question(*self._waiting.pop(task)), task) for task in tasks])


def _question(shard: ReadingShard, place: Place) -> tuple[str, int, int]:
    return shard.kind, shard.partition, place.offset or 0
