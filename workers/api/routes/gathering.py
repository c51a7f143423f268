"""The routes over all partitions together, for the process that serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.workers.api.peers import peer_routes
from annals.workers.api.routes.correlations import CorrelationRoutes
from annals.workers.api.routes.events import EventRoutes
from annals.workers.api.routes.listed import ListRoutes

if TYPE_CHECKING:
    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.workers.api.routing import Route


def gathering_routes(shards: AllShards) -> tuple[Route, ...]:
    """Return the routes of events, lists and correlations, and that by which other workers ask this one."""
    return (
        *EventRoutes(shards).routes(),
        *ListRoutes(shards).routes(),
        *CorrelationRoutes(shards).routes(),
        *peer_routes(shards.reading),
    )
