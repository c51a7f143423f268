"""What may be asked and done about projections: where they stand, rebuilding, verifying, turning back, dropping."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.agents.reading.refold import MovedBackError, verify
from annals.agents.reading.versions import (
    rebuilt,
    rebuilt_aggregate,
    resumed,
    turned_back,
    turned_to,
    without_previous,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.projections.projection import Projection
    from annals.agents.reading.gathered_rows import GatheredRows, RowSource
    from annals.agents.reading.jobs import Work
    from annals.agents.reading.ports import Journals
    from annals.agents.reading.read_models import ReadModels, Records
    from annals.agents.reading.refold import Verified
    from annals.schemas.job_record import JobRecord
    from annals.schemas.projection_record import ProjectionRecord

    Report = Callable[[dict[str, Any]], None]

POLL_S: Final = 0.2
BEGUN_S: Final = 1.5  # in which all workers have read that rows are to be built anew
REBUILD, VERIFY = "rebuild", "verify"
ATTEMPTS: Final = 3
CURRENT, STALE, FAILED, INCOMPLETE = "current", "stale", "failed", "incomplete"


class Building(Struct, frozen=True):
    """A newer version that is built beside the one that answers."""

    version: int
    positions: dict[str, list[int | None]]


class ProjectionStatus(Struct, frozen=True):
    """Where a projection stands.

    status: current; stale: it is behind on a partition; failed: it stopped at an event on one; incomplete: a partition
    did not answer. previous: a version that all can turn back to.
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
    ) -> None:
        """Take the projections, their topic, where rows come from, and the journals to verify them by."""
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
            None if record is None else record.previous,
            building,
        )

    def works(self) -> dict[str, Work]:
        """Return what jobs do: one waits until rows are built anew, the other compares them."""
        return {REBUILD: self._until_rebuilt, VERIFY: self._verified}

    async def rebuild(self, name: str, aggregate: tuple[str, str] | None = None) -> dict[str, Any]:
        """Have all rows, or those of one aggregate (its kind and id), built anew; return what a job waits for.

        Raises:
            LookupError: there is no such projection, or it has nothing of this kind.
        """
        if aggregate is not None and aggregate[0] not in self._newest(name).wanted:
            raise LookupError(f"{name} has no rows of the kind {aggregate[0]!r}")
        version = self._models.version_of(self._newest(name).name)

        def change(record: ProjectionRecord | None) -> ProjectionRecord:
            known = record or turned_to(name, version, {}, None, self._now_ms())
            return rebuilt(known) if aggregate is None else rebuilt_aggregate(known, *aggregate)

        await self._topic.change(name, change)

        return {"projection": name, "version": version}

    async def _until_rebuilt(self, record: JobRecord, report: Report) -> dict[str, Any]:
        del report
        projection = self._newest(str(record.request.get("projection")))
        version = int(record.request.get("version", projection.version))
        await asyncio.sleep(BEGUN_S)
        page = await self._page(projection, version)
        while page.missing or page.stale:
            await asyncio.sleep(POLL_S)
            page = await self._page(projection, version)
        return {"positions": page.positions}

    def verification(self, name: str) -> dict[str, Any]:
        """Return what a job is asked for that compares all rows with a fold of the journal.

        Raises:
            LookupError: there is no such projection, or this release does not have the version that answers.
        """
        self._answering(name)
        return {"projection": name}

    async def _verified(self, record: JobRecord, report: Report) -> Verified:
        del report
        projection = self._answering(str(record.request.get("projection")))
        for _ in range(ATTEMPTS):
            try:
                return await self._verify(projection)
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

    async def _verify(self, projection: Projection[Any]) -> Verified:
        source = self._sources[projection.scope]
        return await verify(projection, self._deciders, self._partitions, self._journals, source)

    async def _page(self, projection: Projection[Any], version: int) -> GatheredRows:
        return await self._sources[projection.scope].rows(projection, version, {}, None, 1)

    def _newest(self, name: str) -> Projection[Any]:
        versions = self._models.projections.get(name)
        if versions is None:
            raise LookupError(f"there is no projection {name!r}: there are {', '.join(self._models.projections)}")
        return versions[-1]

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _status(page: GatheredRows) -> str:
    if page.missing:
        return INCOMPLETE
    if any(" failed on " in each.reason for each in page.stale):
        return FAILED
    return STALE if page.stale else CURRENT
