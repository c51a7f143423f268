"""Whether a journal still has what was read of it, and what those who write acknowledged.

Two places know a record of it (`annals.agents.folding.known_events`): the reading store, whose position names the last
one that was read, and the committed offset of those who write, which names the last event that counts. The second one
also tells an owner that has no store.

What is gone is a loss, and the shard stops: to read on would publish another history as if nothing had been.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from annals.agents.folding.known_events import first_with, has_all, is_event, knows_any, lost_end
from annals.agents.ports import DamagedBatchError, StaleStateError, StoppedError, UnreachableError
from annals.agents.reading.keeping.layout import decode_event, event_key, heads, read_position
from annals.agents.reading.keeping.open_store import is_fold_of
from annals.schemas.chain import ForeignError, read_block
from annals.schemas.cid import cid_of
from annals.topics.group_metadata import NOTHING_KNOWN, EventAt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from annals.agents.ports import JournalRecord, LostEndError, Position
    from annals.agents.reading.ports import FollowedRecord, JournalPartition, ReadView
    from annals.topics.group_metadata import GroupMetadata

log = structlog.get_logger(__name__)

RETRY_S: Final = 0.25


class WholeJournal(Protocol):
    """What is asked of the journal partition. Each question raises UnreachableError where the brokers do not answer."""

    async def record_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        """Return the committed record at an offset, which is to have a CID; None if there is none."""

    async def reach(self) -> int:
        """Return the offset behind everything, transactions that are open included."""

    def followed(self, start: int, end: int) -> AsyncIterator[Sequence[FollowedRecord]]:
        """Yield the committed records from `start` to below `end`, which is at most the last stable offset."""


class Acknowledged(Protocol):
    """What the committed offset of those who write says of the journal."""

    async def __call__(self) -> GroupMetadata:
        """Return it as it is now."""


async def nothing_said() -> GroupMetadata:
    """Say nothing, where nobody is to be asked (the `Acknowledged` port)."""
    return NOTHING_KNOWN


class JournalCheck(Protocol):
    """What a reading shard asks of the journal before it reads on, and while it does."""

    async def ask(self) -> None:
        """Ask what those who write acknowledged."""

    async def require(self, start: int, end: int) -> None:
        """Check that the journal has its beginning and what was acknowledged; see `Losses.require`."""

    async def is_fold(self, store: ReadView, end: int) -> bool:
        """Whether the last record of a store is in the journal where the store says; see `Losses.is_fold`."""

    def least_end(self, position: Position) -> int:
        """Return the least end (an offset) of a journal that still has every record known of it."""

    def doubt(self) -> None:
        """Believe no record that comes before the last one was looked for."""

    async def settle(
        self, position: Position, read_until: int, tell: Callable[[str], None], *, is_idle: bool = False
    ) -> bool:
        """If there is doubt, see that what is known stands where it stood; see `Losses.settle`."""


class Losses:
    """What is known of one journal partition (a `JournalCheck`). kind, partition: which one, in messages."""

    def __init__(
        self, kind: str, partition: int, journal: WholeJournal, acknowledged: Acknowledged = nothing_said
    ) -> None:
        """Take the journal, and what those who write say of it."""
        self._kind = kind
        self._partition = partition
        self._journal = journal
        self._acknowledged = acknowledged
        self._said = NOTHING_KNOWN
        self._seen: EventAt | None = None
        self._hidden: EventAt | None = None  # known to those who write, and not committed for those who read
        self._is_doubted = False

    async def ask(self) -> None:
        """Ask what those who write acknowledged: before the journal's end is asked for, or that is the older one."""
        self._said, self._seen, self._hidden = await self._acknowledged(), None, None
        self._is_doubted = False

    async def require(self, start: int, end: int) -> None:
        """Check that the journal has its beginning, and the last event that those who write know.

        start, end: its first offset, and the last stable one.

        Raises:
            StoppedError: one of them is missing.
        """
        if start > 0:
            raise StoppedError(
                f"the journal of {self._kind}, partition {self._partition}, begins at offset {start} instead of 0, and "
                f"ends at {end}: events were deleted. Restore the topic from a copy, and set retention.ms and "
                f"retention.bytes to -1."
            )
        last = self._said.last
        if last is None:
            return
        if await self._is_there(last):
            self._seen = last
            return
        # The marker of its transaction, or of one before it that is open yet, may hide it from who reads what is
        # committed. So may what others write where the journal was cut: it is looked for once it is passed.
        if end <= last.offset < await self._journal.reach():
            self._hidden = last
        elif await self._find(last.cid, end) is None:
            reached = f"those who write had it up to {self._said.journal_end}, its last event being {last}"
            raise self._lost(end, reached)

    async def is_fold(self, store: ReadView, end: int) -> bool:
        """Whether the last record of a store is in the journal where the store says; False: it is of another journal.

        Raises:
            LostEndError: the store was folded from this journal, further than it reaches now.
        """
        position, last = read_position(store), self._said.last
        if position.last_offset < 0 or await self._is_at_its_place(position):
            return True
        is_before = last is not None and self._hidden is None and position.last_offset <= last.offset
        is_older = is_before or position.last_offset < self._said.accepted_until
        if is_older or not position.last_cid or await self._find(position.last_cid, end) is not None:
            return False
        if not await self._knows_any_of(store, end):
            return False
        if await has_all(heads(store), self._journal.followed(0, end)):
            return False  # what is gone never counted
        raise self._lost(
            end,
            f"it was read up to {position.offset} before, the last record being "
            f"{EventAt(position.last_offset, position.last_cid)} (so the reading store in the data directory says; "
            f"empty that if the journal is another one on purpose)",
        )

    def least_end(self, position: Position) -> int:
        """Return the least end (an offset) of a journal that still has every record known of it."""
        return max(position.last_offset, -1 if self._seen is None else self._seen.offset) + 1

    def doubt(self) -> None:
        """Believe no record that comes before the last one was looked for: brokers were away, or another one leads."""
        self._is_doubted = True

    async def settle(
        self, position: Position, read_until: int, tell: Callable[[str], None], *, is_idle: bool = False
    ) -> bool:
        """If there is doubt, see that what is known stands where it stood; waits for the brokers.

        read_until: the offset below which everything is read, markers behind the last record among it; tell: is told
        what is waited for where they answer, and an empty text when that is over; is_idle: nothing waits to be read.
        Returns whether there was doubt: what was passed behind the last record may have been cut off then, and others
        written in its place.

        Raises:
            StaleStateError: it does not; what that means, opening decides.
        """
        damage, was_doubted = "", self._is_doubted
        passed = self._hidden if self._hidden is not None and self._hidden.offset < read_until else None
        if is_idle and passed is None:
            await self._require_hidden()
        while self._is_doubted or passed is not None:
            try:
                is_whole = position.last_offset < 0 or await self._is_at_its_place(position)
                if self._seen is not None and self._seen.offset > position.last_offset:
                    is_whole = is_whole and await self._is_there(self._seen)
                if passed is not None:
                    is_whole = is_whole and await self._is_there(passed)
            except DamagedBatchError as error:
                if damage != str(error):
                    damage = str(error)
                    log.error("the journal is damaged", kind=self._kind, partition=self._partition, reason=damage)  # noqa: TRY400 - no trace
                tell(f"waiting: {damage}")
                await asyncio.sleep(RETRY_S)
                continue
            except UnreachableError:  # they are away yet, and nothing comes
                await asyncio.sleep(RETRY_S)
                continue
            if not is_whole:
                raise StaleStateError("the last record that was read is not where it was: looking again")
            self._is_doubted = False
            if passed is not None:
                self._seen, self._hidden, passed = passed, None, None
            if damage:
                tell("")
        return was_doubted

    async def _require_hidden(self) -> None:
        """See that the journal still reaches behind what a transaction hides: that may be cut off together with it.

        Raises:
            StaleStateError: it does not.
        """
        with suppress(UnreachableError):
            if self._hidden is not None and await self._journal.reach() <= self._hidden.offset:
                raise StaleStateError("the journal ends before what a transaction hid: looking again")

    def _lost(self, end: int, known: str) -> LostEndError:
        return lost_end(self._kind, self._partition, end, f", and {known}", "read or published")

    async def _is_at_its_place(self, position: Position) -> bool:
        return position.stands_at(await self._journal.record_at(position.last_offset, position.last_cid))

    async def _is_there(self, event: EventAt) -> bool:
        return is_event(await self._journal.record_at(event.offset, event.cid), event)

    async def _find(self, cid: bytes, end: int) -> int | None:
        return await first_with(cid, self._journal.followed(0, end))

    async def _knows_any_of(self, store: ReadView, end: int) -> bool:
        """Whether a store has an event of the journal; of a journal without any, whether those who write say so."""

        def knows(record: FollowedRecord) -> bool | None:
            try:
                event = read_block(self._kind, record.value)
            except ForeignError:
                return None
            row = store.get(event_key(record.key or b"", event["version"]))
            return row is not None and decode_event(row).cid == cid_of(record.value or b"")

        is_known = await knows_any(self._journal.followed(0, end), knows)
        return self._said.journal_end is not None if is_known is None else is_known


class Trusted:
    """The check of a journal of which nothing but the store is known: nobody looks at it between two openings."""

    def __init__(self, journal: JournalPartition) -> None:
        """Take the journal."""
        self._journal = journal

    async def ask(self) -> None:
        """Ask nobody."""

    async def require(self, start: int, end: int) -> None:
        """Check nothing."""

    async def is_fold(self, store: ReadView, end: int) -> bool:
        """Whether the last record of a store is in the journal where the store says."""
        return await is_fold_of(read_position(store), end, self._journal.record_at)

    def least_end(self, position: Position) -> int:
        """Return 0: any end will do."""
        del position
        return 0

    def doubt(self) -> None:
        """Do nothing: every record is believed."""

    async def settle(
        self, position: Position, read_until: int, tell: Callable[[str], None], *, is_idle: bool = False
    ) -> bool:
        """Wait for nothing, and return that there was no doubt."""
        del position, read_until, tell, is_idle
        return False
