"""A worker's clock is set back while something is waited for: what is due comes in its time, not as much later."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.schemas.delivery import PARKED, WAITING
from annals.schemas.values.moments import recorded_at
from annals.testing import MemoryClock
from annals.workers.kafka.connections import connect
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import service as services
from annals.workers.publishing.delivery_rows import read_rows
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.publishing.wiring import Publishing
from annals.workers.settings import Settings
from chained import chain
from endpoints import Endpoint
from publishing import World, answer, eventually

ROLES = ("subscribers", "acks", "parked", "deliveries")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECOND_MS = 1_000
MANY = 5


class Site(World):
    """A process that publishes one partition, by a clock that the test moves."""

    def __init__(self, folder):
        super().__init__()
        topics = [f"{role}.all" for role in ROLES] + [f"events.{kind}" for kind in REGISTRY]
        topics += ["subscriptions", "progress", "dead-letters"]
        self.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
        (folder / "mine").write_text(SECRET)
        self.folder = folder
        self.begin(MemoryClock())

    def begin(self, clock):
        """Begin a process by another clock."""
        self.clock = clock
        self.registry = CollectorRegistry()
        self.site = Publishing(
            Settings(webhook_secrets_dir=self.folder, webhook_allow="127.0.0.0/8"),
            self.options(),
            REGISTRY,
            dict.fromkeys(REGISTRY, 1),
            self.clock,
            PublishMetrics(self.registry),
        )

    @asynccontextmanager
    async def publishing(self):
        async with self.shard() as shard:
            publisher = self.site.publisher(shard, self.journal)
            tasks = [asyncio.create_task(run) for run in (self.site.run(), publisher.run())]
            try:
                yield
            finally:
                tasks += publisher._catching.tasks()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await publisher.close()

    async def rows(self):
        client = await connect(self.options(), ["deliveries.all"])
        return list(
            (await read_rows(client, TopicPartition("deliveries.all", 0), lambda row: row, is_settled=False)).values()
        )

    async def until_row(self, state, reason):
        async def is_so():
            return [(row.state, row.reason) for row in await self.rows()] == [(state, reason)]

        await eventually(is_so)


@pytest.fixture
def site(tmp_path, monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    monkeypatch.setattr(services, "create_missing", nothing)
    return Site(tmp_path)


async def test_what_was_refused_comes_again_in_its_time(site):
    """Goes red when a delivery is held up for as long as the clock was set back."""
    site.journal.append(chain("p-1", 1))
    async with site.publishing():
        await site.site.service.put("all", {"kinds": ["person"], "delivery": "acknowledged"})
        await eventually(lambda: has(site, 1))
        await answer(site, (await site.received("all"))[0], "nack", delay_ms=SECOND_MS)
        await site.until_row(WAITING, "nack")
        site.clock.step(-3_600)
        site.clock.advance(1)
        await eventually(lambda: has(site, 2))


async def test_what_a_clock_wrote_that_was_ahead_waits_once_however_often_it_is_taken_over(site, monkeypatch):
    """Goes red when its wait begins anew at each opening: where those are more frequent, it never comes."""
    monkeypatch.setattr("annals.agents.publishing.delivering.shard.MOST_SETTLED", 2)  # of one transaction
    site.journal.append([event for number in range(MANY) for event in chain(f"p-{number}", 1)])
    site.clock.step(365 * 86_400)
    async with site.publishing():
        await site.site.service.put("all", {"kinds": ["person"], "delivery": "acknowledged"})
        await eventually(lambda: has(site, MANY))
        for each in await site.received("all"):
            await answer(site, each, "nack", delay_ms=10 * SECOND_MS)
        await eventually(lambda: are_waiting(site, MANY))
    clock = MemoryClock()
    for _ in range(2):
        site.begin(clock)
        async with site.publishing():
            await eventually(lambda: are_of_today(site))
            clock.advance(4)
            assert await has(site, MANY)
    site.begin(clock)
    async with site.publishing():
        await eventually(lambda: are_of_today(site))
        clock.advance(2)
        await eventually(lambda: has(site, 2 * MANY))


async def are_waiting(site, count):
    return [row.state for row in await site.rows()] == [WAITING] * count


async def are_of_today(site):
    now = int(site.clock.now().timestamp() * SECOND_MS)
    return all(row.at <= now for row in await site.rows())


async def test_what_is_parked_has_the_time_of_day(site):
    """Goes red when what is kept and shown is ahead for as long as the clock was."""
    site.journal.append(chain("p-1", 1))
    async with site.publishing():
        await site.site.service.put("all", {"kinds": ["person"], "delivery": "acknowledged"})
        await eventually(lambda: has(site, 1))
        site.clock.step(-3_600)
        await answer(site, (await site.received("all"))[0], "park", reason="poison")
        await site.until_row(PARKED, "poison")
        now = site.clock.now()
        (row,) = await site.rows()
        ((_, _, headers),) = await site.received("all", "parked")
        assert (row.at, headers["parked-at"].decode()) == (int(now.timestamp() * 1_000), recorded_at(now))
        await eventually(lambda: is_oldest(site, now.timestamp()))


async def is_oldest(site, seconds):
    labels = {"subscription": "all", "kind": "person", "partition": "0"}
    return site.registry.get_sample_value("annals_parked_oldest_timestamp_seconds", labels) == seconds


async def has(site, count):
    return len(await site.received("all")) == count


async def test_an_endpoint_that_asked_to_wait_is_posted_to_again_in_its_time(site):
    """Goes red when whoever posts goes by another clock than the rows, or by one that is set back."""
    site.journal.append(chain("p-1", 1))
    async with Endpoint().serving() as endpoint:
        answers = [web.Response(status=503, headers={"retry-after": "1"})]
        endpoint.answer = lambda _: answers.pop() if answers else 200
        async with site.publishing():
            webhook = {"url": endpoint.url, "secrets": ["mine"]}
            await site.site.service.put("all", {"kinds": ["person"], "delivery": "webhook", "webhook": webhook})
            await site.until_row(WAITING, "endpoint_asked_to_wait")
            site.clock.step(-3_600)
            site.clock.advance(1)
            await eventually(lambda: are_posted(endpoint, 2))


async def are_posted(endpoint, count):
    return len(endpoint.posted) == count
