"""A partition that is read by itself, range after range, beside no reading shard (the `JournalSource` port).

What is read of it is in memory until it is asked for from behind it. What a record says is for the classes below:
another deployment's journal (`annals.agents.reacting.foreign`) and a re-keyed stream (`rekeyed`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from annals.agents.ports import StoppedError, UnreachableError
from annals.agents.reading.found import READING, JournalEvent, JournalRun, ShardStatus
from annals.agents.reading.ports import RUN_EVENTS
from annals.agents.reading.queries.run import RUN_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from annals.agents.ports import Clock
    from annals.agents.reading.ports import FollowedRecord, RangedJournal

LOOK_S: Final = 0.2  # between two looks at where it ends
WITHIN_S: Final = 5.0  # in which brokers that may be far away answer: a rebalance here waits no longer for them


class RangedSource(ABC):
    """One partition for one reader: what is below the offset asked for is forgotten."""

    def __init__(self, name: str, kind: str, partition: int, journal: RangedJournal, clock: Clock) -> None:
        """Take what it is called in messages, what it is, what reads it, and the clock of deadlines."""
        self._name = name
        self._place = kind, partition
        self._journal = journal
        self._clock = clock
        self._steps: AsyncIterator[Sequence[FollowedRecord]] | None = None
        self._end = 0
        self._begin_anew()

    @property
    def kind(self) -> str:
        """The kind whose events it has."""
        return self._place[0]

    @property
    def partition(self) -> int:
        """Its number."""
        return self._place[1]

    def status(self) -> ShardStatus:
        """Return where it stands; while it is read up to where it is asked for, how far that is."""
        return ShardStatus(
            kind=self.kind,
            partition=self.partition,
            phase=READING,
            reason="",
            offset=max(self._next, self._end) if self._next >= self._from else self._next,
            end=max(self._next, self._end),
            reached=self._next >= self._end,
            lag_s=0.0,
            stale={},
        )

    def expect(self, offsets: Iterable[int]) -> None:
        """Take from where it is going to be read on, which tells nothing here."""
        del offsets

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Read up to an offset; False when the time was over before.

        Raises:
            StoppedError: events are missing before it, or the journal ends before what was read of it.
            UnreachableError: the brokers do not answer.
        """
        self._go_to(offset)
        while self._next < offset:
            if self._clock.monotonic() >= deadline:
                return False
            if not await self._read():
                self._require_no_problem()
                await asyncio.sleep(LOOK_S)
        return True

    async def until_behind(self, offset: int) -> None:
        """Wait until a record at an offset, or a later one, is there."""
        while not self._events:
            if (await self._journal.bounds())[1] > max(offset, self._next):
                return
            await asyncio.sleep(LOOK_S)

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on.

        Raises:
            StoppedError: events are missing before the next one, or the journal ends before what was read of it.
            UnreachableError: the brokers do not answer.
        """
        self._go_to(offset)
        is_read = False
        while not is_read and len(self._events) < limit and self._bytes <= RUN_BYTES:
            is_read = not await self._read()
            await asyncio.sleep(0)  # others have their turn
        if not self._events:
            self._require_no_problem()
        taken: list[JournalEvent] = []
        size = 0
        for event in islice(self._events, limit):
            taken.append(event)
            size += len(event.block)
            if size > RUN_BYTES:
                break
        is_all = len(taken) == len(self._events)
        return JournalRun(taken, self._next if is_all else taken[-1].offset + 1, is_read and is_all)

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event that counts below an offset up to which it was read."""
        self._go_to(offset)
        return self._last

    async def place_of(self, cid: bytes) -> int | None:
        """Return the offset of an event that counts; None if it is not in the journal, which is read anew for it."""
        position = 0
        while True:
            run = await self.events_from(position, RUN_EVENTS)
            for event in run.events:
                if event.cid == cid:
                    return event.offset
            if run.is_end:
                return None
            position = run.next_offset

    def _begin_anew(self) -> None:
        self._steps = None
        self._events: deque[JournalEvent] = deque()
        self._bytes = 0  # of their blocks
        self._from = self._next = self._until = 0
        self._last: bytes | None = None
        self._problem: str | None = None

    def _go_to(self, offset: int) -> None:
        """Hand out from an offset on."""
        if offset < self._from:
            self._begin_anew()
        self._from = offset
        while self._events and self._events[0].offset < offset:
            event = self._events.popleft()
            self._last, self._bytes = event.cid, self._bytes - len(event.block)

    async def _read(self) -> bool:
        """Read some; return whether there was more."""
        if self._problem is not None:
            return False
        try:
            async with asyncio.timeout(WITHIN_S):
                records = await self._fetch()
        except TimeoutError as error:
            raise UnreachableError(f"{self._name}: nothing was answered within {WITHIN_S:.0f} s") from error
        if records is None:
            return False
        self._judge(records)
        return True

    async def _fetch(self) -> Sequence[FollowedRecord] | None:
        """Return the next records, which may be none; None where the journal ends."""
        if self._steps is None:
            start, self._end = await self._journal.bounds()
            if self._end < self._next:
                reached, end = self._next, self._end
                self._begin_anew()
                raise StoppedError(
                    f"{self._name} was read up to offset {reached} and ends at {end}: it lost its end, or was made anew"
                    + self._remedy()
                )
            self._require_begin(start)
            if self._next >= self._end:
                return None
            self._until = self._end
            self._steps = aiter(self._journal.followed(max(start, self._next), self._until))
        steps, self._steps = self._steps, None  # what fails or is cancelled is begun again from what was read
        try:
            records = await anext(steps)
        except StopAsyncIteration:
            self._next = max(self._next, self._until)  # markers alone were behind the last record
            return ()
        self._steps = steps
        return records

    def _require_begin(self, start: int) -> None:
        """Hold it to where it begins: what was before cannot be read. Whoever judges events by those before sees it."""
        del start

    def _remedy(self) -> str:
        """Say what to do where it lost its end: nothing, where whoever runs the other deployment has to say it."""
        return ""

    @abstractmethod
    def _judge(self, records: Sequence[FollowedRecord]) -> None:
        """Take records: put what counts in `_events`, move `_next`, or say in `_problem` why nothing more is read."""

    def _require_no_problem(self) -> None:
        """Raise what keeps it from being read, once; then it is read anew: it may have been restored."""
        if self._problem is not None:
            problem = self._problem
            self._begin_anew()
            raise StoppedError(problem)
