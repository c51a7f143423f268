"""The routes of what was set aside: dead letters and parked events, straight on Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annals.topics.names import TopicNames
from annals.workers.api.kafka_audit import KafkaAudit
from annals.workers.api.routes.dead_letters import DeadLetterRoutes
from annals.workers.api.routes.parked import ParkedRoutes
from annals.workers.dead_letters.service import DeadLetterService
from annals.workers.publishing.parked import ParkedService
from annals.workers.registry import deciders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.workers.api.routing import Route
    from annals.workers.settings import Settings


class SetAside:
    """Makes the routes, and has the connection that they record decisions by."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        """Take the settings and aiokafka client options."""
        self._settings = settings
        self._options = options
        self._audit = KafkaAudit(options, TopicNames(settings.topic_prefix).audit)

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        letters = DeadLetterService(self._settings, self._options, deciders())
        parked = ParkedService(self._settings, self._options, deciders())
        return (*ParkedRoutes(parked, self._audit).routes(), *DeadLetterRoutes(letters).routes())

    async def stop(self) -> None:
        """Disconnect."""
        await self._audit.stop()
