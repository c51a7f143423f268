"""A re-keyed stream: the events of all partitions of a journal that have a key, by that key, in the order of arrival.

`Rekeying` makes the records of one journal partition, `RekeyedStream` reads one partition of the stream. The former
stands where the processes of a reaction stand, in a reactor whose transaction holds the records and how far the journal
is copied; the latter is what the reactor of the processes reads. Every event that has the key is copied, whatever the
reaction wants: a later version may want more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from annals.agents.ports import StoppedError
from annals.agents.reacting.ports import OutgoingCommand
from annals.agents.reacting.processes import Changes
from annals.agents.reacting.ranged import RangedSource
from annals.agents.reactions.reaction import process_key
from annals.agents.reading.found import JournalEvent
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of
from annals.topics.headers import QUIET
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.ports import Clock
    from annals.agents.reactions.reaction import Reaction
    from annals.agents.reading.ahead.ports import RangedJournal
    from annals.agents.reading.ports import FollowedRecord
    from annals.topics.headers import Header

LOOK_BACK: Final = 64  # offsets, and twice as many each time that there is no event in them
ANOTHER_NAME: Final = "Give the reaction another name, under which it begins anew where it is resumed."


class Rekeying:
    """The records of one journal partition for a reaction's stream. command_bytes: of those that are to be written."""

    timers: Final = 0
    due_until: Final = ""

    def __init__(self, reaction: Reaction[Any]) -> None:
        """Begin with none."""
        self._reaction = reaction
        self._records: list[OutgoingCommand] = []
        self.command_bytes = 0

    def load(self, key: bytes, value: bytes) -> None:
        """Nothing is kept, and so nothing is loaded."""

    def next_due(self) -> str | None:
        """Return that there is no timer."""
        return None

    def take(self, source: JournalEvent, *, is_quiet: bool, quiet_due: str = "") -> None:
        """Copy an event, if it has the key. is_quiet: no command is sent by it."""
        del quiet_due
        key = process_key(self._reaction, source.event["correlation_id"], source.event["data"])
        if key is None:
            return
        headers: list[Header] = [*source.carried, (QUIET, b"1")] if is_quiet else [*source.carried]
        self._records.append(OutgoingCommand(self._reaction.kind, key.encode(), source.block, headers))
        self.command_bytes += len(source.block)

    def fire(self, now: str, most: int, *, quiet_due: str = "") -> bool:
        """Return that nothing is due."""
        del now, most, quiet_due
        return False

    def changes(self) -> Changes:
        """Return what is to be written, and begin to note anew."""
        records, self._records, self.command_bytes = self._records, [], 0
        return Changes({}, records)


class RekeyedStream(RangedSource):
    """One partition of a stream. What is in it was judged by who copied it: only the workers may write there."""

    def __init__(
        self,
        reaction: Reaction[Any],
        topic: str,
        partition: int,
        partitions: int,
        journal: RangedJournal,
        clock: Clock,
        note: Callable[[int, str], None],
    ) -> None:
        """Take whose it is, which partition of how many, what reads it, and what takes note of records that are none.

        note: is told the offset, and what is wrong.
        """
        self._reaction = reaction
        self._partitions = partitions
        self._note = note
        self._is_last_known = True
        super().__init__(f"{topic}-{partition}", reaction.kind, partition, journal, clock)

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

    def _require_begin(self, start: int) -> None:
        if start > self._next:
            raise StoppedError(
                f"{self._name} begins at offset {start}, and what is read next is at {self._next}: events are gone. "
                f"Restore it; or g{ANOTHER_NAME[1:]}"
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
        block = followed.value or b""
        try:
            event = read_block(self.kind, block)
        except ForeignError as error:
            if notes:
                self._note(followed.offset, str(error))
            return None
        carried = [header for header in followed.carried if header[0] != QUIET]
        is_quiet = len(carried) < len(followed.carried)
        return JournalEvent(followed.offset, event, block, cid_of(block), carried, is_quiet)

    def _misplaced(self, key: bytes, event: JournalEvent) -> str | None:
        """Say what is wrong with where an event is: events of one process would be in several places."""
        wanted = process_key(self._reaction, event.event["correlation_id"], event.event["data"])
        if wanted is None or wanted.encode() != key:
            return f"{self._name}, offset {event.offset}: its key is not {self._reaction.key}. {ANOTHER_NAME}"
        if partition_of(key, self._partitions) != self.partition:
            return (
                f"{self._name}, offset {event.offset}: its key belongs to another of {self._partitions} partitions: "
                f"their number was changed. {ANOTHER_NAME}"
            )
        return None
