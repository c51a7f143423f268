"""A reading shard: it opens the store of one journal partition, follows the journal, and answers questions.

    opening ──► reading ──► opening      the store or the brokers failed: a damaged store is set aside and built anew
                  └──► stopped           a gap in the journal, or partitions were added; what was read is still answered
    any ──► closed

A standby follows a partition that another worker has, and answers while that one does not; then it takes over.

A store is believed if its last record is in the journal where the store says; any other is built anew. `run` is the
only one that writes to the store; questions run on views, long ones in threads, and the store is closed behind them.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from time import thread_time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from annals.agents.backoff import Backoff
from annals.agents.folding.damage import DamagedStores
from annals.agents.folding.turns import TurnLength
from annals.agents.ports import StaleStateError, StoppedError, StoreDamagedError, StoreError, UnreachableError
from annals.agents.reading.following.answers import BY_HAND, Answers
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.following.journal_end import JournalEnd
from annals.agents.reading.following.losses import JournalCheck, Trusted
from annals.agents.reading.following.moves import Moves
from annals.agents.reading.following.record_queue import RecordQueue
from annals.agents.reading.found import CLOSED, OPENING, READING, STOPPED, ReadingPhase, ShardStatus
from annals.agents.reading.keeping.layout import read_aggregate
from annals.agents.reading.keeping.open_store import OpenStore
from annals.agents.reading.keeping.states import States
from annals.agents.reading.ports import BrokenChainError, NotReadyError
from annals.agents.reading.queries.events import Place
from annals.agents.reading.snapshots.keeper import SnapshotKeeper
from annals.schemas.journal_reader import GapError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock, CommandSource, Delivery
    from annals.agents.reading.following.answers import AskRows
    from annals.agents.reading.ports import (
        Follower,
        JournalPartition,
        ReadingStores,
        ReadingTelemetry,
        ReadView,
    )
    from annals.agents.reading.snapshots.policy import SnapshotPolicy
    from annals.agents.reading.snapshots.recent_states import RecentStates

T = TypeVar("T")

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0


class Shard(Answers):
    """Follows one journal partition (the `ReadingShard` port)."""

    def __init__(
        self,
        decider: Decider[Any],
        partition: int,
        partitions: int,
        stores: ReadingStores,
        journal: JournalPartition,
        source: CommandSource,
        clock: Clock,
        telemetry: ReadingTelemetry,
        followers: Sequence[Follower] = (),
        ask_rows: AskRows | None = None,
        policy: SnapshotPolicy = BY_HAND,
        recent: RecentStates | None = None,
        turns: asyncio.Semaphore | None = None,
        losses: JournalCheck | None = None,
    ) -> None:
        """Take the kind's decider, which partition of how many this is, and what the shard asks of the outside.

        followers: beside the event index and the states; ask_rows: the question to their rows; policy: of snapshots;
        recent: states in memory, of all shards; turns: of those shards of a process that only index; losses: what is
        known of the journal, which it must still have.
        """
        states = States(decider)
        super().__init__(Place(decider.kind, partition), states, ask_rows, clock, policy, recent)
        self._keeper = SnapshotKeeper(policy, self._kept, states, clock.now, self._left_out)
        self._partitions = partitions
        self._stores = stores
        self._journal = journal
        self._source = source
        self._followers: tuple[Follower, ...] = (states, *followers)
        self._turns = turns
        self._losses = losses or Trusted(journal)
        self._dropped: set[str] = set()
        self._rebuilds: list[tuple[str, str, int]] = []
        self._is_changed = self._is_standby = False
        self._queue = RecordQueue(source)
        self._length = TurnLength()
        self._read_again_at = -1
        self._log = structlog.get_logger(__name__).bind(kind=decider.kind, partition=partition)
        self._telemetry = telemetry
        self.damaged_stores: Final = DamagedStores(stores, clock, telemetry, self._log)
        self._open_store = OpenStore(stores, f"{decider.kind}-{partition}", self._queue.fail, self._log)
        self._fold: ReadingFold | None = None
        self._phase: ReadingPhase = OPENING
        self._reason = "not opened yet"
        self._end = JournalEnd()
        self._moves = Moves(clock)

    def deliver(self, delivery: Delivery) -> None:
        """Take what a fetch brought."""
        self._queue.put(delivery)

    def follow(self, followers: Sequence[Follower], dropped: Sequence[str] = ()) -> None:
        """Have other projections than before; dropped: names of followers whose rows go, followed or not."""
        self._followers = (self._states, *followers)
        self._dropped = {*self._dropped, *dropped}
        self._is_changed = True
        self._queue.wake()

    def followers(self) -> list[str]:
        """Return the names of all followers that have rows in the store; none while it is not open."""
        return [] if self._fold is None else self._fold.known()

    def rebuild(self, follower: str, aggregate_id: str, number: int) -> None:
        """Build the rows of one aggregate anew, unless it was done. number: of the rebuild."""
        self._rebuilds.append((follower, aggregate_id, number))
        self._queue.wake()

    def resume(self, follower: str) -> None:
        """Let a follower that failed try its event again."""
        if self._fold is not None:
            self._fold.resume(follower)
            self._queue.wake()

    async def look(self) -> None:
        """Ask where the journal ends now."""
        self.note_end((await self._journal.bounds())[1])

    def note_end(self, end: int) -> None:
        """Take where the journal ends now."""
        self._end.note(end)
        self._queue.wake()  # where there is doubt, it can be settled now

    def least_end(self) -> int:
        """Return the offset below which the journal does not end, unless it lost what was read; 0: none is known."""
        if self._fold is None or self._phase != READING:
            return 0
        return self._losses.least_end(self._fold.position)

    def compare(self, asked: int, start: int, end: int) -> None:
        """Compare where the journal begins and ends with what was known when that was asked for; less opens again."""
        self.note_end(end)
        if self._phase == READING and (end < asked or start > 0):
            self._queue.fail(StaleStateError(f"the journal begins at offset {start} and ends at {end}"))

    def doubt(self) -> None:
        """Believe no record that comes before the last one was looked for: brokers were away, or another one leads."""
        self._losses.doubt()

    def go_on(self) -> None:
        """Have the source deliver again, from where the shard stands: a rebalance left the partition here."""
        if self._fold is not None and self._phase == READING:
            self._queue.begin(self._fold.position.offset)

    def stand_by(self) -> None:
        """Follow a partition that another worker has, from where the shard stands."""
        self._is_standby = True
        self.go_on()

    def take_over(self) -> None:
        """Have the partition from now on, where the shard stands.

        How far behind it is nobody knows before the journal's end is noted: as at an opening, it has not reached it.
        """
        self._is_standby = False
        if self._fold is not None:
            self._end.ask_anew()
        self.doubt()
        self.go_on()

    @property
    def store_bytes(self) -> int:
        """The bytes of the store's files; 0 while it is closed."""
        return 0 if self._open_store.store is None else self._open_store.store.size_bytes()

    @property
    def failed_followers(self) -> int:
        """How many followers have failed on an event, and stand there."""
        return 0 if self._fold is None else len(self._fold.failed)

    def status(self) -> ShardStatus:
        """Return where the shard stands."""
        offset = self._offset()
        return ShardStatus(
            kind=self.kind,
            partition=self.partition,
            phase=self._phase,
            reason=self._reason or self._queue.damage,
            offset=offset,
            end=max(self._end.offset, offset),
            reached=self._fold is not None and self._end.is_reached(offset),
            lag_s=self._age_s(),
            stale={} if self._fold is None else dict(self._fold.stale),
            standby=self._is_standby,
        )

    async def until_offset(self, offset: int, deadline: float) -> bool:
        """Wait until everything below an offset is read; False when it did not come.

        Raises:
            NotReadyError: the shard was closed meanwhile.
        """
        return await self._moves.until(
            lambda: self._fold is not None and self._offset() >= offset, deadline, self._require_here
        )

    async def until_behind(self, offset: int) -> None:
        """Wait until a record at an offset, or a later one, is read."""
        while self._fold is None or self._fold.position.offset <= offset:
            await self._moves.wait()

    async def until_version(self, aggregate_id: str, version: int, deadline: float) -> bool:
        """Wait until an aggregate has a version; False when it did not come.

        Raises:
            NotReadyError: the shard was closed meanwhile.
        """
        key = aggregate_id.encode()

        def is_there() -> bool:
            return (store := self._open_store.store) is not None and read_aggregate(store, key).version >= version

        return await self._moves.until(is_there, deadline, self._require_here)

    async def run(self) -> None:
        """Follow the journal until the task is cancelled; behind a gap, stay as it is."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                await self._open()
                backoff.reset()
                try:
                    await self._follow()
                except GapError as error:
                    self._stop(error)
                await self._stay()
            except StoppedError as error:
                await self._leave(str(error))  # what was read is of another history: nothing of it is published
                self._stop(error)
                return
            except StaleStateError as error:
                await self._leave(str(error))
            except UnreachableError as error:
                await self._leave(str(error))
                await backoff.wait()
            except StoreError as error:
                await self._store_failed(error)
                await backoff.wait()
            except BrokenChainError as error:  # the rows, not the journal
                self._telemetry.chain_broken()
                await self._store_failed(StoreDamagedError(str(error)))
                await backoff.wait()
            except Exception as error:  # noqa: BLE001 - nothing may end the shard unseen
                self._log.exception("reading shard failed")
                await self._leave(f"{type(error).__name__}: {error}")
                await backoff.wait()

    async def close(self) -> None:
        """Close the store. `run` must have ended or been cancelled."""
        await self._leave("closed")
        self._phase = CLOSED
        self._moves.tell()

    async def _open(self) -> None:
        self._phase, self._reason = OPENING, "opening the store"
        await self._losses.ask()
        start, end = await self._journal.bounds()
        self._end.opened(end)
        store = self._open_store.store = await self._stores.open()
        await self._losses.require(start, end)
        if not await self._losses.is_fold(store, end):
            self._log.warning("the reading store is not a fold of this journal; reading it from the beginning")
            store = self._open_store.store = await self._stores.renew(store)
        self._fold = ReadingFold(self.kind, self.partition, self._partitions, store, self._followers, self._keeper)
        self._queue.begin(max(start, self._fold.position.offset))
        self._phase, self._reason, self._recent = READING, "", self._fold.keep_recent()
        self._moves.tell()

    async def _follow(self) -> None:
        fold = self._fold
        while fold is not None:
            if await self._losses.settle(fold.position, self._offset(), self._tell, is_idle=not len(self._queue)):
                self._queue.begin(fold.position.offset)
            age_s, records = self._age_s(), self._queue.take(self._length.records)
            self._change_followers(fold)
            async with self._turn():
                began = thread_time()  # a machine that is busy with others makes no turn shorter
                try:
                    fold.apply(records)
                    if records:
                        self._pace.note(self._clock.monotonic(), len(records), age_s)
                except GapError:
                    # What was passed and did not count may have been cut off since, and others written in its place.
                    if self._read_again_at == fold.position.offset:
                        raise
                    self._read_again_at = fold.position.offset
                    self._queue.begin(self._read_again_at)
                finally:
                    self._moves.tell()
                is_behind = fold.catch_up(self._length.records)
                events = self._length.records if is_behind else len(records)
                self._length.took(events, thread_time() - began)
            if not is_behind and not records:
                await self._queue.wait()
            await asyncio.sleep(0)  # questions and other shards have their turn

    def _turn(self) -> AbstractAsyncContextManager[Any]:
        """Return what to hold while a batch is folded.

        Of the shards that have not come to where the journal ended, one at a time goes on: each batch takes some
        milliseconds, and what publishes and answers would else have its turn behind all of them.
        """
        return nullcontext() if self._turns is None or self._end.is_reached(self._offset()) else self._turns

    def _change_followers(self, fold: ReadingFold) -> None:
        """Do what `follow` and `rebuild` asked for: between two batches, and by the only one who writes."""
        if self._is_changed:
            fold.follow(self._followers, sorted(self._dropped))
            self._dropped.clear()
            self._is_changed = False
        while self._rebuilds:
            fold.refold(*self._rebuilds.pop(0))

    async def _stay(self) -> None:
        """Read no further; what questions find of the store is acted on."""
        while True:
            self._queue.take()
            await self._queue.wait()

    def _stop(self, error: Exception) -> None:
        self._phase, self._reason = STOPPED, str(error)
        self._log.error("reading shard stopped", reason=str(error))

    def _require_here(self) -> None:
        if self._phase == CLOSED:  # another worker may have the partition, and wait for it there
            raise NotReadyError(self._why_not())

    def _age_s(self) -> float:
        """Return the age of the record that is read next; 0 where none waits."""
        oldest = self._queue.oldest_ms
        return 0.0 if oldest is None else max(0.0, self._clock.now().timestamp() - oldest / 1000)

    def _offset(self) -> int:
        """Return the offset below which everything is read; behind the last record are markers alone."""
        if self._fold is None:
            return 0
        passed = 0 if len(self._queue) else self._source.decided_until(self._fold.position.offset)
        return self._fold.read_until(passed)

    async def _ask(self, question: Callable[[ReadView], T], *, in_thread: bool = True) -> T:
        if self._fold is None:  # whether the store is a fold of this journal is not known yet
            raise NotReadyError(self._why_not())
        try:
            return await self._open_store.ask(question, self._why_not, in_thread=in_thread)
        except BrokenChainError:
            self._telemetry.chain_broken()
            raise

    def _left_out(self, aggregate_id: str, size_bytes: int) -> None:
        self._telemetry.snapshot_left_out()
        self._log.warning(
            "a snapshot is too large and left out", aggregate_id=aggregate_id, bytes=size_bytes,
            limit=self._policy.largest,
        )  # fmt: skip

    def _why_not(self) -> str:
        return f"{self.kind}-{self.partition} is {self._phase}: {self._reason}"

    def _write(self, rows: Mapping[bytes, bytes | None]) -> None:
        self._open_store.write(rows, self._why_not)

    async def _store_failed(self, error: StoreError) -> None:
        await self._leave(f"the store cannot be used: {error}")
        await self.damaged_stores.set_aside(error, self._tell)

    def _tell(self, reason: str) -> None:
        self._reason = reason

    async def _leave(self, reason: str) -> None:
        """Close the store as soon as the questions to it are answered."""
        self._phase, self._reason, self._fold = OPENING, reason, None
        self._forget_recent()
        await self._open_store.close()
