"""The API over reading shards on stores in memory, and a client for it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from prometheus_client import CollectorRegistry
from yarl import URL

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.answers import BY_HAND
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.keeping.row_memory import RowMemory
from annals.agents.reading.ports import NotReadyError
from annals.agents.reading.snapshots.recent_states import RecentStates
from annals.topics.keys import partition_of
from annals.workers.api.routes.aggregates import AggregateRoutes
from annals.workers.api.serving.metrics import ApiMetrics
from annals.workers.api.serving.server import ApiServer
from annals.workers.settings import Settings
from annals.workers.stores.reading_memory import MemoryReadingStore
from following import Clock, Damages, Journal, running, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from annals.agents.reading.ports import ReadingShard
    from annals.agents.reading.snapshots.policy import SnapshotPolicy
    from annals.workers.api.http.routing import Route
    from chained import Sealed


class Stores:
    """A store in memory."""

    async def open(self):
        return RowMemory(MemoryReadingStore())

    async def renew(self, store):
        return await self.open()

    async def set_aside(self, damage):
        pass

    async def close(self, store):
        pass


class OneShardEach:
    """The reading shards of a process (the `Reading` port): one partition of a kind."""

    def __init__(self, shards: dict[str, Shard]) -> None:
        self.shards = shards

    def shard(self, kind, partition):
        return self.shards.get(kind)

    def all(self):
        return list(self.shards.values())

    def standby(self, kind, partition):
        return None

    def partitions(self, kind):
        return 1


class Alone:
    """A group of one."""

    me = None

    def all(self):
        return []

    def owner(self, kind, partition):
        return None

    def standbys(self, kind, partition):
        return []


class Audit:
    """Keeps entries in a list."""

    def __init__(self) -> None:
        self.entries = []

    async def write(self, entry) -> None:
        self.entries.append(entry)


class Api:
    """A client of one server: it sends paths as they are."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self.client, self.port = client, port

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Return status, headers and the body: JSON as such, everything else as bytes."""
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.client.request(method, url, allow_redirects=False, **options) as answer:
            is_json = "json" in answer.content_type and method != "HEAD" and answer.status not in {204, 304}
            body = await answer.json(content_type=None) if is_json else await answer.read()
            return answer.status, answer.headers, body


@asynccontextmanager
async def serving(routes: Sequence[Route], settings: Settings | None = None, **options: Any) -> AsyncIterator[Api]:
    """An API of these routes."""
    server = ApiServer(settings or Settings(api_port=0), routes, ApiMetrics(CollectorRegistry()), **options)
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as client:
            yield Api(client, port)
    finally:
        await server.stop()


class LocalShards:
    """The reading shards of one process alone (the `Shards` port): what others have is not answered here."""

    def __init__(self, reading: Any) -> None:
        self._reading = reading

    def of(self, kind: str, aggregate_id: str) -> ReadingShard:
        partition = partition_of(aggregate_id.encode(), self._reading.partitions(kind))
        shard = self._reading.shard(kind, partition)
        if shard is None:
            raise NotReadyError(f"{kind}-{partition} is not read by this process")
        return shard

    def all(self) -> Sequence[ReadingShard]:
        return self._reading.all()


@asynccontextmanager
async def reading(
    policy: SnapshotPolicy = BY_HAND, /, **events: Sequence[Sealed]
) -> AsyncIterator[tuple[LocalShards, dict[str, Journal]]]:
    """Reading shards of kinds that have read these events."""
    async with AsyncExitStack() as stack:
        shards, journals = {}, {}
        for kind, sealed in events.items():
            journal = journals[kind] = Journal(sealed)
            shard = Shard(
                REGISTRY[kind],
                0,
                1,
                Stores(),
                journal,
                journal,
                Clock(),
                Damages(),
                policy=policy,
                recent=RecentStates(1 << 20 if policy.is_active else 0),
            )
            shards[kind] = await stack.enter_async_context(running(shard, journal))
            assert await shard.until_offset(len(sealed), soon())
        yield LocalShards(OneShardEach(shards)), journals


@asynccontextmanager
async def aggregates_of(**events: Sequence[Sealed]) -> AsyncIterator[Api]:
    """An API over one aggregate's routes."""
    async with reading(**events) as (shards, _), serving(AggregateRoutes(shards).routes()) as api:
        yield api
