"""The API of a process that reads, over its shards and what rests on them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from annals.agents.reading.ports import NotReadyError
from annals.topics.names import TopicNames
from annals.workers.api.peers import reached_route
from annals.workers.api.projection_routes import Late, projection_routes
from annals.workers.api.routes.acks import AckRoutes
from annals.workers.api.routes.reactions import ReactionRoutes
from annals.workers.api.routes.subscriptions import SubscriptionRoutes
from annals.workers.api.service import ApiService
from annals.workers.api.set_aside import SetAside
from annals.workers.process import CannotStartError, host_and_port
from annals.workers.publishing.ack_sender import AckSender
from annals.workers.publishing.compacted_views import CompactedViews
from annals.workers.publishing.service import SubscriptionService
from annals.workers.reacting.service import ReactionService
from annals.workers.reader_settings import check_reading
from annals.workers.registry import deciders, reactions
from annals.workers.settings import SettingsError
from annals.workers.settings.connection import is_any_address
from annals.workers.web.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.agents.reading.jobs import Jobs
    from annals.agents.reading.read_models.other_members import AskReached
    from annals.agents.reading.read_models.row_answers import RowAnswers
    from annals.agents.reading.read_models.service import ProjectionService
    from annals.workers.api.http.routing import Route
    from annals.workers.api.peers import HttpPeers
    from annals.workers.jobs.replays import Replays
    from annals.workers.reader_parts import ReaderParts
    from annals.workers.reading.members import GroupMembers
    from annals.workers.reading.shards import CurrentShards
    from annals.workers.reading.telemetry import ReadingMetrics
    from annals.workers.settings import Settings


class ReaderApi:
    """The API of a process that reads. It stays when the shards go, and says then that it is not ready."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        shards: CurrentShards,
        members: GroupMembers,
        metrics: ReadingMetrics,
        parts: ReaderParts,
    ) -> None:
        """Take what it answers from; nothing is served yet."""
        self._settings = settings
        self._options = options
        self._shards = shards
        self._members = members
        self._registry = metrics.registry
        self._parts = parts
        self._service: ApiService | None = None
        self._views = CompactedViews()
        self._set_aside = SetAside(settings, options, metrics.registry, metrics.invalid_records, self._views)
        self._acks = AckSender(
            options,
            TopicNames(settings.topic_prefix),
            deciders(),
            lambda: parts.publishing.subscriptions.all() if parts.publishing else {},
            self._views,
        )

    @property
    def shards(self) -> AllShards | None:
        """The shards of all workers; None before `start`."""
        return None if self._service is None else self._service.shards

    @property
    def peers(self) -> HttpPeers | None:
        """Asks other workers; None before `start`."""
        return None if self._service is None else self._service.peers

    async def start(self) -> str | None:
        """Begin to serve; return where others reach it, None where they cannot.

        Raises:
            CannotStartError: a setting is wrong.
            OSError: the address is taken, or not this machine's.
        """
        if self._service is None:
            check_reading(self._settings)
            try:
                connections = Connections(partial(self._shards.most_connections, self._settings.api_connections))
                self._service = ApiService(
                    self._settings, self._shards, self._members, self._registry, self._routes, connections
                )
            except SettingsError as error:
                raise CannotStartError(str(error)) from None
        self._set_aside.start()
        return url_of(self._settings, await self._service.start())

    async def stop(self) -> None:
        """End what `start` began."""
        if self._service is not None:
            await self._service.stop()
        await self._acks.stop()
        await self._set_aside.stop()

    def _routes(self, shards: AllShards) -> tuple[Route, ...]:
        """Return the routes of projections, questions, jobs, subscriptions and reactions."""
        parts = self._parts

        def service() -> ProjectionService | None:
            return None if parts.projections is None else parts.projections.service(shards)

        def answers() -> RowAnswers | None:
            return None if parts.projections is None else parts.projections.answers(shards)

        def jobs() -> Jobs | None:
            return None if parts.jobs is None else parts.jobs.jobs

        def replays() -> Replays | None:
            return None if parts.jobs is None else parts.jobs.replays

        def has_reached(asked: AskReached) -> bool:
            if parts.projections is None:
                raise NotReadyError("projections are not read yet: the worker is starting")
            return parts.projections.models.has_reached(asked.projection, asked.version, asked.former)

        administration = SubscriptionService(self._settings, self._options, deciders(), self._views)
        processes = ReactionService(self._settings, self._options, reactions(), self._views)
        return (
            *projection_routes(shards, service, answers, jobs, replays, lambda: parts.rekeying),
            reached_route(has_reached),
            *SubscriptionRoutes(administration).routes(),
            *AckRoutes(self._acks, shards).routes(),
            *ReactionRoutes(processes).routes(),
            *self._set_aside.routes(cast("Any", Late(jobs))),
        )


def url_of(settings: Settings, port: int) -> str | None:
    """Return where others reach the API; None where they cannot."""
    if settings.api_advertised_url is not None:
        return settings.api_advertised_url
    if is_any_address(settings.api_host):
        return None
    scheme = "http" if settings.api_certfile is None else "https"
    return f"{scheme}://{host_and_port(settings.api_host, port)}"
