"""What a subscription asks for in vain is in each answer about it, and in the log of whoever publishes."""

import asyncio

import pytest
import structlog
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY
from annals.agents.waiting import ended
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing import service as services
from annals.workers.publishing.service import SubscriptionService
from annals.workers.publishing.telemetry import PublishMetrics
from annals.workers.publishing.wiring import Publishing
from annals.workers.settings import Settings
from following import Clock, until
from publishing import World

IN_VAIN = {"kinds": ["person"], "filters": [{"cel": "data.nam == 'Ada'"}], "key": "data.name"}
PATH = "filters[0].cel"


@pytest.fixture
def world(monkeypatch):
    async def nothing(*_, **__):
        """The topics are there."""

    made = World()
    topics = ["subscriptions", "progress", "subscribers.all", *(f"events.{kind}" for kind in REGISTRY)]
    made.model = MemoryCluster({name: Topic(1) for name in topics}, transaction_version=2)
    monkeypatch.setattr(services, "create_missing", nothing)
    return made


async def test_answers_say_what_is_asked_in_vain_until_it_is_changed(world):
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    made = await service.put("all", IN_VAIN)
    (warned,) = made.body["warnings"]
    assert (warned["path"], "a member 'nam'" in warned["message"]) == (PATH, True)
    assert (await service.get("all")).body["warnings"] == [warned]
    changed = await service.put("all", IN_VAIN | {"filters": [{"cel": "data.name == 'Ada'"}]}, made.etag)
    assert changed.body["warnings"] == []


async def test_whoever_publishes_logs_it_once_for_each_record(world):
    """Goes red where a release that renames a member says nothing when it starts."""
    service = SubscriptionService(Settings(), world.options(), REGISTRY)
    await service.put("all", IN_VAIN)
    partitions = dict.fromkeys(REGISTRY, 1)
    metrics = PublishMetrics(CollectorRegistry())
    with structlog.testing.capture_logs() as logged:
        publishing = Publishing(Settings(), world.options(), REGISTRY, partitions, Clock(), metrics)
        running = asyncio.create_task(publishing.run())

        def told():
            return [each["member"] for each in logged if each["event"] == "subscription asks in vain"]

        await until(lambda: told() == [PATH])
        await service.pause("all")
        await until(lambda: not publishing.subscriptions.all()["all"].record.is_active)
        await service.resume("all")
        await until(lambda: told() == [PATH, PATH])
        await ended(running)
