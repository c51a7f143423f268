"""One partition of a re-keyed stream: the events of all partitions of a journal that have a key, by that key.

They are in the order of their arrival, each exactly once. Who copies them is `annals.agents.reacting.rekeyed`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from annals.agents.ports import StoppedError
from annals.agents.reading.found import JournalEvent
from annals.agents.reading.ports import FollowedRecord
from annals.agents.reading.streams.ranged import RangedSource
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of
from annals.topics.headers import QUIET
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from annals.agents.event_keys import Rekeyed
    from annals.agents.ports import Clock, JournalRecord
    from annals.agents.reading.ports import RangedJournal

LOOK_BACK: Final = 64  # offsets, and twice as many each time that there is no event in them


def event_of(kind: str, followed: FollowedRecord) -> JournalEvent:
    """Return the event of a stream's record.

    Raises:
        ForeignError: there is none in it.
    """
    block = followed.value or b""
    event = read_block(kind, block)
    carried = [header for header in followed.carried if header[0] != QUIET]
    is_quiet = len(carried) < len(followed.carried)
    return JournalEvent(followed.offset, event, block, cid_of(block), carried, is_quiet)


def events_of(kind: str, records: Iterable[JournalRecord]) -> Iterator[JournalEvent]:
    """Yield the events of a stream's records; those that have none are passed over."""
    for record in records:
        with suppress(ForeignError):
            yield event_of(kind, FollowedRecord(*record))


class RekeyedStream(RangedSource):
    """One partition of a stream. What is in it was judged by who copied it: only the workers may write there."""

    def __init__(
        self,
        stream: Rekeyed,
        topic: str,
        partition: int,
        partitions: int,
        journal: RangedJournal,
        clock: Clock,
        note: Callable[[int, str], None],
    ) -> None:
        """Take the stream, which partition of how many, what reads it, and what takes note of records that are none.

        note: is told the offset, and what is wrong.
        """
        self._stream = stream
        self._partitions = partitions
        self._note = note
        self._is_last_known = True
        super().__init__(f"{topic}-{partition}", stream.kind, partition, journal, clock)

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event below an offset."""
        self._go_to(offset)
        if not self._is_last_known:
            self._last, self._is_last_known = await self._look_back(offset), True
        return self._last

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._is_last_known = True

    def _go_to(self, offset: int) -> None:
        if self._from <= offset <= self._next:
            count = len(self._events)
            super()._go_to(offset)
            self._is_last_known = self._is_last_known or len(self._events) < count
            return
        self._begin_anew()
        self._from = self._next = offset
        self._is_last_known = offset == 0

    async def _look_back(self, end: int) -> bytes | None:
        first, _ = await self._journal.bounds()
        count = LOOK_BACK
        while True:
            start, last = max(first, end - count), None
            if start < end:
                async for records in self._journal.followed(start, end):
                    for followed in records:
                        event = self._event(followed)
                        last = last if event is None else event.cid
            if last is not None or start == first:
                return last
            count *= 2

    def _remedy(self) -> str:
        return f". Restore it; {self._stream.begin_anew}"

    def _require_begin(self, start: int) -> None:
        if start > self._next:
            raise StoppedError(
                f"{self._name} begins at offset {start}, and what is read next is at {self._next}: events are gone. "
                f"Restore it; {self._stream.begin_anew}"
            )

    def _judge(self, records: Sequence[FollowedRecord]) -> None:
        for followed in records:
            event = self._event(followed, notes=True)
            if event is not None:
                self._problem = self._misplaced(followed.key or b"", event)
                if self._problem is not None:
                    return
                self._events.append(event)
                self._bytes += len(event.block)
            self._next = followed.offset + 1

    def _event(self, followed: FollowedRecord, *, notes: bool = False) -> JournalEvent | None:
        """Return the event of a record; None if there is none in it, whoever wrote it."""
        try:
            return event_of(self.kind, followed)
        except ForeignError as error:
            if notes:
                self._note(followed.offset, str(error))
            return None

    def _misplaced(self, key: bytes, event: JournalEvent) -> str | None:
        """Say what is wrong with where an event is: events of one key would be in several places."""
        wanted = self._stream.key_of(event.event)
        another_name = self._stream.another_name
        if wanted is None or wanted.encode() != key:
            return f"{self._name}, offset {event.offset}: its key is not {self._stream.key}. {another_name}"
        if partition_of(key, self._partitions) != self.partition:
            return (
                f"{self._name}, offset {event.offset}: its key belongs to another of {self._partitions} partitions: "
                f"their number was changed. {another_name}"
            )
        return None
