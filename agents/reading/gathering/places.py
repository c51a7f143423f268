"""Places of a cursor in a partition: an offset, and by what is known again that the journal still has what it had.

Offsets alone name nothing where a journal was restored from a copy of its records, or lost its end and grew again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from annals.agents.reading.gathering.cursors import CHECK, BadCursorError, Place
from annals.agents.reading.keeping.layout import EVENT_BEFORE, EVENT_HERE

if TYPE_CHECKING:
    from annals.agents.reading.found import EventPage, FoundEvent

HALF: Final = CHECK // 2
"""Bytes of a place that tell of the journal's first event; the others tell of the one there, or of the last before."""


def place_at(page: EventPage, event: FoundEvent) -> Place:
    """Return the place before an event of a page (downwards: the one that it is the next of)."""
    return _place(page, event.offset, event.cid[EVENT_HERE])


def place_after(page: EventPage, event: FoundEvent) -> Place:
    """Return the place behind an event of a page that is read upwards."""
    return _place(page, event.offset + 1, event.cid[EVENT_BEFORE])


def place_behind(page: EventPage) -> Place:
    """Return the place behind a page."""
    return _place(page, page.next_offset, page.mark)


def require_journal(kind: str, partition: int, place: Place, page: EventPage) -> None:
    """Check that a page that begins at a place is of the journal that the cursor was given for.

    Raises:
        BadCursorError: it is another one, or has something else there.
    """
    first, mark = place.journal[:HALF], place.journal[HALF:]
    if any(first) and page.journal and first != page.journal:
        raise BadCursorError(f"the journal of {kind}-{partition} was made anew since the cursor was given")
    is_read = place.offset is not None and page.position.offset > place.offset  # or what is there may come yet
    if any(mark) and is_read and page.begun is not None and mark not in page.begun:
        raise BadCursorError(
            f"the journal of {kind}-{partition} does not have at offset {place.offset} what it had when the cursor was "
            f"given: it was restored from a copy, or lost its end"
        )


def _place(page: EventPage, offset: int, mark: bytes) -> Place:
    return Place(offset, (page.journal.ljust(HALF, b"\0") + mark) if page.journal or mark else b"")
