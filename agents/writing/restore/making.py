"""Restore points, made piece by piece in the transactions that a shard commits anyway.

    idle ──► wanted ──► collecting ──► writing ──► idle
              `consider`  `begin`        `write`     `committed`

In each transaction up to 1,000 aggregates get a snapshot as it is behind that transaction. One that changes afterwards
is written again. Once none is left, the parts follow, and with the last of them the list: at that point every aggregate
has the version that its snapshot has. A transaction that fails ends the attempt, and the next one begins anew: what it
wrote is named by no list.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from annals.agents.folding.restore_points import read_list
from annals.agents.ports import StaleStateError, UnreachableError
from annals.agents.writing.restore.attempt import Attempt
from annals.agents.writing.restore.collecting import Changed, collect
from annals.schemas.cid import cid_text, is_cid
from annals.schemas.restore_point import RestorePointError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import Clock, LogRecovery, Position, ShardStore, ShardTelemetry, Writes
    from annals.agents.writing.restore.collecting import Caused
    from annals.agents.writing.shard_id import ShardId
    from annals.schemas.restore_point import RestoreList

LEAST_SAVED: Final = 10_000  # events that are folded in the time that a restore point takes to be read
LONGEST_PAUSE_S: Final = 3_600.0


class RestorePolicy(NamedTuple):
    """When restore points are made and used.

    events: so many events after the last one, 0 for never; seconds: after so many, if there are any events; slice_:
    snapshots in one transaction; least_saved: a restore point is used where it is so many offsets ahead of the store;
    pause_s: after an attempt that failed, doubled each time.
    """

    events: int = 0
    seconds: float = 600.0
    slice_: int = 1_000
    least_saved: int = LEAST_SAVED
    pause_s: float = 30.0


NEVER: Final = RestorePolicy()


class RestorePoints:
    """Makes the restore points of one shard, one attempt at a time."""

    def __init__(
        self,
        place: ShardId,
        journal: LogRecovery,
        state_version: int,
        policy: RestorePolicy,
        clock: Clock,
        telemetry: ShardTelemetry,
        background: asyncio.Semaphore,
        wake: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        """Take the shard's parts. background: how many may read journals beside their work; wake: ends its sleep."""
        self._place = place
        self._journal = journal
        self._state_version = state_version
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._background = background
        self._wake = wake
        self._log = log
        self._since: int | None = None
        self._looked_at = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._is_wanted = False
        self._collecting: asyncio.Task[None] | None = None
        self._later = Changed()
        self._attempt: Attempt | None = None

    @property
    def has_pieces(self) -> bool:
        """Whether the next transaction has something to write."""
        return self._attempt is not None

    @property
    def is_making(self) -> bool:
        """Whether one is being made, so that it has to know of each transaction."""
        return self._attempt is not None or self._collecting is not None

    def consider(self, journal_end: int) -> None:
        """Want a restore point if one is due."""
        now = self._clock.monotonic()
        is_at_it = self._is_wanted or self.is_making
        if self._policy.events and self._journal.has_restore_points and not is_at_it and now >= self._not_before:
            self._is_wanted = self._since is None or self._is_due(journal_end)
            if self._is_wanted:
                self._wake()

    def _is_due(self, journal_end: int) -> bool:
        behind = journal_end - (self._since or 0)
        is_old = self._clock.monotonic() - self._looked_at >= self._policy.seconds
        # behind > 1: more than the marker of the list's own transaction
        return behind > 1 and (is_old or behind >= self._policy.events)

    def begin(self, store: ShardStore, restore: bytes | None, journal_end: int) -> None:
        """Begin to collect, between two transactions. restore: the CID of the last restore point's list."""
        if self._is_wanted:
            self._is_wanted, self._later = False, Changed()
            self._collecting = asyncio.create_task(self._collect(store, restore, journal_end))

    async def _collect(self, store: ShardStore, restore: bytes | None, end: int) -> None:
        try:
            async with self._background:
                changed = await self._collected(store, restore, end)
        except (UnreachableError, StaleStateError) as error:
            self._failed(str(error))
            changed = None
        except Exception as error:  # noqa: BLE001 - a restore point is a shortcut: nothing may end with it
            self._log.exception("what changed since the last restore point could not be collected")
            self._failed(f"{type(error).__name__}: {error}")
            changed = None
        self._collecting = None
        if changed is not None:
            changed.add(self._later)
            self._attempt = Attempt(changed, self._place, self._state_version, self._policy.slice_)
            self._wake()

    async def _collected(self, store: ShardStore, restore: bytes | None, end: int) -> Changed | None:
        before: RestoreList | None = None
        if restore is not None:
            try:
                before = await read_list(self._journal, self._place, self._state_version, restore, end)
            except RestorePointError as error:
                self._log.warning("the last restore point is passed over", reason=str(error))
        if self._since is None:
            self._since = before.position if before else 0
            self._looked_at = self._clock.monotonic()
            if not self._is_due(end):
                return None
        try:
            return await collect(self._journal, self._place.kind, store, before, end)
        except RestorePointError as error:
            self._log.warning("the last restore point is passed over", reason=str(error))
            return await collect(self._journal, self._place.kind, store, None, end)

    def write(
        self, writes: Writes, working_set: WorkingSet, caused: Sequence[Caused], position: Position
    ) -> bytes | None:
        """Add to a transaction what is next; return the CID of the list if this completes a restore point.

        caused: what the transaction's commands caused; position: up to where the journal is folded behind it.
        """
        if self._attempt is None:
            if self._collecting is not None:
                self._later.take(caused)
            return None
        if not is_cid(position.last_cid):  # the last record has no value, and no CID tells it from another
            self.abandon()
            return None
        self._attempt.changed.take(caused)
        return self._attempt.write(writes, working_set, position)

    def committed(self, cid: bytes | None, position: Position) -> None:
        """Know that a transaction is committed. cid: what `write` returned."""
        if self._attempt is None:
            return
        if cid is None:
            self._wake()  # for the next piece
            return
        self._telemetry.restore_point(self._attempt.oversized)
        self._log.info("restore point made", position=position.offset, list=cid_text(cid))
        self._attempt = None
        self._since, self._looked_at, self._failures = position.offset, self._clock.monotonic(), 0

    def abandon(self) -> None:
        """Give the attempt up: its transaction failed, or the shard opens again."""
        self._is_wanted = False
        if self._collecting is not None:
            self._collecting.cancel()
            self._collecting = None
        if self._attempt is not None:
            self._attempt = None
            self._failed("its transaction failed, or the shard opened again meanwhile")

    def _failed(self, reason: str) -> None:
        pause = min(self._policy.pause_s * 2**self._failures, LONGEST_PAUSE_S)
        self._failures += 1
        self._not_before = self._clock.monotonic() + pause
        self._log.warning("no restore point was made", reason=reason, again_in_s=pause)
