"""A fold that begins at a restore point, or somewhat before it, in a store beside the shard's own.

The reader's rule is that of every fold (`annals.agents.reading.following.fold`). What differs is where it begins: with
the ends of all chains and the void events that the restore point names, both of which are put into the store first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.folding.restore_points import read_parts
from annals.agents.folding.turns import turns
from annals.agents.ports import Position, StaleStateError
from annals.agents.reading.ahead.unwinding import STEP, Unwinding
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.found import STOPPED
from annals.agents.reading.keeping.layout import (
    AGGREGATES,
    COUNTS,
    POSITION,
    VOIDS,
    AggregateRow,
    Counts,
    after,
    encode_aggregate,
    encode_counts,
    encode_position,
    read_aggregate,
)
from annals.agents.waiting import in_turns
from annals.schemas.journal_reader import START, KeptEnd
from annals.schemas.restore_point import HEADS, RestorePointError, decode_heads, decode_voids, has_ends
from annals.schemas.restore_point import VOIDS as VOID_PARTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from annals.agents.folding.restore_points import Partition, RestoreTopics
    from annals.agents.reading.found import ShardStatus
    from annals.agents.reading.ports import FollowedRecord, RangedJournal, ReadingStore
    from annals.schemas.restore_point import RestoreList

SEEDED: Final = 5_000  # rows that are written at once
NONE: Final = Counts(0, 0, 0)


def _nobody() -> None:
    """Tell nobody."""


class AheadFold:
    """Folds a journal partition from `begin` on. read_until: everything below it is read."""

    def __init__(self, place: Partition, store: ReadingStore, journal: RangedJournal, begin: int) -> None:
        """Take an empty store."""
        self._place = place
        self._store = store
        self._journal = journal
        self._fold: ReadingFold | None = None
        self.begin = begin
        self.read_until = begin

    async def open(self, found: RestoreList, topics: RestoreTopics) -> None:
        """Read a restore point, and the journal from `begin` up to it.

        Raises:
            RestorePointError: it is of no use.
            GapError: events are missing.
        """
        wanted = {name: cid for name, cid in found.parts.items() if name.startswith((HEADS, VOID_PARTS))}
        parts = await read_parts(topics, wanted)
        voids = {cid for name in parts if name.startswith(VOID_PARTS) for cid, _, _ in decode_voids(parts[name])}
        unwinding = Unwinding(self._place.kind, voids)
        async for records in self._steps(self.begin, found.position):
            unwinding.take(records)
        ends = await self._seed({name: each for name, each in parts.items() if name.startswith(HEADS)}, unwinding)
        self._store.apply({VOIDS + cid: b"" for cid in voids})
        # Without numbers the first batch would count all aggregates. Nobody asks this store for them.
        self._store.apply({POSITION: encode_position(Position(self.begin, -1, b"")), COUNTS: encode_counts(NONE)})
        self._fold = ReadingFold(self._place.kind, self._place.partition, self._place.partitions, self._store, ())
        await self.read(found.position)
        await self._require(ends, len(voids))

    @property
    def position(self) -> int:
        """The offset behind the last record that was read."""
        return self.begin if self._fold is None else self._fold.position.offset

    async def require_whole(self, end: int, shard: ShardStatus) -> None:
        """See, where the journal's end has moved, that it still has the last record that was read.

        Raises:
            StaleStateError: it has not, or the shard has found that it lacks another one.
        """
        if shard.phase == STOPPED:
            raise StaleStateError(shard.reason)
        if self._fold is None or end == self.read_until or (last := self._fold.position).last_offset < 0:
            return
        if not last.stands_at(await self._journal.record_at(last.last_offset, last.last_cid)):
            where = f"{self._place.kind}-{self._place.partition}"
            raise StaleStateError(
                f"{where} ends at offset {end}, and was read up to {self.read_until}: it lost its end"
            )

    async def read(self, end: int, tell: Callable[[], None] = _nobody) -> None:
        """Read on to an offset, at most the last stable one. tell: is called after each step.

        Raises:
            GapError: events are missing.
            UnreachableError: the brokers do not answer; what was read stays.
        """
        assert self._fold is not None  # noqa: S101 - `open` came before
        async for records in self._steps(self.read_until, end):
            self._fold.apply(records)
            self.read_until = max(self.read_until, self._fold.position.offset)
            tell()
        if end > self.read_until:  # markers of transactions
            self.read_until = end
            tell()

    async def _steps(self, start: int, end: int) -> AsyncIterator[list[FollowedRecord]]:
        if start < end:
            async for records in self._journal.followed(start, end):
                for turn in turns(records):
                    yield list(turn)
                    await asyncio.sleep(0)

    async def _seed(self, parts: Mapping[str, bytes], unwinding: Unwinding) -> dict[bytes, KeptEnd]:
        """Write where all chains ended at `begin`; return where those of which records follow end later."""
        later: dict[bytes, KeptEnd] = {}
        async for keys in in_turns(list(unwinding.keys), SEEDED):
            later |= dict.fromkeys(keys, START)
        rows: dict[bytes, bytes | None] = {}
        for name, value in parts.items():
            if not has_ends(value):
                raise RestorePointError(f"{name} does not say where chains end: a release before this one wrote it")
            async for heads in in_turns(decode_heads(value).items(), STEP):
                for key, head in heads:
                    if head.end is None:
                        raise RestorePointError(f"{name} does not say where the chain of {key!r} ends")
                    end = KeptEnd(head.version, head.end)
                    if key in later:
                        later[key] = end
                        end = await unwinding.end_before(key, end)
                    if end.head is not None:
                        rows[AGGREGATES + key] = _row(end.version, end.head)
            if len(rows) > SEEDED:
                self._store.apply(rows)
                rows = {}
            await asyncio.sleep(0)
        self._store.apply(rows)
        return later

    async def _require(self, ends: Mapping[bytes, KeptEnd], voids: int) -> None:
        """See that the rule has come to what the restore point says."""
        async for some in in_turns(ends.items(), STEP):
            for key, end in some:
                row = read_aggregate(self._store, key)
                if (row.version, row.head) != (end.version, end.head):
                    what = f"the chain of {key!r} ends with version {row.version}, and not {end.version}"
                    raise RestorePointError(what)
        found = 0
        async for rows in in_turns(self._store.range(VOIDS, after(VOIDS)), STEP):
            found += len(rows)
        if found != voids:
            raise RestorePointError("there are void events that it does not name")


def _row(version: int, head: bytes) -> bytes:
    """Return the row of an aggregate of which nothing else is known; nobody asks this store for the rest."""
    return encode_aggregate(AggregateRow(version, 0, 0, head, "", ""))
