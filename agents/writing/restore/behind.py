"""What goes on behind a shard's commands: restore points are made, and a restored store is folded in full."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from annals.agents.writing.restore.full_fold import FullFold
from annals.agents.writing.restore.making import RestorePoints, RestorePolicy
from annals.agents.writing.restore.restored import RestoredStore, commands_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import Clock, CommandRecord, LogRecovery, Position, ShardStore, ShardTelemetry, Writes
    from annals.agents.writing.restore.collecting import Caused
    from annals.agents.writing.shard_id import ShardId
    from annals.topics.group_metadata import GroupMetadata

log = structlog.get_logger(__name__)


class OpenedStore(Protocol):
    """The store of a shard, as whoever opened it has it."""

    store: ShardStore | None

    async def take_over(self, full: ShardStore) -> WorkingSet:
        """Go on with the shard's own store, which is folded as far as the restored one."""


class Behind:
    """The work of one shard that no command waits for. While a store is only restored, no restore point is made."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        journal: LogRecovery,
        opening: OpenedStore,
        policy: RestorePolicy,
        clock: Clock,
        telemetry: ShardTelemetry,
        releases: Mapping[str, str],
        background: asyncio.Semaphore,
        wake: Callable[[], None],
        command_bytes: int,
    ) -> None:
        """Take the shard's parts. background: how many shards may do such work at once; wake: the shard is to look."""
        self._decider = decider
        self._place = place
        self._journal = journal
        self._opening = opening
        self._releases = releases
        self._background = background
        self._wake = wake
        self._command_bytes = command_bytes
        self._full_fold: FullFold | None = None
        self._folding: asyncio.Task[None] | None = None
        own_log = log.bind(kind=place.kind, partition=place.partition)
        self._points = RestorePoints(
            place, journal, decider.state_version, policy, clock, telemetry, background, wake, own_log
        )

    def __enter__(self) -> None:
        """Nothing goes on yet."""

    def __exit__(self, *_: object) -> None:
        """Let go of all of it."""
        self.end()

    @property
    def is_restored(self) -> bool:
        """Whether the shard decides on a restored store."""
        return self._full_fold is not None

    @property
    def is_making(self) -> bool:
        """Whether a restore point is being made."""
        return self._points.is_making

    @property
    def has_work(self) -> bool:
        """Whether a transaction is wanted though there are no commands."""
        return self._points.has_pieces

    def opened(self, journal_end: Callable[[], int]) -> None:
        """Begin to fold what is behind a restored store. journal_end: where the shard knows the journal to end."""
        store = self._opening.store
        if isinstance(store, RestoredStore):
            self._full_fold = FullFold(
                self._decider,
                self._place,
                store,
                self._journal,
                self._releases,
                self._background,
                journal_end,
                self._wake,
            )
            self._folding = asyncio.create_task(self._full_fold.run())

    def consider(self, journal_end: int) -> None:
        """Want a restore point if one is due."""
        if not self.is_restored:
            self._points.consider(journal_end)

    async def between(self, metadata: GroupMetadata, journal_end: int) -> WorkingSet | None:
        """Do what must be done between two transactions; return the working set to go on with, if it is another one."""
        if self._full_fold is not None and self._full_fold.is_ready:
            full = await self._full_fold.finish()
            self._full_fold = self._folding = None
            return await self._opening.take_over(full)
        if self._full_fold is None and self._opening.store is not None:
            self._points.begin(self._opening.store, metadata.restore, journal_end)
        return None

    async def resolve(self, records: Iterable[CommandRecord]) -> None:
        """Find out what became of commands before they are decided."""
        store = self._opening.store
        if isinstance(store, RestoredStore):
            await store.resolve(self._journal, commands_of(records, self._command_bytes))

    def write(
        self, writes: Writes, working_set: WorkingSet, caused: Sequence[Caused], position: Position
    ) -> bytes | None:
        """Add to a transaction what is next of a restore point; see `RestorePoints.write`."""
        return self._points.write(writes, working_set, caused, position)

    def committed(self, restore: bytes | None, position: Position) -> None:
        """Know that a transaction is committed."""
        self._points.committed(restore, position)

    def end(self) -> None:
        """Let go of all of it: the shard closes, or opens again."""
        self._points.abandon()
        if self._folding is not None:
            self._folding.cancel()
        self._full_fold = self._folding = None
