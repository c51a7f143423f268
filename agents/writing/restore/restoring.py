"""From a restore point to a store that a shard can decide with: its list, its parts, the snapshots that they name.

A snapshot counts only by its CID: a newer one of the same aggregate has a head that the journal bears out, but a state
that nothing does. Where the one that is named is gone, the aggregate is folded from its events.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.folding.fold import Fold
from annals.agents.folding.restore_points import read_list, read_parts
from annals.agents.folding.turns import turns
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import Changes, Position, StaleStateError, StoppedError, Stored, StoreError, UnreachableError
from annals.agents.writing.restore.restored import KnownIds, RestoredStore
from annals.schemas.cid import cid_of
from annals.schemas.restore_point import (
    HEADS,
    IDS,
    VOIDS,
    RestorePointError,
    decode_heads,
    decode_ids,
    decode_voids,
)
from annals.schemas.snapshot import SnapshotError, decode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import LogRecovery, LogState, ShardStore, StoreFactory
    from annals.agents.writing.shard_id import ShardId
    from annals.schemas.restore_point import Head, RestoreList

NOWHERE: Final = Position(0, -1, b"")
STEP: Final = 1_000  # aggregates written at once
FOLD_CACHE_BYTES: Final = 4 << 20


class Parts(NamedTuple):
    """What a list names, decoded."""

    heads: dict[bytes, Head]
    voids: dict[bytes, tuple[bytes, bytes]]
    ids: KnownIds


class Restoring:
    """Opens one shard's store from its restore point."""

    def __init__(
        self,
        decider: Decider[Any],
        place: ShardId,
        journal: LogRecovery,
        stores: StoreFactory,
        releases: Mapping[str, str],
        tell: Callable[[str], None],
    ) -> None:
        """Take the shard's parts. tell: is told what is waited for."""
        self._decider = decider
        self._place = place
        self._journal = journal
        self._stores = stores
        self._releases = releases
        self._tell = tell

    async def restore(self, cid: bytes, seen: LogState, full: ShardStore, least_saved: int) -> RestoredStore | None:
        """Return a store as of the restore point; None if the shard's own is nearly as far, or further.

        cid: of its list. full: the shard's own store, a fold of this journal.

        Raises:
            RestorePointError: it is of no use; the message says why.
        """
        found = await read_list(self._journal, self._place, self._decider.state_version, cid, seen.journal_end)
        if found.position - full.position().offset < least_saved:
            return None
        self._tell("reading the restore point")
        parts = await _decoded(await read_parts(self._journal, found.parts))
        try:
            beside = await self._beside(found, parts)
        except (StoreError, StoppedError) as error:  # the shard's own store may have what this one lacks
            raise RestorePointError(f"it cannot be stored: {error}") from error
        return RestoredStore(self._place.kind, beside, full, parts.ids, found.position)

    async def _beside(self, found: RestoreList, parts: Parts) -> ShardStore:
        beside = await self._stores.open_beside()
        try:
            await self._fill(beside, found, parts)
        except BaseException:
            await self._stores.discard(beside)
            raise
        return beside

    async def _fill(self, beside: ShardStore, found: RestoreList, parts: Parts) -> None:
        left = await self._take_snapshots(beside, parts.heads)
        if left:
            await self._fold(beside, found, left)
        for key, head in left.items():
            folded = beside.aggregate(key)
            if folded is None or folded.version != head.version:
                raise RestorePointError(f"{key.decode()!r} cannot be folded up to version {head.version}")
        position = Position(found.position, found.last_offset, found.last_cid)
        beside.apply(Changes({}, {}, parts.voids, position))

    async def _take_snapshots(self, beside: ShardStore, heads: Mapping[bytes, Head]) -> dict[bytes, Head]:
        """Take the states of all snapshots that are named, and return the aggregates whose snapshot is not there."""
        left = dict(heads)
        states: dict[bytes, Stored] = {}
        try:
            async for records in self._journal.snapshots():
                for key, value in records:
                    head = left.get(key or b"")
                    if key is None or value is None or head is None or cid_of(value) != head.snapshot:
                        continue
                    states[key] = self._state(key, head, value)
                    del left[key]
                    if len(states) >= STEP:
                        beside.apply(Changes(states, {}, {}, NOWHERE))
                        states = {}
                        self._tell(f"reading snapshots: {len(heads) - len(left)} of {len(heads)}")
                        await asyncio.sleep(0)
        except (UnreachableError, StaleStateError) as error:
            raise RestorePointError(f"snapshots cannot be read: {error}") from error
        beside.apply(Changes(states, {}, {}, NOWHERE))
        return left

    def _state(self, key: bytes, head: Head, value: bytes) -> Stored:
        try:
            snapshot = decode_snapshot(value)
        except SnapshotError as error:
            raise RestorePointError(f"the snapshot of {key!r}: {error}") from error
        is_it = (snapshot.kind, snapshot.aggregate_id.encode(), snapshot.version) == (
            self._place.kind,
            key,
            head.version,
        )
        if not is_it or snapshot.recorded_at is None or snapshot.state_version != self._decider.state_version:
            raise RestorePointError(f"the snapshot of {key!r} is of another aggregate, version or layout")
        return Stored(snapshot.version, snapshot.head, snapshot.recorded_at, snapshot.state)

    async def _fold(self, beside: ShardStore, found: RestoreList, left: Mapping[bytes, Head]) -> None:
        """Fold aggregates from their events, which takes one reading of the journal before the restore point."""
        self._tell(f"folding {len(left)} aggregates whose snapshots are gone")
        working_set = WorkingSet(self._decider, beside, AggregateCache(FOLD_CACHE_BYTES))
        fold = Fold(self._decider, working_set, self._place.partition, self._place.partitions, self._releases)
        async for records in self._journal.read(0, found.position):
            for turn in turns(records):
                fold.apply([record for record in turn if record.key in left])
                await asyncio.sleep(0)


async def _decoded(values: Mapping[str, bytes]) -> Parts:
    heads: dict[bytes, Head] = {}
    voids: dict[bytes, tuple[bytes, bytes]] = {}
    segments = []
    for name, value in values.items():
        if name.startswith(HEADS):
            heads.update(decode_heads(value))
        elif name.startswith(VOIDS):
            voids.update({cid: (key, command_id) for cid, key, command_id in decode_voids(value)})
        elif name.startswith(IDS):
            segments.append(decode_ids(value))
        else:
            raise RestorePointError(f"{name!r} is a part that this release does not know")
        await asyncio.sleep(0)
    return Parts(heads, voids, KnownIds(segments))
