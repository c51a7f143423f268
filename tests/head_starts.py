"""Restore points of a journal in memory, and head starts from them before a shard that is held back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from annals.agents.folding.restore_points import PartitionId
from annals.agents.reading.ahead.head_start import HeadStart, HeadStartPolicy
from annals.schemas.cid import cid_of
from annals.schemas.journal_reader import Gap, RememberingReader
from annals.schemas.restore_point import (
    LIST,
    Head,
    RestoreList,
    bucket_of,
    encode_heads,
    encode_list,
    encode_voids,
)
from annals.topics.keys import keys_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock, Journal, run_meanwhile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from annals.agents.ports import JournalRecord, KeyAndValue
    from annals.agents.reading.following.shard import Shard
    from annals.agents.reading.ports import ReadingStore


class HeldJournal(Journal):
    """A journal of which the shard gets no more than it is let have, while everybody else reads all of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.held_at: int | None = None
        self._asked_from = 0

    def deliver_from(self, offset: int) -> None:
        self._asked_from = offset
        super().deliver_from(offset)

    def _deliver(self, records: Sequence[Any]) -> None:
        let = [each for each in records if each and (self.held_at is None or each.offset < self.held_at)]
        if let:
            self._asked_from = let[-1].offset + 1
        super()._deliver(let)

    def release(self, held_at: int | None = None) -> None:
        self.held_at = held_at
        self._deliver(self.records[self._asked_from :])


class Point:
    """The restore point of a partition of persons (the `NamedRestorePoint` port); parts: what its topic has."""

    def __init__(self, records: Sequence[Any], position: int | None, partitions: int = 1) -> None:
        self.records = records
        self.parts: dict[str, bytes] = {}
        self.cid: bytes | None = None
        if position is not None:
            self.make(position, partitions)

    def make(self, position: int, partitions: int = 1, **others: Head) -> None:
        """Make it as of a position. others: ends by aggregate, in the place of the right ones."""
        reader = RememberingReader("person", keys_of(0, partitions))
        before = [record for record in self.records if record.offset < position]
        for record in before:
            assert not isinstance(reader.read(*record[:3]), Gap)
        heads = {key: Head(end.version, None, end.head) for key, end in reader.ends.items()}
        heads |= {name.replace("_", "-").encode(): head for name, head in others.items()}
        self.parts = dict(encode_voids([(cid, b"", b"") for cid in reader.voids if cid is not None]))
        for bucket in {bucket_of(key) for key in heads}:
            self.parts.update(encode_heads(bucket, {k: head for k, head in heads.items() if bucket_of(k) == bucket}))
        last = before[-1]
        self.name(RestoreList("person", 0, partitions, 9, position, last.offset, cid_of(last.value), {}))

    def name(self, restore: RestoreList) -> None:
        """Have the committed offset name a list of the parts that are there."""
        named = {name: cid_of(value) for name, value in self.parts.items() if name != LIST}
        value = self.parts[LIST] = encode_list(restore._replace(parts=named))
        self.cid = cid_of(value)

    async def named(self) -> bytes | None:
        return self.cid

    async def restore_parts(self) -> AsyncIterator[list[KeyAndValue]]:
        yield [(name.encode(), value) for name, value in self.parts.items()]

    async def event_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        from annals.agents.ports import JournalRecord

        return next((JournalRecord(*each[:3]) for each in self.records if each.offset == offset), None)


class Beside:
    """The `BesideStores` port, and the `HeadStartTelemetry`."""

    def __init__(self) -> None:
        self.opened = self.discarded = self.begins = self.differences = 0

    async def open_beside(self) -> MemoryReadingStore:
        self.opened += 1
        return MemoryReadingStore()

    async def discard(self, store: ReadingStore) -> None:
        self.discarded += 1

    def begun(self) -> None:
        self.begins += 1

    def differed(self) -> None:
        self.differences += 1


@asynccontextmanager
async def head_start(
    shard: Shard, journal: Journal, point: Point, beside: Beside | None = None, **policy: int
) -> AsyncIterator[HeadStart]:
    """A head start before a shard; policy: small numbers, unless others are said."""
    kept = HeadStartPolicy(**{"least_saved": 1, "margin": 0, **policy})
    made = beside or Beside()
    ahead = HeadStart(shard, PartitionId("person", 0, 1), journal, point, made, Clock(), made, kept)
    try:
        async with run_meanwhile(ahead):
            yield ahead
    finally:
        assert made.discarded == made.opened
