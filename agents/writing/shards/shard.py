"""One shard: the single writer of one journal partition, from its fence to its close.

    opening ──► open ──► suspended (a rebalance is under way) ──► open
       ▲         │
       ├─────────┤  a transaction whose end is not known, or brokers that do not answer: fence, read, prove, go on
       │         ▼
       └────── fenced (another owner) ──► stopped: what cannot go on by itself, with the reason and the remedy

What may be trusted in each phase: `annals.agents.writing.shards.phase`. Opening always goes the same way: the fence
first, then the steps of `Opening.open`, and only then are commands taken.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.cancellation import is_task_cancelled
from annals.agents.folding.damage import DamagedStores
from annals.agents.pace import Pace
from annals.agents.ports import (
    FencedError,
    StaleStateError,
    StoppedError,
    StoreError,
    UncertainError,
    UnreachableError,
)
from annals.agents.waiting import first_of
from annals.agents.writing.batches.deciding import Deciding
from annals.agents.writing.recovery.acknowledged import Acknowledged
from annals.agents.writing.recovery.answered import Answers
from annals.agents.writing.recovery.losses import NOTHING
from annals.agents.writing.recovery.opening import Opening
from annals.agents.writing.restore.full_fold import DiffersError
from annals.agents.writing.restore.making import NEVER, RestorePolicy
from annals.agents.writing.shards.command_queue import BATCH_RECORDS, CommandQueue
from annals.agents.writing.shards.fences import Fences
from annals.agents.writing.shards.phase import Phase
from annals.agents.writing.shards.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import AggregateCache
    from annals.agents.ports import (
        Clock,
        CommandSource,
        Delivery,
        Ends,
        ShardLog,
        ShardStore,
        ShardTelemetry,
        StoreFactory,
    )
    from annals.agents.writing.batches.decision_plan import Limits
    from annals.agents.writing.recovery.losses import Known
    from annals.agents.writing.shard_id import ShardId
    from annals.agents.writing.shards.concurrency_limit import ConcurrencyLimit

__all__ = ["Phase", "Shard"]

FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 5.0
FENCED_PATIENCE_S: Final = 12.0  # longer than the group's session: by then a rebalance has been told
SUSPEND_PATIENCE_S: Final = 3.0  # a transaction in flight may end before the partitions are given back


class Shard:
    """Decides the commands of one partition and writes its journal, alone."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        limits: Limits,
        journal: ShardLog,
        stores: StoreFactory,
        source: CommandSource,
        clock: Clock,
        telemetry: ShardTelemetry,
        *,
        aggregate_cache: AggregateCache,
        folding: asyncio.Semaphore,
        concurrency_limit: ConcurrencyLimit,
        accept_expired: bool = False,
        releases: Mapping[str, str] = MappingProxyType({}),
        known: Known = NOTHING,
        policy: RestorePolicy = NEVER,
        background: asyncio.Semaphore | None = None,
    ) -> None:
        """Take the parts; nothing is opened before `run`.

        folding, concurrency_limit, background: how many may fold, write, or read their journals beside their work;
        releases: which one published which schema, by URN; known: what this process knows of the journal from an
        earlier time; policy: when restore points are made and used.
        """
        self.place = place
        self.phase = Phase.OPENING
        self.reason = "not opened yet"
        self.acknowledged = Acknowledged(place, journal, known)
        self._journal = journal
        self._clock = clock
        self._telemetry = telemetry
        self._concurrency_limit = concurrency_limit
        self._command_queue = CommandQueue(source)
        self._last_position = 0
        answers = Answers(journal, place, limits.command_bytes, self._tell)
        self._opening = Opening(
            decider,
            place,
            journal,
            stores,
            self.acknowledged,
            answers,
            telemetry,
            self._tell,
            aggregate_cache=aggregate_cache,
            folding=folding,
            accept_expired=accept_expired,
            releases=releases,
            policy=policy,
            background=background or asyncio.Semaphore(1),
            command_bytes=limits.command_bytes,
            clock=clock,
            wake=self._command_queue.wake,
        )
        self._behind = self._opening.behind
        self._rebalances = 0
        self._fences = Fences()
        self._may_serve = asyncio.Event()
        self._may_serve.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._assigned = asyncio.Event()
        self._log = structlog.get_logger(__name__).bind(kind=place.kind, partition=place.partition)
        self.damaged_stores = DamagedStores(stores, clock, telemetry, self._log)
        self._pace = Pace(self._clock, self._log, BATCH_RECORDS)
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._transactions = Transactions(
            Deciding(decider, place, limits, clock),
            journal,
            self.acknowledged,
            answers,
            self._behind,
            self._pace,
            self._backoff,
            clock,
            telemetry,
        )

    @property
    def next_offset(self) -> int:
        """The next command to decide."""
        return self._transactions.next_offset

    @property
    def store(self) -> ShardStore | None:
        """The shard's store, while it is open."""
        return self._opening.store

    @property
    def trouble(self) -> str:
        """What slows the shard down, or fails, while commands wait or may wait, or for long; empty if nothing does."""
        has_none = self.phase is not Phase.OPENING and not len(self._command_queue) and not self._backoff.is_lasting
        return self._command_queue.damage or ("" if has_none else self._pace.trouble or self._pace.failure)

    def lag(self, end: int) -> int:
        """Return how many offsets below the end of its command partition are not decided."""
        return max(0, end - self._decided_until())

    def _decided_until(self) -> int:
        """Return the offset below which all is decided. With nothing in hand that is behind markers, too."""
        has_none_in_hand = self._idle.is_set() and self.phase is Phase.OPEN
        return self._command_queue.decided_until(self.next_offset) if has_none_in_hand else self.next_offset

    def keep_position(self) -> None:
        """Have the position committed where it is ahead of the group's offset and stood still since the last call."""
        self._command_queue.look_again()
        before, self._last_position = self._last_position, (position := self._decided_until())
        if self.phase is Phase.OPEN:
            self._behind.consider(self._transactions.journal_end)
            is_kept = before == position <= self._transactions.committed
            if is_kept and self._idle.is_set() and not len(self._command_queue):
                self._pace.failure = ""  # it was committed after all, and nothing is left behind it
                self._backoff.reset()
        # Once they are deleted, the markers behind the last command look like commands that expired undecided.
        if position == before and position > self._transactions.committed:
            self._command_queue.wake()

    def ends(self) -> Ends | None:
        """Return up to where the partitions reach at least, as it knows now; None while it is not open."""
        return self.acknowledged.ends(self.next_offset) if self.phase is Phase.OPEN else None

    def compare(self, asked: Ends, answered: Ends) -> None:
        """Look again if there is less than was known when asked, or if somebody else wrote to the journal."""
        if self.phase is not Phase.OPEN:
            return
        if self.acknowledged.is_less(asked, answered):
            self.phase, self.reason = Phase.OPENING, f"partitions lost what was there: known {asked}, there {answered}"
            self._log.error("partitions lost what was there", known=str(asked), there=str(answered))
            self._command_queue.invalidate(self.reason)
        elif self._idle.is_set() and answered.journal > self._transactions.journal_end:
            self._command_queue.invalidate(
                f"somebody else wrote to the journal, up to offset {answered.journal}: reading it"
            )

    def offer(self, delivery: Delivery) -> None:
        """Take what a fetch brought; decided as soon as the transaction under way is done."""
        if self.phase is Phase.OPEN:
            self._command_queue.put(delivery)

    async def run(self) -> None:
        """Open and serve until cancelled or stopped. After a failure it opens again, from the fence on."""
        with self._behind:
            await self._open_and_serve()

    async def _open_and_serve(self) -> None:
        """Return only where an operator must act: after a StoppedError, or when two deployments fence each other."""
        while True:
            try:
                await self._open()
                await self._serve()
            except FencedError as error:
                self._telemetry.fenced()
                if not error.outlasted and self._fences.is_fought_over(self._clock.monotonic(), self._rebalances):
                    self._stop(
                        "another deployment writes this journal: fenced twice within a minute without a rebalance. "
                        "Stop the other one, or give it a topic prefix of its own; then restart this worker."
                    )
                    return
                await self._wait_fenced(error)
            except UncertainError as error:
                self._telemetry.aborted()
                self._leave(Phase.OPENING, f"the end of a transaction is not known, reading the journal again: {error}")
                await self._pace.obey(self._journal.throttled_s())
                await self._backoff.wait()
            except (UnreachableError, StaleStateError) as error:
                self._pace.failure = str(error)  # told while it opens again, and while nothing is committed
                self._leave(Phase.OPENING, str(error))
                await self._backoff.wait()
            except StoppedError as error:
                if isinstance(error, DiffersError):
                    await self._transactions.forget_restore_point()
                self._stop(str(error))
                return
            except asyncio.CancelledError:
                if is_task_cancelled():
                    raise
                self._leave(Phase.OPENING, "a connection broke while something was asked of the brokers")
                await self._backoff.wait()
            except StoreError as error:
                self._leave(Phase.OPENING, f"the store cannot be used: {error}")
                await self._opening.close_store()  # RocksDB refuses all that follows on a failure
                await self.damaged_stores.set_aside(error, self._tell)
                await self._backoff.wait()
            except Exception as error:  # noqa: BLE001 - nothing may end the shard unseen
                self._log.exception("shard failed")
                self._leave(Phase.OPENING, f"{type(error).__name__}: {error}")
                await self._opening.close_store()
                await self._backoff.wait()

    async def suspend(self) -> None:
        """Take no new batch, and wait a moment for the one in flight: partitions are about to move."""
        self._may_serve.clear()
        if self.phase is Phase.OPEN:
            self.phase, self.reason = Phase.SUSPENDED, "a rebalance is under way"
        await first_of(self._idle.wait(), timeout_s=SUSPEND_PATIENCE_S)
        if not self._idle.is_set():
            self._log.warning("the transaction in flight outlasts the rebalance; the next owner's fence ends it")

    def resume(self) -> None:
        """Go on after a rebalance that left the shard here."""
        self._rebalances += 1
        self._assigned.set()
        if self.phase is Phase.SUSPENDED:
            self._command_queue.begin(self.next_offset)
            self.phase, self.reason = Phase.OPEN, ""
        self._may_serve.set()

    async def close(self) -> None:
        """Close connections and store. `run` must have ended or been cancelled."""
        if self.phase is not Phase.STOPPED:
            self._leave(Phase.CLOSED, "closed")
        await self._journal.close()
        await self._opening.close_store()

    async def _open(self) -> None:
        self._leave(Phase.OPENING, "becoming the journal's only writer")
        await self._journal.fence()
        start = await self._opening.open()
        self._transactions.opened(start)
        self._behind.opened(lambda: self._transactions.journal_end)
        self._begin()
        self._log.info("shard open", next_command=self.next_offset, journal_end=start.journal_end, folded=start.folded)

    def _begin(self) -> None:
        """Take commands, unless a rebalance began meanwhile: then `resume` does, with the positions of that time."""
        if self._may_serve.is_set():
            self._command_queue.begin(self.next_offset)
            self.phase, self.reason = Phase.OPEN, ""
        else:
            self.phase, self.reason = Phase.SUSPENDED, "a rebalance is under way"

    async def _serve(self) -> None:
        transactions = self._transactions
        while True:
            await self._may_serve.wait()
            await self._command_queue.wait()
            await self._pace.obey(self._journal.throttled_s())
            async with self._concurrency_limit.permit(len(self._command_queue)) as permit:
                await transactions.look_between()
                # Looked at again: a rebalance may have begun while it waited, and what is there is delivered again.
                if not self._may_serve.is_set():
                    continue
                records, position = self._command_queue.take(self.next_offset, self._pace.most), self._decided_until()
                self._idle.clear()
                try:
                    if not records and (position > transactions.committed or self._behind.has_work):
                        await transactions.commit_position(position)
                    while records and self._may_serve.is_set():
                        left = await transactions.decide(records, permit)
                        if left is None:  # it looked for answers, and a rebalance may have passed over the search
                            self._begin()
                        records = left or []
                        await self._pace.obey(self._journal.throttled_s())
                finally:
                    self._idle.set()

    async def _wait_fenced(self, error: FencedError) -> None:
        """Wait for the rebalance that explains the fence; without one, open again."""
        self._assigned.clear()
        self._leave(Phase.FENCED, str(error))
        await self._opening.close_store()
        await self._journal.close()
        await first_of(self._assigned.wait(), timeout_s=FENCED_PATIENCE_S)
        if not self._assigned.is_set():
            self._log.warning("fenced, and no rebalance since; opening again")

    def _tell(self, reason: str) -> None:
        self.phase, self.reason = Phase.OPENING, reason

    def _leave(self, phase: Phase, reason: str) -> None:
        if phase is Phase.CLOSED:
            self._log.info("shard closed")
        elif self.phase is Phase.OPEN or phase is not Phase.OPENING:
            self._log.warning("shard not open", phase=phase.value, reason=reason)
        self.phase, self.reason = phase, reason
        self._behind.end()
        self._command_queue.clear()
        self._transactions.rollback()

    def _stop(self, reason: str) -> None:
        self._log.error("shard stopped", reason=reason)
        self.phase, self.reason = Phase.STOPPED, reason
        self._command_queue.clear()
