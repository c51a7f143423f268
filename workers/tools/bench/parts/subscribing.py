"""What the measurements of subscribers share: putting subscriptions, reading, and waiting for what is to become."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from annals.schemas.progress import LIVE
from annals.workers.publishing.log import KafkaPublishLogs
from annals.workers.publishing.service import SubscriptionService
from annals.workers.registry import deciders
from annals.workers.settings import client_options
from annals.workers.tools.bench.ground import KIND
from annals.workers.tools.bench.programs import BenchError, worker
from annals.workers.tools.bench.watching import STILL_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from annals.schemas.progress import Progress
    from annals.workers.tools.bench.ground import Site
    from annals.workers.tools.bench.programs import Worker

LOOK_S: Final = 0.5  # each look is parsed by a process that shares the cores with what is measured
JOINED_S: Final = 600.0  # a journal of a million events is read before anything is live
PUBLISHED: Final = "annals_published_total"
READS: Final = ("--roles", "read", "--api-port", "0")


async def put(site: Site, name: str, wish: dict[str, Any]) -> None:
    """Put a subscription; wish: its definition without the name."""
    service = SubscriptionService(site.settings, client_options(site.settings), deciders())
    await service.put(name, wish)


@asynccontextmanager
async def reading(site: Site, *options: str) -> AsyncIterator[Worker]:
    """Run a worker that reads and publishes, from when it is ready."""
    async with worker(site, *READS, *options, data="reading") as process:
        await process.until_ready()
        yield process


async def until_joined(site: Site, streams: Collection[str], answering: Collection[str], process: Worker) -> None:
    """Wait until, in all partitions, streams are published together, and those that answer rest with them.

    That nothing is left to publish does not say so: what is new has nothing to publish before anybody has read a line.

    Raises:
        BenchError: they are not, in time.
    """
    options, codec = client_options(site.settings), site.settings.compression
    for partition in range(site.partitions):
        logs = KafkaPublishLogs(options, site.names, site.settings.app_id, KIND, partition, site.partitions, codec)
        log = logs.live()
        try:
            async with asyncio.timeout(JOINED_S):
                while not _have_joined(await log.progress(), streams, answering):
                    process.require_running()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise BenchError(f"not all subscriptions are live or at rest within {JOINED_S:.0f} s") from None
        finally:
            await log.close()


def _have_joined(progress: Mapping[str, Progress], streams: Collection[str], answering: Collection[str]) -> bool:
    return (
        LIVE in progress
        and progress.keys().isdisjoint(streams)
        and all(name in progress and progress[name].is_resting for name in answering)
    )


async def until_published(process: Worker, names: Sequence[str], events: int) -> None:
    """Wait until so many events were published for each."""
    before, moved_at = -1.0, perf_counter()
    while True:
        process.require_running()
        samples = await process.metrics()
        counts = [samples.total(PUBLISHED, subscription=name) for name in names]
        if min(counts) >= events:
            return
        if sum(counts) > before:
            before, moved_at = sum(counts), perf_counter()
        if perf_counter() - moved_at > STILL_S:
            raise BenchError(f"no progress for {STILL_S:.0f} s: {counts} of {events} published")
        await asyncio.sleep(LOOK_S)
