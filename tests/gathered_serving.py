"""Workers with an API each, of which every one has some partitions, and a client for each."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from annals.agents.reading.gathering.all_shards import AllShards
from annals.workers.api.callers.forwarding import ForwardedAuthenticator, Forwarding
from annals.workers.api.peers import HttpPeers, peer_routes
from annals.workers.api.routes.acks import AckRoutes
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.routes.correlations import CorrelationRoutes
from annals.workers.api.routes.events import EventRoutes
from annals.workers.api.routes.listed import ListRoutes
from api_serving import serving
from gathered import Deployment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from annals.workers.settings import Settings
    from api_serving import Api
    from gathered import Worker


def now() -> datetime:
    return datetime.now(UTC)


class Acks:
    """Subscriptions of all kinds, whose answers go nowhere (the `Acks` port of the API)."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = list(kinds)

    async def kinds(self, name: str) -> list[str]:
        del name
        return self._kinds

    async def send(self, name: str, kind: str, aggregate_id: str, value: bytes) -> None:
        """It is taken."""


@asynccontextmanager
async def served(worker: Worker, settings: Settings | None = None, key: bytes | None = None) -> AsyncIterator[Api]:
    """The API of a worker, as the process of the role `read` puts it together."""
    authenticates = settings is not None and settings.api_tokens_file is not None
    forwarding = Forwarding(key, now, authenticates=authenticates)
    peers = HttpPeers(forwarding)
    shards = AllShards(worker, worker, peers, worker.deployment.partitions)
    routes = [
        *AggregateRoutes(shards).routes(),
        *EventRoutes(shards).routes(),
        *ListRoutes(shards).routes(),
        *CorrelationRoutes(shards).routes(),
        *AckRoutes(Acks(worker.deployment.partitions), shards).routes(),
        *peer_routes(worker),
    ]
    try:
        async with serving(routes, settings, authenticators=[ForwardedAuthenticator(forwarding, worker)]) as api:
            worker.url = f"http://127.0.0.1:{api.port}"
            yield api
    finally:
        await peers.close()


@asynccontextmanager
async def deployed(
    partitions: dict[str, int], *owned: list[tuple[str, int]], **options: Any
) -> AsyncIterator[tuple[Deployment, list[Api]]]:
    """A deployment of one worker for each list of partitions."""
    deployment = Deployment(partitions)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(deployment.close)
        apis = []
        for number, keys in enumerate(owned):
            worker = deployment.worker(f"worker-{number}", *keys)
            apis.append(await stack.enter_async_context(served(worker, **options)))
        yield deployment, apis


async def read_all(deployment: Deployment) -> None:
    """Wait until all workers have read what there is."""
    for worker in deployment.workers:
        await worker.read()
