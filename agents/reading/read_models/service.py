"""What may be asked and done about projections: where they stand, rebuilding, verifying, turning back, dropping."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.projecting.versions import (
    rebuilt,
    rebuilt_aggregate,
    resumed,
    turned_back,
    turned_to,
    without_previous,
)
from annals.agents.reading.read_models.refold import MovedBackError, Refold, verify
from annals.schemas.values.moments import unix_ms
from annals.topics.keys import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.found import Rebuilds
    from annals.agents.reading.gathering.rows import GatheredRows, RowSource
    from annals.agents.reading.jobs import Work
    from annals.agents.reading.ports import Journals, Key, ScratchStores
    from annals.agents.reading.read_models.read_models import ReadModels, Records
    from annals.agents.reading.read_models.refold import Verified
    from annals.schemas.job_record import JobRecord
    from annals.schemas.projection_record import ProjectionRecord

    Report = Callable[[dict[str, Any]], None]

POLL_S: Final = 0.2
REBUILD, VERIFY = "rebuild", "verify"
ATTEMPTS: Final = 3
FAILED_ON: Final = " failed on "
CURRENT, STALE, FAILED, INCOMPLETE = "current", "stale", "failed", "incomplete"


class Building(Struct, frozen=True):
    """A newer version that is built beside the one that answers."""

    version: int
    positions: dict[str, list[int | None]]


class Rebuilding(Struct, frozen=True):
    """Rows of the version that answers, which are built anew beside those that answer.

    positions: the offsets below which events are in the new rows; those of a partition that has turned to them, too.
    total: the offsets that they go to; None, as in positions: that partition did not answer. failed: where they go on
    no further.
    """

    positions: dict[str, list[int | None]]
    total: dict[str, list[int | None]]
    failed: list[PartitionReason]


class ProjectionStatus(Struct, frozen=True):
    """Where a projection stands.

    status: current; stale: it is behind on a partition; failed: it stopped at an event on one; incomplete: a partition
    did not answer. previous: a version that all can turn back to. building, rebuilding: what is built beside the rows
    that answer; None: nothing is.
    """

    name: str
    version: int
    status: str
    lag: Lag
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    scope: str
    parameters: list[str]
    previous: int | None = None
    building: Building | None = None
    rebuilding: Rebuilding | None = None


class ProjectionService:
    """Answers about projections, and changes them."""

    def __init__(
        self,
        models: ReadModels,
        topic: Records,
        sources: Mapping[str, RowSource],
        deciders: Mapping[str, Decider[Any]],
        journals: Journals,
        partitions: Mapping[str, int],
        clock: Clock,
        scratch: ScratchStores,
    ) -> None:
        """Take the projections, their topic, where rows come from, and the journals to verify them by.

        scratch: where journals are folded again.
        """
        self._scratch = scratch
        self._models = models
        self._topic = topic
        self._sources = sources
        self._deciders = deciders
        self._journals = journals
        self._partitions = partitions
        self._clock = clock

    async def list(self) -> list[ProjectionStatus]:
        """Return where all projections stand."""
        return list(await asyncio.gather(*map(self.status, self._models.projections)))

    async def status(self, name: str) -> ProjectionStatus:
        """Return where a projection stands.

        Raises:
            LookupError: there is none of this name.
            NotReadyError: which version answers is not known yet.
        """
        newest = self._newest(name)
        version, record = self._models.version_of(name), self._topic.records.get(name)
        page = await self._page(newest, version)
        building = None
        if newest.version > version:
            building = Building(newest.version, (await self._page(newest, newest.version)).positions)
        return ProjectionStatus(
            name,
            version,
            _status(page),
            page.lag,
            page.positions,
            page.missing,
            page.stale,
            newest.scope,
            list(newest.parameters),
            None if record is None or record.previous == version else record.previous,
            building,
            None if record is None else rebuilding(page, record.rebuilds),
        )

    def works(self) -> dict[str, Work]:
        """Return what jobs do: one waits until rows are built anew, the other compares them."""
        return {REBUILD: self._until_rebuilt, VERIFY: self._verified}

    async def rebuild(self, name: str, aggregate: tuple[str, str] | None = None) -> dict[str, Any]:
        """Have all rows, or those of one aggregate (its kind and id), built anew; return what a job waits for.

        Raises:
            LookupError: there is no such projection, or it has nothing of this kind.
        """
        if aggregate is not None and self._newest(name).rekeyed:
            raise LookupError(f"{name} is re-keyed: its rows are not of single aggregates, and are built anew together")
        if aggregate is not None and aggregate[0] not in self._newest(name).wanted:
            raise LookupError(f"{name} has no rows of the kind {aggregate[0]!r}")
        version = self._models.version_of(self._newest(name).name)

        def change(record: ProjectionRecord | None) -> ProjectionRecord:
            known = record or turned_to(name, version, {}, None, self._now_ms())
            return rebuilt(known) if aggregate is None else rebuilt_aggregate(known, *aggregate)

        await self._topic.change(name, change)
        written = self._topic.records[name]
        asked = {"projection": name, "version": version}
        if aggregate is None:
            return {**asked, "rebuilds": written.rebuilds}
        kind, aggregate_id = aggregate
        at = partition_of(aggregate_id.encode(), self._partitions[kind])
        return {**asked, "aggregates": written.aggregate_rebuilds, "kind": kind, "partition": at}

    async def _until_rebuilt(self, record: JobRecord, report: Report) -> dict[str, Any]:
        projection = self._newest(str(record.request.get("projection")))
        request = msgspec.convert(record.request, _Rebuild)
        version = request.version or projection.version
        while True:
            page = await self._page(projection, version)
            if reasons := request.failures(page):
                raise RebuildFailedError("; ".join(reasons))
            if not page.missing and request.is_done(page):
                return {"positions": page.positions}
            report(_progress(page, request.rebuilds))
            await asyncio.sleep(POLL_S)

    def verification(self, name: str) -> dict[str, Any]:
        """Return what a job is asked for that compares all rows with a fold of the journal.

        Raises:
            LookupError: there is no such projection, or this release does not have the version that answers.
            NotReadyError: which one that is is not known yet.
        """
        self._answering(name)
        return {"projection": name}

    async def _verified(self, record: JobRecord, report: Report) -> Verified:
        projection = await self._answering_soon(str(record.request.get("projection")))
        for _ in range(ATTEMPTS):
            try:
                return await self._verify(projection, report)
            except MovedBackError as error:
                reason = error
        raise reason

    def _answering(self, name: str) -> Projection[Any]:
        """Return the version that answers."""
        version = self._models.version_of(self._newest(name).name)
        projection = next((each for each in self._models.projections[name] if each.version == version), None)
        if projection is None:
            raise LookupError(f"this release does not have version {version} of {name!r}: it cannot fold it")
        return projection

    async def _answering_soon(self, name: str) -> Projection[Any]:
        """Return the version that answers, once that is known: a worker takes jobs up as soon as it is there."""
        while True:
            try:
                return self._answering(name)
            except NotReadyError:
                await asyncio.sleep(POLL_S)

    async def resume(self, name: str) -> ProjectionStatus:
        """Have what failed on an event try it again."""
        await self._change(name, resumed)
        return await self.status(name)

    async def turn_back(self, name: str) -> ProjectionStatus:
        """Turn to the previous version.

        Raises:
            TurnRefusedError: there is none that is still kept.
        """
        await self._change(name, lambda record: turned_back(record, self._now_ms()))
        return await self.status(name)

    async def drop(self, name: str, version: int) -> ProjectionStatus:
        """Drop a version that does not answer any more.

        Raises:
            TurnRefusedError: it answers, or is not kept.
        """
        await self._change(name, lambda record: without_previous(record, version))
        return await self.status(name)

    async def _change(self, name: str, change: Callable[[ProjectionRecord], ProjectionRecord]) -> None:
        version = self._models.version_of(self._newest(name).name)
        await self._topic.change(
            name, lambda record: change(record or turned_to(name, version, {}, None, self._now_ms()))
        )

    async def _verify(self, projection: Projection[Any], report: Report) -> Verified:
        if unknown := [place for place in projection.places if place not in self._partitions]:
            raise NotReadyError(f"{projection.name}: how many partitions {', '.join(unknown)} has is not known yet")
        store = await self._scratch.open_beside()
        try:
            refold = Refold(projection, self._deciders, self._partitions, store)
            source = self._sources[projection.scope]
            return await verify(projection, projection.version, refold, self._journals, source, report)
        finally:
            await self._scratch.discard(store)

    async def _page(self, projection: Projection[Any], version: int) -> GatheredRows:
        return await self._sources[projection.scope].rows(projection, version, {}, None, 1)

    def _newest(self, name: str) -> Projection[Any]:
        versions = self._models.projections.get(name)
        if versions is None:
            raise LookupError(f"there is no projection {name!r}: there are {', '.join(self._models.projections)}")
        return versions[-1]

    def _now_ms(self) -> int:
        return unix_ms(self._clock.now())


class RebuildFailedError(Exception):
    """New rows stand at an event that cannot be folded; the former ones answer. The message names the event."""


class _Rebuild(Struct):
    """What a job waits for: a number of rebuilds of all rows, or of one aggregate of a partition."""

    version: int | None = None
    rebuilds: int = 0
    aggregates: int = 0
    kind: str | None = None
    partition: int | None = None

    def is_done(self, page: GatheredRows) -> bool:
        """Whether all partitions that are waited for have new rows."""
        return all(self._has(known) for _, known in self._of(page))

    def failures(self, page: GatheredRows) -> list[str]:
        """Return why new rows go on no further."""
        if self.kind is not None:
            found = [known.not_done.get(self.aggregates) for _, known in self._of(page)]
            return [reason for reason in found if reason is not None]
        stopped = {(each.kind, each.partition): each.reason for each in page.stale if FAILED_ON in each.reason}
        beside = [known.failed for _, known in self._of(page) if known.failed and known.asked == self.rebuilds]
        return beside + [
            stopped[where] for where, known in self._of(page) if where in stopped and known.done == self.rebuilds
        ]

    def _has(self, known: Rebuilds) -> bool:
        return known.done == self.rebuilds if self.kind is None else known.aggregates >= self.aggregates

    def _of(self, page: GatheredRows) -> list[tuple[Key, Rebuilds]]:
        """Return what is known of the partitions that are waited for."""
        return [
            ((kind, at), known)
            for kind, partitions in page.rebuilds.items()
            for at, known in enumerate(partitions)
            if known is not None and (self.kind is None or (kind, at) == (self.kind, self.partition))
        ]


def rebuilding(page: GatheredRows, wanted: int) -> Rebuilding | None:
    """Return how far a rebuild is; None where all rows have seen it. wanted: its number."""
    every = [known for partitions in page.rebuilds.values() for known in partitions if known is not None]
    if all(known.done == wanted for known in every):
        return None
    positions = {
        kind: [_built(known, page.positions[kind][at], wanted) for at, known in enumerate(partitions)]
        for kind, partitions in page.rebuilds.items()
    }
    return Rebuilding(positions, page.positions, _failed(page))


def _built(known: Rebuilds | None, position: int | None, wanted: int) -> int | None:
    if known is None or known.done == wanted:
        return position
    return known.offset or 0


def _failed(page: GatheredRows) -> list[PartitionReason]:
    """Return what stands at an event that it cannot fold, of rows that are built beside others."""
    return [
        PartitionReason(kind, at, known.failed)
        for kind, partitions in page.rebuilds.items()
        for at, known in enumerate(partitions)
        if known is not None and known.failed is not None
    ]


def _progress(page: GatheredRows, wanted: int) -> dict[str, Any]:
    found = rebuilding(page, wanted)
    if found is None:
        return {}
    return {
        name: sum(each or 0 for some in offsets.values() for each in some)
        for name, offsets in (("done", found.positions), ("total", found.total))
    }


def _status(page: GatheredRows) -> str:
    if page.missing:
        return INCOMPLETE
    if any(FAILED_ON in each.reason for each in page.stale):
        return FAILED
    return STALE if page.stale else CURRENT
