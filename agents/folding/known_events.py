"""Whether a journal still has an event that is known of it.

Offsets alone mislead: an aborted batch and its marker lift an end that was cut off, and a copy of a journal's records
has lower offsets than the journal, whose markers it lacks. So the event itself is looked for, by its CID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from annals.agents.ports import LostEndError
from annals.agents.waiting import in_turns
from annals.schemas.cid import cid_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from annals.topics.group_metadata import EventAt


R = TypeVar("R")

PIECE: Final = 1_000


class CommittedRecord(Protocol):
    """A committed record of a journal."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def value(self) -> bytes | None:
        """The event's block."""


def is_event(record: CommittedRecord | None, event: EventAt) -> bool:
    """Whether the record at an event's offset is that event."""
    return record is not None and record.value is not None and cid_of(record.value) == event.cid


async def first_with(cid: bytes, journal: AsyncIterator[Iterable[CommittedRecord]]) -> int | None:
    """Return the offset of the first record that has a CID; None if there is none. journal: its records, in steps."""
    async for records in journal:
        for record in records:
            if record.value is not None and cid_of(record.value) == cid:
                return record.offset
    return None


async def knows_any(journal: AsyncIterator[Iterable[R]], knows: Callable[[R], bool | None]) -> bool | None:
    """Whether a fold knows an event of a journal; None: that has no events. journal: its records, in steps.

    knows: of a record; None: it is no event. The first event does not tell: somebody may have written one where it does
    not count.
    """
    has_events = False
    async for records in journal:
        async for some in in_turns(records, PIECE):
            for record in some:
                is_known = knows(record)
                if is_known:
                    return True
                has_events |= is_known is False
    return False if has_events else None


async def has_all(cids: Iterable[bytes], journal: AsyncIterator[Iterable[CommittedRecord]]) -> bool:
    """Whether a journal has each of these: asked of a fold's heads, whether what is gone was void or foreign.

    Memory grows with them; it is asked only where the shard would stop otherwise. journal: its records, in steps.
    """
    missing = set[bytes]()
    async for some in in_turns(cids, PIECE):
        missing.update(some)
    async for records in journal:
        missing.difference_update(cid_of(record.value) for record in records if record.value is not None)
        if not missing:
            break
    return not missing


def lost_end(kind: str, partition: int, end: int, known: str, stops: str, *, is_sure: bool = True) -> LostEndError:
    """Return the error of a journal that lacks its end.

    known: what is there, and what was known; stops: what is not done any more; is_sure: whether an event is known that
    is gone, or only where the journal ended.
    """
    are = "are" if is_sure else "may be"
    return LostEndError(
        f"the journal of {kind}, partition {partition}, ends at offset {end}{known}: its end was cut off, or it was "
        f"made anew. Events that were acknowledged {are} gone, and nothing more is {stops}. Restore the topic from "
        f"a copy that has them, then restart the worker; 'annals journal accept {kind}' says what is missing, and lets "
        f"somebody decide to go on without it.",
        end,
    )
