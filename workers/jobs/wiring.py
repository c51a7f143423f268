"""The jobs of a reading process, put together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from annals.agents.publishing.delivering.choosing import DECISION
from annals.agents.reading.jobs import Jobs
from annals.agents.reading.replays import REPLAY
from annals.agents.waiting import ended
from annals.topics.names import TopicNames
from annals.workers.clock import SystemClock, new_id
from annals.workers.jobs.parked import ParkedWork
from annals.workers.jobs.replays import Replays, ReplayWork
from annals.workers.jobs.topic import JobTopic
from annals.workers.settings import client_options

if TYPE_CHECKING:
    from annals.agents.reading.jobs import Work
    from annals.agents.reading.ports import Members
    from annals.agents.reading.read_models.service import ProjectionService
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings


class JobWiring:
    """Everything of jobs in one process."""

    def __init__(
        self, settings: Settings, members: Members, projections: ProjectionService, metrics: ReadingMetrics
    ) -> None:
        """Take the settings, the group, who does the work on projections, and what is measured."""
        topic = TopicNames(settings.topic_prefix).jobs
        self.topic: Final = JobTopic(client_options(settings), topic, metrics.job_records_invalid)
        works: dict[str, Work] = {REPLAY: ReplayWork(settings), DECISION: ParkedWork(settings), **projections.works()}
        self.jobs: Final = Jobs(self.topic, members, works, SystemClock(), new_id)
        metrics.jobs_running.set_function(lambda: self.jobs.running)
        self.replays: Final = Replays(settings, self.jobs)

    async def run(self) -> None:
        """Look after the jobs until cancelled; then what runs here is given back."""
        following = asyncio.create_task(self.topic.run(), name="topic of jobs")
        try:
            await self.jobs.run()
        finally:
            await self.jobs.close()
            await ended(following)
