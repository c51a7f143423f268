"""`GET /v1/stats`: what there is, and how it is read, by kind and partition, over all partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, Struct

from annals.agents.reading.ports import NotReadyError
from annals.schemas.values.moments import moment_of
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.routing import Answer, NoParameters, Route, Scope
from annals.workers.clock import SystemClock
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from annals.agents.reading.found import SnapshotNumbers
    from annals.agents.reading.ports import ReadingShard, Shards
    from annals.workers.api.http.routing import Call

DEADLINE_S: Final = 5.0


class Latency(Struct, frozen=True):
    """Seconds from an event's `recorded_at` until it could be read, in the last minute; 0 without events."""

    mean_s: float
    max_s: float


class SnapshotStats(Struct, frozen=True):
    """Snapshots that reading stores keep; `oldest_s`: the age of the oldest, null where there is none.

    `hits`, `misses`: questions for former versions, since the stores were opened, that began from one, or without;
    `hit_rate` is null before the first.
    """

    count: int
    bytes: int
    oldest_s: float | None
    hits: int
    misses: int
    hit_rate: float | None


class PartitionStats(Struct, frozen=True):
    """What one partition has. `bytes`: of all event blocks; `events_per_second`: read in the last minute."""

    kind: str
    partition: int
    events: int
    aggregates: int
    bytes: int
    events_per_second: float
    latency: Latency
    snapshots: SnapshotStats


class Totals(Struct, frozen=True):
    """Sums over what answered."""

    events: int
    aggregates: int
    bytes: int
    events_per_second: float
    snapshots: SnapshotStats


class MissingPartition(Struct, frozen=True):
    """A partition that did not answer."""

    kind: str
    partition: int
    reason: str


class Stats(Struct, frozen=True):
    """What there is. `missing`: partitions that did not answer in time; the sums are without them."""

    total: Totals
    kinds: Annotated[dict[str, Totals], Meta(description="By kind.")]
    partitions: list[PartitionStats]
    missing: list[MissingPartition]


class StatsRoutes:
    """The route of statistics."""

    def __init__(self, shards: Shards) -> None:
        """Take the reading shards."""
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return it."""
        summary = "Events, aggregates, bytes, rates and latencies by kind and partition."
        return (Route("GET", "/v1/stats", Scope.READ, summary, NoParameters, Stats, self.stats),)

    async def stats(self, call: Call) -> Answer:
        """Answer all numbers."""
        del call
        shards = self._shards.all()
        found = await asyncio.gather(*map(_asked, shards))
        parts = [part for part in found if isinstance(part, PartitionStats)]
        missing = [part for part in found if isinstance(part, MissingPartition)]
        kinds = {kind: _sum([part for part in parts if part.kind == kind]) for kind in deciders()}
        return json_answer(Stats(_sum(parts), kinds, parts, missing))


async def _asked(shard: ReadingShard) -> PartitionStats | MissingPartition:
    try:
        async with asyncio.timeout(DEADLINE_S):
            found = await shard.numbers()
    except NotReadyError as error:
        return MissingPartition(shard.kind, shard.partition, str(error))
    except TimeoutError:
        return MissingPartition(shard.kind, shard.partition, f"no answer within {DEADLINE_S:g} s")
    return PartitionStats(
        shard.kind,
        shard.partition,
        found.events,
        found.aggregates,
        found.block_bytes,
        found.events_per_second,
        Latency(found.latency_mean_s, found.latency_max_s),
        _snapshots(found.snapshots),
    )


def _sum(parts: list[PartitionStats]) -> Totals:
    return Totals(
        sum(part.events for part in parts),
        sum(part.aggregates for part in parts),
        sum(part.bytes for part in parts),
        sum(part.events_per_second for part in parts),
        _sum_of_snapshots([part.snapshots for part in parts]),
    )


def _snapshots(found: SnapshotNumbers) -> SnapshotStats:
    oldest_s = None
    if found.oldest_at is not None:
        oldest_s = max(0.0, (SystemClock().now() - moment_of(found.oldest_at)).total_seconds())
    rate = _rate(found.hits, found.misses)
    return SnapshotStats(found.count, found.size_bytes, oldest_s, found.hits, found.misses, rate)


def _sum_of_snapshots(parts: list[SnapshotStats]) -> SnapshotStats:
    hits, misses = sum(part.hits for part in parts), sum(part.misses for part in parts)
    return SnapshotStats(
        sum(part.count for part in parts),
        sum(part.bytes for part in parts),
        max((part.oldest_s for part in parts if part.oldest_s is not None), default=None),
        hits,
        misses,
        _rate(hits, misses),
    )


def _rate(hits: int, misses: int) -> float | None:
    return hits / (hits + misses) if hits + misses else None
