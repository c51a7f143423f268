"""Opening a shard: from its fence to a journal that is proven whole and folded, and the next command to decide.

Nothing may be trusted before: what was known of the partitions may be gone, the store may be a fold of another journal,
and the group's offset may be lost.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from annals.agents.folding.fold import Fold
from annals.agents.folding.turns import turns
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import StoppedError, StoreError
from annals.agents.writing.recovery.losses import is_a_fold_of
from annals.agents.writing.recovery.next_command import next_command
from annals.agents.writing.recovery.outcomes import newest_outcome
from annals.agents.writing.restore.behind import Behind
from annals.agents.writing.restore.restored import RestoredStore, commands_in, resolve, stands
from annals.agents.writing.restore.restoring import Restoring
from annals.schemas.restore_point import RestorePointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock, LogRecovery, LogState, ShardStore, ShardTelemetry, StoreFactory
    from annals.agents.writing.recovery.acknowledged import Acknowledged
    from annals.agents.writing.recovery.answered import Answers
    from annals.agents.writing.restore.making import RestorePolicy
    from annals.agents.writing.shard_id import ShardId
    from annals.topics.group_metadata import EventAt

log = structlog.get_logger(__name__)

STABLE_POLL_S: Final = 0.5


class Opened(NamedTuple):
    """What a shard begins to serve with.

    journal_end: where the journal ends; folded: by how many offsets the store was behind it; next_offset: the first
    command that is not decided; committed: the group's offset, 0 where this project did not commit it.
    """

    working_set: WorkingSet
    journal_end: int
    folded: int
    next_offset: int
    committed: int


class Opening:
    """Opens one shard behind its fence, as often as it is fenced. Keeps the store between two openings."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        journal: LogRecovery,
        stores: StoreFactory,
        acknowledged: Acknowledged,
        answers: Answers,
        telemetry: ShardTelemetry,
        tell: Callable[[str], None],
        *,
        aggregate_cache: AggregateCache,
        folding: asyncio.Semaphore,
        accept_expired: bool = False,
        releases: Mapping[str, str] = MappingProxyType({}),
        policy: RestorePolicy,
        background: asyncio.Semaphore,
        command_bytes: int,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """Take the shard's parts. tell: is told what is waited for; policy and what follows it: see `Behind`."""
        self.store: ShardStore | None = None
        self._policy = policy
        self._restoring = Restoring(decider, place, journal, stores, releases, tell)
        self._passed_over = ""
        self._folded_from = 0
        self._may_restore = policy.events > 0
        self.behind = Behind(
            decider, place, journal, self, policy, clock, telemetry, releases, background, wake, command_bytes
        )
        self._decider = decider
        self._place = place
        self._journal = journal
        self._stores = stores
        self._acknowledged = acknowledged
        self._answers = answers
        self._telemetry = telemetry
        self._tell = tell
        self._aggregate_cache = aggregate_cache
        self._folding = folding
        self._accept_expired = accept_expired
        self._releases = releases
        self._log = log.bind(kind=place.kind, partition=place.partition)

    async def open(self) -> Opened:
        """Open the shard; its journal must have been fenced.

        1. Look until no transaction is open.
        2. See that the partitions have what was acknowledged.
        3. Fold the journal from the store's position to its end, in a store that is proven to be a fold of it, or in
           one as of the restore point where that is far ahead.
        4. Find the next command: by the group's offset, by the outcomes, and by what was lost.

        Raises:
            StoppedError: going on would mean to guess. StoreError: the store cannot be used.
            UnreachableError, StaleStateError: try again later.
        """
        seen = await self._stable()
        last = await self._acknowledged.require(seen)
        self._tell("waiting for other shards to fold their journals")
        async with self._folding:
            working_set = await self._folded(seen, last)
        next_offset = await self._find_next(seen)
        # An offset that this project committed tells all, unless it is behind what was decided or was itself committed
        # after a loss: then, as without one, what came before the fence may have been forwarded.
        is_ours = seen.committed_journal_end is not None
        is_complete = is_ours and next_offset == seen.committed
        unsure_until = seen.unsure_until if is_complete else seen.commands_stable
        self._answers.begin(next_offset, unsure_until)
        self._acknowledged.be_unsure(unsure_until)  # this one's commits would seem complete to the next one that opens
        behind = seen.journal_end - self._folded_from
        return Opened(working_set, seen.journal_end, behind, next_offset, seen.committed or 0 if is_ours else 0)

    async def close_store(self) -> None:
        """Close the store, if it is open."""
        if self.store is None:
            return
        store, self.store = self.store, None
        try:
            if isinstance(store, RestoredStore):
                self._may_restore = self._may_restore and not store.has_failed
                store = await self._full_of(store)
            await self._stores.close(store)
        except Exception:  # noqa: BLE001 - a store that cannot be closed can be folded anew
            self._log.exception("the store could not be closed")

    async def take_over(self, full: ShardStore) -> WorkingSet:
        """Go on with the shard's own store, which is folded as far as the restored one."""
        if isinstance(self.store, RestoredStore):
            self.store = await self._full_of(self.store)
        self._telemetry.restored()
        return WorkingSet(self._decider, full, self._aggregate_cache)

    async def _full_of(self, restored: RestoredStore) -> ShardStore:
        """Return the shard's own store, and remove what is beside it; that can be left to the next one, too."""
        try:
            await self._stores.discard(restored.beside)
        except StoreError as error:
            self._log.warning("a store that is not needed any more could not be removed", reason=str(error))
        return restored.full

    async def _stable(self) -> LogState:
        """Look until nothing is open on the journal: ours ended with the fence, a stranger's may not.

        Where the outcomes have to tell what is decided, nothing may be open on them either: it hides those behind it.
        """
        while True:
            seen = await self._journal.look()
            if seen.journal_stable < seen.journal_end:
                self._acknowledged.require_marker(seen)
                topic, since = "journal", seen.journal_stable
            elif seen.committed_journal_end is None and seen.outcomes_stable < seen.outcomes_end:
                topic, since = "outcomes", seen.outcomes_stable
            else:
                return seen
            self._tell(
                f"somebody else's transaction is open on the {topic} since offset {since}; it ends by its producer or "
                f"by the broker's timeout"
            )
            await asyncio.sleep(STABLE_POLL_S)

    async def _folded(self, seen: LogState, last: EventAt | None) -> WorkingSet:
        """Fold the journal to its end, from the store's position if the store is a fold of this journal.

        last: the last event that is known.
        """
        try:
            return await self._folded_from_where_it_is(seen, last)
        except StoppedError as error:
            if not isinstance(self.store, RestoredStore):
                raise
            self._may_restore = False  # the full fold decides whether it is the journal
            self._log.exception("the journal does not go on behind the restore point; folding the whole journal")
            self.store = await self._full_of(self.store)
            self._passed_over = f", since it does not go on behind the restore point: {error}"
            return await self._folded_from_where_it_is(seen, last)

    async def _folded_from_where_it_is(self, seen: LogState, last: EventAt | None) -> WorkingSet:
        place = self._place
        self.store = store = self.store or await self._stores.open()
        if isinstance(store, RestoredStore) and not await stands(store, self._journal, seen.journal_end):
            self.store = store = await self._full_of(store)
        if not isinstance(store, RestoredStore) and not await is_a_fold_of(store, self._journal, place, seen, last):
            self._log.warning("the store is no fold of this journal; folding anew")
            self.store = store = await self._stores.renew(store)
        if not isinstance(store, RestoredStore):
            self.store = store = await self._restored(seen, store) or store
        working_set = WorkingSet(self._decider, store, self._aggregate_cache)
        fold = Fold(self._decider, working_set, place.partition, place.partitions, self._releases)
        self._tell(f"folding the journal{self._passed_over}")
        self._folded_from = store.position().offset
        try:
            async for records in self._journal.read(store.position().offset, seen.journal_end):
                for turn in turns(records):
                    if fold.last is None:  # the first event may be one more of a command that is known
                        await resolve(store, self._journal, commands_in(place.kind, turn))
                    fold.apply(turn)
                    position = store.position().offset
                    self._tell(f"folding the journal: at offset {position} of {seen.journal_end}{self._passed_over}")
                    self._telemetry.folded(fold.counts, position, seen.journal_end)
                    fold.counts.clear()
                    await asyncio.sleep(0)  # heartbeats, health and the other shards have their turn
        finally:
            self._telemetry.folded(fold.counts, store.position().offset, seen.journal_end)
        await self._acknowledged.opened(seen, store, fold.last or last)
        return working_set

    async def _restored(self, seen: LogState, full: ShardStore) -> RestoredStore | None:
        """Return a store as of the restore point; None if there is none, or it is of no use."""
        if seen.restore is None or not self._may_restore or not self._journal.has_restore_points:
            return None
        self._passed_over = ""
        try:
            restored = await self._restoring.restore(seen.restore, seen, full, self._policy.least_saved)
        except RestorePointError as error:
            self._passed_over = f", since the restore point is of no use: {error}"
            self._log.warning("the restore point is passed over; folding the whole journal", reason=str(error))
            return None
        if restored is not None:
            self._log.info("opened from a restore point", position=restored.since, journal_end=seen.journal_end)
        return restored

    async def _find_next(self, seen: LogState) -> int:
        assert self.store is not None  # noqa: S101 - `_folded` opened it
        newest = await newest_outcome(self._journal, self.store, self._place, seen)
        if newest is not None:
            self._acknowledged.tell_end_of(newest, seen)
        return await next_command(
            self._journal, self.store, self._place, seen, newest, self._answers, accept_expired=self._accept_expired
        )
