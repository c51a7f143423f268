"""A journal partition in memory and its source, for tests of what follows a journal."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from annals.agents.ports import Delivery, JournalRecord
from annals.agents.reading.ports import FollowedRecord
from annals.topics.carried import carried_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from annals.agents.reading.following.shard import Shard
    from chained import Sealed

WITHIN_S = 300  # ends a test that has failed, also one on a real broker beside others


class Fetched(NamedTuple):
    """A record as a consumer delivers it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any = ()
    timestamp: int = 1_770_000_000_000


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Damages:
    """Counts damaged stores and broken chains."""

    count = 0
    breaks = 0
    left_out = 0

    def snapshot_left_out(self) -> None:
        self.left_out += 1

    def chain_broken(self) -> None:
        self.breaks += 1

    def damaged(self) -> None:
        self.count += 1


class Journal:
    """A journal partition (the `JournalPartition` port), and the source of its records (`CommandSource`)."""

    def __init__(self, events: Sequence[Sealed] = ()) -> None:
        self.records: list[Fetched | None] = [
            Fetched(offset, event.key, event.value) for offset, event in enumerate(events)
        ]  # None: a transaction's marker, which nobody is told of
        self.shard: Shard | None = None
        self.generation = 0
        self.paused = self.resumed = 0

    async def bounds(self) -> tuple[int, int]:
        return 0, len(self.records)

    async def record_at(self, offset: int, cid: bytes = b"") -> JournalRecord | None:
        record = self.records[offset] if offset < len(self.records) else None
        return None if record is None else JournalRecord(*record[:3])

    async def followed(self, start: int, end: int) -> AsyncIterator[list[FollowedRecord]]:
        there = [record for record in self.records[start:end] if record is not None]
        yield [FollowedRecord(*record[:3], carried_headers(record.headers)) for record in there]

    def deliver_from(self, offset: int) -> None:
        self.generation += 1
        self._deliver(self.records[offset:])

    def append(self, events: Sequence[Sealed]) -> None:
        fetched = [Fetched(at, event.key, event.value) for at, event in enumerate(events, len(self.records))]
        self.records += fetched
        self._deliver(fetched)

    def mark(self) -> None:
        """End a transaction, as whoever writes a real journal does behind each."""
        self.records.append(None)

    def _deliver(self, records: Sequence[Fetched | None]) -> None:
        fetched = [record for record in records if record is not None]
        if self.shard is not None and fetched:
            self.shard.deliver(Delivery("events.person", 0, self.generation, fetched))

    def decided_until(self, next_offset: int) -> int:
        while next_offset < len(self.records) and self.records[next_offset] is None:
            next_offset += 1
        return next_offset

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.resumed += 1


@asynccontextmanager
async def run_meanwhile(*made: Any, beside: Sequence[Any] = ()) -> AsyncIterator[None]:
    """Run what has `run` and `close`; at the end it is cancelled and closed, and what it failed with is raised.

    beside: what runs too, and has no `close`.
    """
    tasks = [asyncio.create_task(each.run()) for each in (*beside, *made)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for each in made:
            await each.close()


@asynccontextmanager
async def running(shard: Shard, journal: Journal) -> AsyncIterator[Shard]:
    """A shard that follows a journal, and is closed at the end."""
    journal.shard = shard
    task = asyncio.create_task(shard.run())
    try:
        yield shard
    finally:
        task.cancel()
        await asyncio.wait({task})
        await shard.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for progress."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def snapshots_of(shard: Any, aggregate_id: str = "p-1") -> list[Any]:
    """All snapshots that a shard keeps of an aggregate, the newest last."""
    return [*await shard.snapshots(aggregate_id, behind=None, descending=False, limit=1_000)]


def soon() -> float:
    """A deadline for what must come."""
    return time.monotonic() + WITHIN_S
