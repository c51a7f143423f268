"""A head start: what follows a journal partition goes on from a restore point while its reading shard reads all of it.

    waiting ──► opening ──► ahead ──► waiting     the shard has come as far, and found the same events
                   └───────────┴────► waiting     no restore point is of use: the shard alone; tried again after a while
                               └────► over        the shard found other events: never again in this process

It stands before the shard, for those who publish, deliver and react (the `DeliverySource` port). Its store is beside
the shard's own, which is a fold from the beginning at each moment: none of the two ever takes over the other's
position, and where the process ends, the one beside is gone. While it is there, it alone answers, from its `begin` on.
Whoever asks for what is older waits for the shard: two views of the journal's end would let somebody believe that it
has come.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from annals.agents.backoff import Backoff
from annals.agents.folding.restore_points import read_list
from annals.agents.ports import StaleStateError, StoreError, UnreachableError
from annals.agents.reading.ahead.answers import AheadAnswers
from annals.agents.reading.ahead.folding import AheadFold
from annals.agents.reading.following.moves import Moves
from annals.agents.reading.found import READING, ShardStatus
from annals.agents.reading.ports import BrokenChainError, NotIndexedError, NotReadyError
from annals.agents.reading.queries.events import Place
from annals.agents.waiting import ended, first_of
from annals.schemas.cid import cid_text
from annals.schemas.journal_reader import GapError
from annals.schemas.restore_point import RestorePointError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence

    from annals.agents.folding.restore_points import Partition
    from annals.agents.ports import Clock
    from annals.agents.reading.ahead.ports import (
        BesideStores,
        HeadStartTelemetry,
        IndexingShard,
        NamedRestorePoint,
    )
    from annals.agents.reading.found import JournalEvent, JournalRun
    from annals.agents.reading.ports import RangedJournal

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
LOOK_S: Final = 0.25
FIRST_END_S: Final = 0.02  # between two times that the journal's end is asked for; doubled while nothing comes
LAST_END_S: Final = 0.25
COMPARED: Final = 1_000


class HeadStartPolicy(NamedTuple):
    """When a restore point is used, and from where on.

    least_saved: where the shard is so many offsets behind what is asked for, or more; margin: so many offsets before
    what is asked for, so that the aggregates of what is not settled yet are found; most: at most so many offsets are
    read twice, and unwound in memory.
    """

    least_saved: int = 10_000
    margin: int = 10_000
    most: int = 200_000


USUAL: Final = HeadStartPolicy()


class _DifferenceError(Exception):
    """The journal read from the beginning has other events."""


class HeadStart:
    """Answers for a reading shard while that is far behind (the `DeliverySource` port). reason: why it does not."""

    def __init__(
        self,
        shard: IndexingShard,
        place: Partition,
        journal: RangedJournal,
        point: NamedRestorePoint,
        stores: BesideStores,
        clock: Clock,
        telemetry: HeadStartTelemetry,
        policy: HeadStartPolicy = USUAL,
        openings: asyncio.Semaphore | None = None,
    ) -> None:
        """Take the shard, which partition it is of, and what a head start asks of the outside.

        openings: of all that open in a process, so that they have something to answer one after the other.
        """
        self._openings = openings or asyncio.Semaphore(1)
        self._shard = shard
        self._place = place
        self._journal = journal
        self._point = point
        self._stores = stores
        self._clock = clock
        self._telemetry = telemetry
        self._policy = policy
        self._name = f"{place.kind}-{place.partition}"
        self._log = structlog.get_logger(__name__).bind(kind=place.kind, partition=place.partition)
        self._waiting: Counter[int] = Counter()
        self._expected: tuple[int, ...] = ()
        self._asked = asyncio.Event()
        self._moves = Moves(clock)
        self._ahead: AheadAnswers | None = None
        self._end = self._end_at_opening = 0
        self._is_over = False
        self.reason = "the restore point is not read yet"

    @property
    def kind(self) -> str:
        """The kind of the journal."""
        return self._place.kind

    @property
    def partition(self) -> int:
        """The journal partition."""
        return self._place.partition

    @property
    def is_whole(self) -> bool:
        """Whether all of the journal is known, up to where it answers."""
        return self._ahead is None

    @property
    def problem(self) -> str | None:
        """Why somebody waits for the whole journal to be read; None while nobody does."""
        if self._ahead is not None or not self._is_wanted():
            return None
        status = self._shard.status()
        return (
            f"{self._name} is not published yet: the journal is read from the beginning, at offset {status.offset} of "
            f"{status.end}; no restore point is used: {self.reason}"
        )

    async def run(self) -> None:
        """Begin head starts when they are wanted, until the task is cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while not self._is_over:
            await self._until_wanted()
            try:
                await self._go()
                backoff.reset()
                continue
            except _DifferenceError as error:
                self._is_over, self.reason = True, str(error)
                self._telemetry.differed()
                self._log.error("the head start differs from the journal", reason=self.reason)
            except (
                RestorePointError, GapError, UnreachableError, StaleStateError, StoreError, NotReadyError,
                BrokenChainError,
            ) as error:  # fmt: skip
                if str(error) != self.reason:
                    self._log.warning("no head start: the journal is read from the beginning", reason=str(error))
                self.reason = str(error)
            except Exception as error:  # noqa: BLE001 - a head start is a shortcut: nothing may end with it
                self.reason = f"{type(error).__name__}: {error}"
                self._log.exception("head start failed")
            await backoff.wait()

    async def suspend(self) -> None:
        """Go on: it writes nothing that anybody else could."""

    def resume(self) -> None:
        """Go on after a rebalance that left the partition here."""

    async def close(self) -> None:
        """Nothing is left to do: `run` has ended or been cancelled, and removed the store."""

    def status(self) -> ShardStatus:
        """Return where it stands, or the shard."""
        if self._ahead is None:
            return self._shard.status()
        fold = self._ahead.fold
        return ShardStatus(
            kind=self.kind,
            partition=self.partition,
            phase=READING,
            reason="",
            offset=fold.read_until,
            end=max(self._end, fold.read_until),
            reached=fold.read_until >= self._end_at_opening,
            lag_s=0.0,
            stale={},
        )

    def expect(self, offsets: Iterable[int]) -> None:
        """Take from where the journal is going to be read on."""
        self._expected = tuple(offsets)

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is read; False when it did not come. deadline: monotonic seconds."""
        with self._asking(offset):
            while True:
                left = deadline - self._clock.monotonic()
                if self._ahead is None:
                    self._asked.set()  # once more: a shard that opens tells nobody
                    step = self._clock.monotonic() + min(left, LOOK_S)
                    if await self._shard.until_offset(offset, step) and self._ahead is None:
                        return True
                elif self._ahead.fold.begin <= offset <= self._ahead.fold.read_until:
                    return True
                elif left > 0:
                    await first_of(self._moves.wait(), timeout_s=min(left, LOOK_S))
                if left <= 0:
                    return False

    async def until_behind(self, offset: int) -> None:
        """Wait until a record at an offset, or a later one, is read."""
        with self._asking(offset):
            while True:
                if self._ahead is None:
                    self._asked.set()
                    if await _is_first(self._shard.until_behind(offset), self._moves.wait()):
                        return
                elif offset >= self._ahead.fold.begin and self._ahead.fold.position > offset:
                    return
                else:
                    await self._moves.wait()

    async def events_from(self, offset: int, limit: int) -> JournalRun:
        """Return the next events that count, from an offset on. NotIndexedError: they are older than what it knows."""
        return await (self._ahead or self._shard).events_from(offset, limit)

    async def event_at(self, offset: int) -> JournalEvent | None:
        """Return the event at an offset; None if none is there. Whether it counts, the caller knows by its CID."""
        return await (self._ahead or self._shard).event_at(offset)

    async def events_at(self, offsets: Sequence[int]) -> dict[int, JournalEvent]:
        """Return the events at some offsets that it has."""
        return await (self._ahead or self._shard).events_at(offsets)

    async def last_before(self, offset: int) -> bytes | None:
        """Return the CID of the last event that counts below an offset, if any. NotIndexedError: it is older."""
        if self._ahead is None and (there := self._shard.status().offset) < offset:
            raise NotIndexedError(f"{self._name} is read up to offset {there}, and not up to {offset}")
        return await (self._ahead or self._shard).last_before(offset)

    async def place_of(self, cid: bytes) -> int | None:
        """Return the offset of an event that counts; None if there is none. NotIndexedError: not all is read yet."""
        return await (self._ahead or self._shard).place_of(cid)

    async def offset_of(self, aggregate_id: str, version: int) -> int | None:
        """Return where an aggregate's event of a version is; None if it is not there (yet).

        Raises:
            NotIndexedError: it is older than what this knows.
        """
        return await (self._ahead or self._shard).offset_of(aggregate_id, version)

    @contextmanager
    def _asking(self, offset: int) -> Iterator[None]:
        self._waiting[offset] += 1
        try:
            yield
        finally:
            self._waiting[offset] -= 1
            if not self._waiting[offset]:
                del self._waiting[offset]

    def _is_wanted(self) -> bool:
        status = self._shard.status()
        least = status.offset + max(1, self._policy.least_saved)
        return status.phase == READING and any(offset >= least for offset in self._waiting)

    async def _until_wanted(self) -> None:
        self._asked.clear()
        while not self._is_wanted():
            await self._asked.wait()
            self._asked.clear()

    async def _go(self) -> None:
        """Begin at a restore point, and go on until the shard has come as far.

        Raises:
            RestorePointError: none is of use.
            _DifferenceError: the shard has found other events.
        """
        async with self._openings:
            ahead = await self._opened(tuple(self._waiting)) if self._is_wanted() else None
        if ahead is None:
            return
        fold = ahead.fold
        try:
            self._ahead = ahead
            self._moves.tell()
            self._telemetry.begun()
            await self._until_met(ahead)
            self._log.info("the shard has come as far as the head start, and found the same", offset=fold.read_until)
        finally:
            self._ahead = None
            self._moves.tell()
            await ahead.close()

    async def _opened(self, asked: tuple[int, ...]) -> AheadAnswers:
        cid = await self._point.named()
        if cid is None:
            raise RestorePointError("none has been made")
        _, end = await self._journal.bounds()
        found = await read_list(self._point, self._place, None, cid, end)
        begin = self._begin(found.position, asked)
        store = await self._stores.open_beside()
        fold = AheadFold(self._place, store, self._journal, begin)
        place = Place(self.kind, self.partition)
        ahead = AheadAnswers(place, store, self._stores, self._journal, fold, self._log)
        try:
            await fold.open(found, self._point)
        except BaseException:
            await ahead.close()
            raise
        self._end = self._end_at_opening = end
        self._log.info("head start", begin=begin, restore_point=found.position, end=end)
        return ahead

    def _begin(self, position: int, asked: tuple[int, ...]) -> int:
        """Return from where on the journal is read; position: of the restore point.

        asked: what was asked for when it was begun; who asks may look elsewhere just now.

        Raises:
            RestorePointError: those who wait are too far before it, or it saves too little.
        """
        policy = self._policy
        wanted = [offset for offset in (*asked, *self._waiting, *self._expected) if offset >= position - policy.most]
        if not wanted:
            raise RestorePointError(f"it is at offset {position}, far behind what is to be published next")
        begin = max(0, min(position, *wanted) - policy.margin)
        if begin - self._shard.status().offset < policy.least_saved:
            raise RestorePointError(f"it is at offset {position}, which saves too little")
        return begin

    async def _until_met(self, ahead: AheadAnswers) -> None:
        fold = ahead.fold
        compared, look_s = fold.begin, FIRST_END_S
        while True:
            if ahead.failure is not None:
                raise ahead.failure
            before = fold.read_until
            try:
                _, self._end = await self._journal.bounds()
                await fold.require_whole(self._end, self._shard.status())
                await fold.read(self._end, self._moves.tell)
            except UnreachableError as error:
                self._log.warning("the journal is not read further", reason=str(error))
            compared = await self._compare(ahead, compared)
            status = self._shard.status()
            if status.phase == READING and status.offset >= fold.read_until <= compared:
                return
            look_s = FIRST_END_S if fold.read_until > before else min(2 * look_s, LAST_END_S)
            await asyncio.sleep(look_s if fold.read_until == before else 0)

    async def _compare(self, ahead: AheadAnswers, compared: int) -> int:
        """Hold what was answered to what the shard has found since; return up to where they are the same.

        Raises:
            _DifferenceError: they are not.
        """
        until = min(ahead.fold.read_until, self._shard.status().offset)
        while compared < until:
            mine = await ahead.placed(compared, COMPARED)
            try:
                theirs = await self._shard.placed(compared, COMPARED)
            except NotReadyError:  # it is opened again
                return compared
            is_last = len(mine) < COMPARED or mine[-1][0] >= until
            behind = until if is_last else mine[-1][0] + 1
            own, true = ([each for each in some if each[0] < behind] for some in (mine, theirs))
            if own != true:
                offset, cid = min(set(own) ^ set(true))
                raise _DifferenceError(f"{cid_text(cid)} at offset {offset} counts in one, and not in the other")
            compared = behind
        return compared


async def _is_first(awaited: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> bool:
    """Wait for the first of two; return whether it was the one. The other one is waited for no longer."""
    tasks = [asyncio.ensure_future(awaited), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done() and tasks[0].exception() is None
    finally:
        await ended(*tasks)
