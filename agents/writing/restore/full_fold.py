"""The fold of the whole journal behind a shard that was opened from a restore point, and the comparison of the two.

It runs beside the shard's work, in the shard's own store, which is a beginning of the journal at every moment: wherever
the process ends, the next owner goes on from there. The last few events are folded between two transactions, while
nothing changes; then the store takes the place of the restored one.

The two must be the same byte for byte. A difference means that commands may have been decided on a wrong state.
"""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import structlog

from annals.agents.backoff import Backoff
from annals.agents.folding.fold import Fold
from annals.agents.folding.turns import turns
from annals.agents.folding.voids import all_voids
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import VOIDS_BYTES, Position, StaleStateError, StoppedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Changes, CommandEvents, LogRecovery, ShardStore, Stored
    from annals.agents.writing.restore.restored import RestoredStore
    from annals.agents.writing.shard_id import ShardId

log = structlog.get_logger(__name__)

STEP_AGGREGATES: Final = 1_000  # compared at once
NEAR: Final = 2_000  # offsets that may be folded while the shard waits
CACHE_BYTES: Final = 4 << 20
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 30.0


class DiffersError(StoppedError):
    """A restore point is not what the journal says."""


class _Watched:
    """The shard's own store while it is folded: notes what changes, and that each command before is known."""

    def __init__(self, store: ShardStore, restored: RestoredStore) -> None:
        self._store = store
        self._restored = restored
        self.changed: set[bytes] = set()

    def position(self) -> Position:
        return self._store.position()

    def aggregate(self, key: bytes) -> Stored | None:
        return self._store.aggregate(key)

    def aggregates(self) -> Iterator[tuple[bytes, Stored]]:
        return self._store.aggregates()

    def command(self, command: bytes) -> CommandEvents | None:
        return self._store.command(command)

    def commands(self, commands: Sequence[bytes]) -> Sequence[CommandEvents | None]:
        return self._store.commands(commands)

    def is_void(self, cid: bytes) -> bool:
        return self._store.is_void(cid)

    def voids(self, after: bytes = b"", most_bytes: int = VOIDS_BYTES) -> dict[bytes, tuple[bytes, bytes]]:
        return self._store.voids(after, most_bytes)

    def apply(self, changes: Changes) -> None:
        if changes.position.offset <= self._restored.since:
            for command in changes.commands:
                if command not in self._restored.ids:
                    raise _differs("a command", command)
        self._store.apply(changes)
        self.changed.update(changes.aggregates)

    def close(self) -> None:
        self._store.close()


class FullFold:
    """Folds the journal behind a restored store, compares, and says when the two may change places."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        restored: RestoredStore,
        journal: LogRecovery,
        releases: Mapping[str, str],
        background: asyncio.Semaphore,
        journal_end: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        """Take the shard's parts. background: how many may fold beside their work; wake: the shard is to look."""
        self.is_ready = False
        self.failure: Exception | None = None
        self._place = place
        self._restored = restored
        self._journal = journal
        self._background = background
        self._journal_end = journal_end
        self._wake = wake
        self._read_until = 0
        self._watched = _Watched(restored.full, restored)
        working_set = WorkingSet(decider, self._watched, AggregateCache(CACHE_BYTES))
        self._fold = Fold(decider, working_set, place.partition, place.partitions, releases)

    async def run(self) -> None:
        """Fold until little is left, and compare what is there; what goes wrong is kept as `failure`."""
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            try:
                async with self._background:
                    await self._run()
                break
            except (UnreachableError, StaleStateError) as error:
                log.warning("the journal cannot be read; trying again", reason=str(error))
                await backoff.wait()
            except Exception as error:  # noqa: BLE001 - the shard raises it where it would be met otherwise
                self.failure = error
                break
        self.is_ready = True
        self._wake()

    async def finish(self) -> ShardStore:
        """Fold the rest while the shard changes nothing; return the store that is complete.

        Raises:
            DiffersError: it differs from the restored one. StoppedError: the journal cannot be folded.
            StoreError: a store cannot be used. UnreachableError, StaleStateError: try again later.
        """
        if self.failure is not None:
            raise self.failure
        await self._fold_to(self._journal_end())
        for key in sorted(self._watched.changed):
            self._compare(key)
        mine, theirs = self._restored.position(), self._watched.position()
        if mine.last_offset != theirs.last_offset or mine.last_cid != theirs.last_cid:
            raise StaleStateError(f"the folded journal ends at {theirs}, the restored store at {mine}")
        if any(mine != theirs for mine, theirs in zip_longest(all_voids(self._restored), all_voids(self._watched))):
            raise _differs("the void events of", self._place.kind.encode())
        return self._restored.full

    async def _run(self) -> None:
        await self._fold_to(self._restored.since)
        await self._fold_near()
        later = await self._compare_all()
        await self._fold_near()
        self._watched.changed |= later

    async def _fold_near(self) -> None:
        while self._journal_end() - self._read_until > NEAR:
            await self._fold_to(self._journal_end())

    async def _fold_to(self, end: int) -> None:
        start = max(self._read_until, self._watched.position().offset)
        async for records in self._journal.read(start, end):
            for turn in turns(records):
                self._fold.apply(turn)
                await asyncio.sleep(0)
        self._read_until = max(start, end)  # behind the last record there are markers

    async def _compare_all(self) -> set[bytes]:
        """Compare the aggregates of both stores; return those that the shard has changed since they were folded."""
        self._watched.changed.clear()
        later: set[bytes] = set()
        for number, (key, folded) in enumerate(self._watched.aggregates()):
            restored = self._restored.aggregate(key)
            if restored is not None and restored.version > folded.version:
                later.add(key)
            elif restored != folded:
                raise _differs("the aggregate", key)
            if number % STEP_AGGREGATES == 0:
                await asyncio.sleep(0)
        for number, (key, _) in enumerate(self._restored.aggregates()):
            if self._watched.aggregate(key) is None:
                later.add(key)
            if number % STEP_AGGREGATES == 0:
                await asyncio.sleep(0)
        return later

    def _compare(self, key: bytes) -> None:
        if self._restored.aggregate(key) != self._watched.aggregate(key):
            raise _differs("the aggregate", key)


def _differs(what: str, which: bytes) -> DiffersError:
    return DiffersError(
        f"{what} {which.decode(errors='replace')!r} of the restore point differs from the journal folded in full: what "
        f"was decided since this shard opened may rest on a wrong state. Nothing more is decided. Look at what it was "
        f"told since then; a restart opens the shard from the folded journal."
    )
