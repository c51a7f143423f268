"""What a worker that reads does for projections, beside its shards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from annals.agents.reading.ports import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.reading.gathering.rows import RowSource
    from annals.agents.reading.read_models.global_reader import GlobalReader
    from annals.agents.reading.read_models.other_members import Peers
    from annals.agents.reading.read_models.read_models import Here, ReadModels
    from annals.workers.projections.metrics import ProjectionMetrics
    from annals.workers.projections.topic import ProjectionTopic

APPLY_S: Final = 0.5
TURN_S: Final = 3.0


class ProjectionWork:
    """Runs beside the reading shards of a process."""

    def __init__(
        self,
        models: ReadModels,
        topic: ProjectionTopic,
        here: Here,
        sources: Mapping[str, RowSource],
        peers: Peers | None,
        global_reader: GlobalReader | None,
        metrics: ProjectionMetrics,
    ) -> None:
        """Take the projections, their topic, the shards of this process, and where rows of all partitions come from.

        peers: asks other workers; None: nobody can be asked.
        """
        self._models = models
        self._topic = topic
        self._here = here
        self._sources = sources
        self._peers = peers
        self._global = global_reader
        self._metrics = metrics
        self._log = structlog.get_logger(__name__)

    async def run(self) -> None:
        """Run until cancelled; then the global projections' store is closed."""
        works = [self._topic.run(), self._apply(), self._turn()]
        if self._global is not None:
            works.append(self._global.run())
        try:
            await asyncio.gather(*works)
        finally:
            if self._global is not None:
                await self._global.close()

    async def _apply(self) -> None:
        while True:
            self._models.apply(self._here)
            self._metrics.note(self._here.all(), self._global, self._topic.invalid)
            await asyncio.sleep(APPLY_S)

    async def _turn(self) -> None:
        while True:
            try:
                await self._models.turn(self._sources, self._peers)
            except NotReadyError as error:
                self._log.warning("the topic of projections cannot be written", error=str(error))
            await asyncio.sleep(TURN_S)
