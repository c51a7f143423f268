"""What metrics say of a subscription that is deleted: nothing, or alarms would go on for what nobody wants."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from annals.workers.publishing.telemetry import PartitionMetrics, PublishMetrics
from chained import chain
from publishing import World, answer, eventually

GAUGES = ("annals_publish_lag", "annals_unsettled", "annals_parked_oldest_timestamp_seconds")


class Measured(World):
    """A partition whose gauges are read as a scrape would."""

    def __init__(self):
        super().__init__("all", "live")
        self.registry = CollectorRegistry()
        self.counts = PartitionMetrics(PublishMetrics(self.registry), "person", 0)

    def told(self, name):
        """The gauges that name a subscription."""
        lines = generate_latest(self.registry).decode().splitlines()
        return {line.split("{")[0] for line in lines if f'subscription="{name}"' in line and line.startswith(GAUGES)}

    def parked(self):
        labels = {"subscription": "all", "kind": "person", "partition": "0", "state": "parked"}
        return self.registry.get_sample_value("annals_unsettled", labels)

    async def until_told(self, name, *gauges):
        async def is_so():
            return self.told(name) == set(gauges)

        await eventually(is_so)

    async def park_one(self):
        """Have an event of `all` parked."""
        self.journal.append(chain("p-1", 1))
        await self.subscribe("all", delivery="acknowledged")

        async def is_there():
            return len(await self.received("all")) == 1

        await eventually(is_there)
        await answer(self, (await self.received("all"))[0], "park")

        async def is_parked():
            return self.parked() == 1

        await eventually(is_parked)


async def test_a_deleted_subscription_has_no_gauges_any_more():
    """Goes red when they stay: what was parked or behind is so for as long as the worker has the partition."""
    world = Measured()
    async with world.shard() as shard, world.publisher(shard):
        await world.park_one()
        await world.subscribe("live")
        await world.until_told("live", "annals_publish_lag")
        await world.until_told("all", *GAUGES)
        for name in ("all", "live"):
            world.subscriptions.set(name, is_deleted=True)
            await world.until_told(name)
        world.subscriptions.set("all", is_deleted=False)
        await world.until_told("all", *GAUGES)
        assert world.parked() == 1, "put again, it goes on with what it had"


async def test_one_that_is_deleted_while_the_publisher_opens_has_none_either(monkeypatch):
    """Goes red when only what a publisher notices between its steps is looked at."""
    world = Measured()
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await world.park_one()
        opened = publisher._open

        async def delete_and_open():
            world.subscriptions.set("all", is_deleted=True)
            return await opened()

        monkeypatch.setattr(publisher, "_open", delete_and_open)
        await world.logs().live().fence()
        world.journal.append(chain("p-2", 1))
        await world.until_told("all")


async def test_one_that_wants_a_kind_no_more_has_none_of_it():
    """Goes red when the last lag that was told of the kind stays: nobody measures it again."""
    world = Measured()
    async with world.shard() as shard, world.publisher(shard):
        await world.subscribe("live")
        await world.until_told("live", "annals_publish_lag")
        world.subscriptions.set("live", definition={"kinds": ["policy"]})
        await world.until_told("live")
        world.subscriptions.set("live", definition={"kinds": ["person"]})
        await world.until_told("live", "annals_publish_lag")


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_partition_that_leaves_leaves_no_gauges(is_deleted):
    world = Measured()
    async with world.shard() as shard, world.publisher(shard):
        await world.park_one()
        world.subscriptions.set("all", is_deleted=is_deleted)
        await world.until_told("all", *(() if is_deleted else GAUGES))
    assert not world.told("all")
