"""The routes of what was set aside: dead letters and parked events, straight on Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from annals.agents.waiting import ended
from annals.topics.names import TopicNames
from annals.workers.api.kafka_audit import KafkaAudit
from annals.workers.api.routes.dead_letters import DeadLetterRoutes
from annals.workers.api.routes.parked import ParkedRoutes
from annals.workers.clock import SystemClock
from annals.workers.dead_letters.service import DeadLetterService
from annals.workers.dead_letters.watch import DeadLetterMetrics, DeadLetterWatch
from annals.workers.publishing.parked import ParkedService
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    from annals.agents.reading.jobs import Jobs
    from annals.workers.api.http.routing import Route
    from annals.workers.kafka.read.invalid_records import InvalidRecords
    from annals.workers.publishing.compacted_views import CompactedViews
    from annals.workers.settings import Settings


class SetAside:
    """Makes the routes, has the connection that they record decisions by, and counts what is open."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        registry: CollectorRegistry,
        invalid: InvalidRecords,
        views: CompactedViews,
    ) -> None:
        """Take the settings, aiokafka client options, where metrics are declared, and what notes invalid records.

        views: what was read of compacted topics for other requests.
        """
        names = TopicNames(settings.topic_prefix)
        invalid.expect(names.audit)
        self._letters = DeadLetterService(settings, options, deciders(), invalid)
        self._parked = ParkedService(settings, options, deciders(), views)
        self._audit = KafkaAudit(options, names.audit)
        self._watch = DeadLetterWatch(options, names, DeadLetterMetrics(registry), self._letters.settled)
        self._watching: asyncio.Task[None] | None = None

    def routes(self, jobs: Jobs) -> tuple[Route, ...]:
        """Return them; jobs: of what takes longer than a request."""
        return (
            *ParkedRoutes(self._parked, jobs, self._audit, SystemClock()).routes(),
            *DeadLetterRoutes(self._letters).routes(),
        )

    def start(self) -> None:
        """Begin to count."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch.run(), name="dead letters")

    async def stop(self) -> None:
        """Disconnect."""
        if self._watching is not None:
            await ended(self._watching)
        await self._audit.stop()
