"""A standby: the fold of a partition that another worker decides, kept warm for the day on which its owner goes.

    opening ──► following ──► closed: the partition has another owner, this worker perhaps, or another standby
       ▲           │
       ├───────────┤  the brokers do not answer, the store cannot be used, the journal is not as it was: look again
       ▼           │
    stopped ◄──────┘  going on would mean to guess: the place is named, and looked at again after a minute

It folds into the very store that the shard of this worker would open, and never fences: it has nothing to write with.
What it found is proven again by the shard that opens the store.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.cancellation import is_task_cancelled
from annals.agents.folding.damage import DamagedStores
from annals.agents.folding.fold import Fold
from annals.agents.folding.known_events import is_event
from annals.agents.folding.turns import turns
from annals.agents.folding.working_set import WorkingSet
from annals.agents.ports import StaleStateError, StoppedError, StoreError, UnreachableError
from annals.agents.writing.recovery.losses import is_a_fold_of, record_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import AggregateCache
    from annals.agents.ports import Clock, LogState, Position, ShardStore, StandbyLog, StandbyTelemetry, StoreFactory
    from annals.agents.writing.shard_id import ShardId
    from annals.topics.group_metadata import EventAt

log = structlog.get_logger(__name__)

FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 5.0
STOPPED_S: Final = 60.0  # until the place of a stop is looked at again: somebody may have mended it
STABLE_POLL_S: Final = 0.5
SLICE_OFFSETS: Final = 20_000  # of the journal in one turn; then another standby has its own


class StandbyPhase(Enum):
    """What a standby does."""

    OPENING = "opening"
    FOLLOWING = "following"
    STOPPED = "stopped"
    CLOSED = "closed"


class Standby:
    """Folds the journal of one partition behind its owner."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        journal: StandbyLog,
        stores: StoreFactory,
        clock: Clock,
        telemetry: StandbyTelemetry,
        *,
        aggregate_cache: AggregateCache,
        turns: asyncio.Semaphore,
        releases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Take the parts; nothing is opened before `run`.

        aggregate_cache: of standbys alone; turns: how many standbys fold at once; releases: which one published which
        schema, by URN.
        """
        self.place = place
        self.phase = StandbyPhase.OPENING
        self.reason = "not opened yet"
        self.read_until = 0
        """The offset below which everything is folded."""
        self._decider = decider
        self._journal = journal
        self._stores = stores
        self._clock = clock
        self._telemetry = telemetry
        self._aggregate_cache = aggregate_cache
        self._turns = turns
        self._releases = releases
        self._store: ShardStore | None = None
        self._pending: asyncio.Future[ShardStore] | None = None
        self._stopped_for = self._left_for = ""
        self._log = log.bind(kind=place.kind, partition=place.partition)
        self._damaged = DamagedStores(stores, clock, telemetry, self._log)

    async def run(self) -> None:
        """Follow the journal until cancelled."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._follow(await self._open(), backoff)
            except (UnreachableError, StaleStateError) as error:
                self._leave(str(error))
                await backoff.wait()
            except StoppedError as error:
                await self._stop(str(error))
                await asyncio.sleep(STOPPED_S)
            except asyncio.CancelledError:
                if is_task_cancelled():
                    raise
                self._leave("a connection broke while something was asked of the brokers")
                await backoff.wait()
            except StoreError as error:
                self._leave(f"the store cannot be used: {error}")
                await self._close_store()  # RocksDB refuses all that follows on a failure
                await self._damaged.set_aside(error, self._tell)
                await backoff.wait()
            except Exception as error:  # noqa: BLE001 - nothing may end the standby unseen
                self._log.exception("standby failed")
                self._tell(f"{type(error).__name__}: {error}")
                await self._close_store()
                await backoff.wait()

    async def suspend(self) -> None:
        """Go on through a rebalance: nothing here is anybody else's."""

    def resume(self) -> None:
        """See `suspend`."""

    async def close(self) -> None:
        """Give up the store, so that an owner here can open it. `run` must have ended or been cancelled."""
        if self._pending is not None:  # a thread opens it, whoever waits for that
            with suppress(Exception):
                self._store = await self._pending
        await self._close_store()
        self.phase, self.reason = StandbyPhase.CLOSED, "closed"

    async def _open(self) -> Fold:
        """Open the store, and prove that it is a fold of the journal as it is now."""
        self._tell("opening the store")
        store = self._store or await self._have(self._stores.open())
        seen = await self._stable(store.position().last_offset)
        if not await is_a_fold_of(store, self._journal, self.place, seen, await self._known(seen)):
            self._log.warning("the store is no fold of this journal; folding anew")
            store = await self._have(self._stores.renew(store))
        self.read_until = store.position().offset
        working_set = WorkingSet(self._decider, store, self._aggregate_cache)
        return Fold(self._decider, working_set, self.place.partition, self.place.partitions, self._releases)

    async def _stable(self, last_offset: int) -> LogState:
        """Look at what is committed for good; a store that an owner here left may be ahead of that for a moment."""
        while True:
            seen = await self._journal.look()
            if not seen.journal_stable <= last_offset < seen.journal_end:
                return seen._replace(journal_end=seen.journal_stable)
            self._tell(f"a transaction is open on the journal since offset {seen.journal_stable}")
            await asyncio.sleep(STABLE_POLL_S)

    async def _known(self, seen: LogState) -> EventAt | None:
        """Return the last event that the group's offset tells of, if the journal has it; it may not be stable yet."""
        last = seen.last_event
        there = None if last is None else await record_at(self._journal, last.offset, last.cid, seen.journal_end)
        return last if last is not None and is_event(there, last) else None

    async def _follow(self, fold: Fold, backoff: Backoff) -> None:
        """Fold what is committed, a slice in each turn."""
        end = (await self._journal.look()).journal_stable
        behind = end - self.read_until
        self.phase, self.reason = StandbyPhase.FOLLOWING, ""
        while True:
            while self.read_until < end:
                async with self._turns:
                    await self._fold_until(fold, min(end, self.read_until + SLICE_OFFSETS))
            self._stopped_for = self._left_for = ""
            backoff.reset()
            if behind >= 0:
                self._log.info("standby has caught up", journal_end=end, folded_offsets=behind)
                behind = -1
            end = await self._journal.until_moved(self.read_until)
            if end < self.read_until:
                raise StaleStateError(f"the journal ends at offset {end}, and reached {self.read_until} before")
            # What was passed since and did not count may have been cut off, and others written in its place.
            self.read_until = self._position().offset

    async def _fold_until(self, fold: Fold, end: int) -> None:
        await self._require_last_record(end)
        try:
            async with aclosing(self._journal.read(self.read_until, end)) as steps:
                async for records in steps:
                    for turn in turns(records):
                        began = self._clock.monotonic()
                        fold.apply(turn)
                        # Whoever decides has the processor for as long again: a standby is never urgent.
                        await asyncio.sleep(self._clock.monotonic() - began)
        finally:
            self._telemetry.folded(fold.counts, self.read_until)
            fold.counts.clear()
        self.read_until = end

    async def _require_last_record(self, end: int) -> None:
        """See that the journal still has the last record that was folded: it was not cut and written anew."""
        position = self._position()
        if position.last_offset < 0:
            return
        if not position.stands_at(await record_at(self._journal, position.last_offset, position.last_cid, end)):
            raise StaleStateError(f"the journal is not as it was at offset {position.last_offset}")

    def _position(self) -> Position:
        assert self._store is not None  # noqa: S101 - `_open` opened it
        return self._store.position()

    async def _have(self, opening: Awaitable[ShardStore]) -> ShardStore:
        """Wait for a store; where the wait is cancelled, `close` waits for it: its lock is held until then."""
        self._pending = asyncio.ensure_future(opening)
        try:
            self._store = await asyncio.shield(self._pending)
        finally:
            if self._pending.done():
                self._pending = None
        return self._store

    async def _close_store(self) -> None:
        if self._store is None:
            return
        store, self._store = self._store, None
        try:
            await self._stores.close(store)
        except Exception:  # noqa: BLE001 - a store that cannot be closed can be folded anew
            self._log.exception("the store could not be closed")

    async def _stop(self, reason: str) -> None:
        await self._close_store()
        self.phase, self.reason = StandbyPhase.STOPPED, reason
        if reason != self._stopped_for:
            self._log.error("standby stopped", reason=reason)
        self._stopped_for = reason

    def _leave(self, reason: str) -> None:
        if reason != self._left_for:
            self._log.warning("standby does not follow", reason=reason)
        self._left_for = reason
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        self.phase, self.reason = StandbyPhase.OPENING, reason
