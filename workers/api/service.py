"""The API of a process that reads: its routes over all shards, its callers, and what it sends to Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import structlog

from annals.agents.reading.gathering.all_shards import AllShards
from annals.agents.reading.gathering.silent_members import PassingOver
from annals.topics.names import TopicNames
from annals.workers.api.callers.credentials import is_open, peer_key_of
from annals.workers.api.callers.forwarding import ForwardedAuthenticator, Forwarding
from annals.workers.api.kafka_audit import KafkaAudit
from annals.workers.api.peers import HttpPeers, peer_routes
from annals.workers.api.projection_routes import projection_routes
from annals.workers.api.routes.acks import AckRoutes
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.routes.commands import CommandRoutes
from annals.workers.api.routes.correlations import CorrelationRoutes
from annals.workers.api.routes.dead_letters import DeadLetterRoutes
from annals.workers.api.routes.events import EventRoutes
from annals.workers.api.routes.listed import ListRoutes
from annals.workers.api.routes.parked import ParkedRoutes
from annals.workers.api.routes.reactions import ReactionRoutes
from annals.workers.api.routes.schemas import schema_routes
from annals.workers.api.routes.snapshots import SnapshotRoutes
from annals.workers.api.routes.stats import StatsRoutes
from annals.workers.api.routes.subscriptions import SubscriptionRoutes
from annals.workers.api.sender import CommandSender
from annals.workers.api.serving.metrics import ApiMetrics
from annals.workers.api.serving.server import ApiServer
from annals.workers.clock import SystemClock
from annals.workers.registry import deciders, streams
from annals.workers.settings import Settings, client_options
from annals.workers.web.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prometheus_client import CollectorRegistry

    from annals.agents.reading.ports import Members, Reading
    from annals.workers.api.http.routing import Route
    from annals.workers.api.routes.commands import Sender

_logger = structlog.get_logger(__name__)


class ApiService:
    """Puts the API together, and ends it."""

    def __init__(
        self,
        settings: Settings,
        reading: Reading,
        members: Members,
        registry: CollectorRegistry,
        more_routes: Callable[[AllShards], Sequence[Route]] = lambda _: (),
        connections: Connections | None = None,
    ) -> None:
        """Take the settings, the shards that are here, who else is there, and where metrics are declared.

        more_routes: of other features, over all shards. connections: those that may be open; None: as the settings say.

        Raises:
            SettingsError: the API would serve strangers or ask them, or a file of the settings cannot be used.
        """
        key = peer_key_of(settings)
        authenticates = not is_open(settings)
        if key is None and authenticates:
            _logger.warning("no ANNALS_API_PEER_KEY_FILE: what other workers have cannot be asked for")
        forwarding = Forwarding(key, SystemClock().now, authenticates=authenticates)
        self.peers = HttpPeers(forwarding)
        self._passing_over = PassingOver(self.peers)
        self._sender = CommandSender(settings)
        self._audit = KafkaAudit(client_options(settings), TopicNames(settings.topic_prefix).audit)
        self.shards = AllShards(
            reading, members, self._passing_over, deciders(), {each.place: each.kind for each in streams().values()}
        )
        open_ones = Connections(settings.api_connections) if connections is None else connections
        routes = [
            *routes_over(self.shards, self._sender, settings.max_command_bytes, lambda: streams_of(open_ones.most)),
            *more_routes(self.shards),
            *peer_routes(reading),
        ]
        self._server = ApiServer(
            settings,
            routes,
            ApiMetrics(registry),
            audit=self._audit,
            authenticators=[ForwardedAuthenticator(forwarding, members)],
            connections=open_ones,
        )

    async def start(self) -> int:
        """Listen; return the port.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        return await self._server.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._server.stop()
        await self._passing_over.close()
        await self.peers.close()
        await self._sender.stop()
        await self._audit.stop()


def streams_of(connections: int) -> int:
    """Return how many of so many connections may be streams: the others are for questions."""
    return max(1, connections * 3 // 4)


def routes_over(
    shards: AllShards, sender: Sender, max_command_bytes: int, most_streams: Callable[[], int]
) -> tuple[Route, ...]:
    """Return the routes over reading shards, and those of commands and schemas."""
    return (
        *CommandRoutes(sender, max_command_bytes).routes(),
        *ListRoutes(shards).routes(),
        *AggregateRoutes(shards).routes(),
        *SnapshotRoutes(shards).routes(),
        *EventRoutes(shards, most_streams).routes(),
        *CorrelationRoutes(shards).routes(),
        *schema_routes(),
        *StatsRoutes(shards).routes(),
    )


def described_of_all() -> tuple[Route, ...]:
    """Return the same routes over nothing, for those who describe them."""
    nothing = cast("Any", None)
    projected = projection_routes(nothing, *[lambda: None] * 5)
    subscribed = (
        *SubscriptionRoutes(nothing).routes(),
        *AckRoutes(nothing, nothing).routes(),
        *ReactionRoutes(nothing).routes(),
    )
    set_aside = (*ParkedRoutes(nothing, nothing, nothing, nothing).routes(), *DeadLetterRoutes(nothing).routes())
    return (*routes_over(nothing, nothing, Settings().max_command_bytes, nothing), *projected, *subscribed, *set_aside)
