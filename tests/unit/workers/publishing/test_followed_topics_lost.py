"""A topic that is followed and lost its end: what was known of it holds, and why is said."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from annals.topics.names import TopicNames
from annals.workers.kafka.connections import CLUSTER
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.subscriptions_topic import FollowedSubscriptions
from following import until
from networks import Cut

WHERE = ("subscriptions", 0)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr("annals.workers.kafka.read.followed_topic.RETRY_S", 0.01)
    monkeypatch.setattr("annals.workers.kafka.read.followed_topic.SAME_TOPIC_S", 0.01)


class Scene:
    def __init__(self):
        self.model, self.network = MemoryCluster({WHERE[0]: Topic(1)}), Cut()
        options = {CLUSTER: Cluster(self.model, self.network), "bootstrap_servers": "memory"}
        self.followed = FollowedSubscriptions(options, TopicNames(""))

    def put(self, *names):
        for name in names:
            made = {"definition": {"name": name, "start": "beginning"}, "incarnation": 1, "begin": {}}
            self.model.append(WHERE, name.encode(), msgspec.json.encode(made))

    @asynccontextmanager
    async def following(self):
        task = asyncio.create_task(self.followed.run())
        try:
            await until(lambda: set(self.followed.all()) == {"one", "two"})
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_end_below_what_was_read_is_a_loss_until_it_is_restored():
    scene = Scene()
    scene.put("one", "two")
    async with scene.following():
        scene.model.logs[WHERE].truncate(1)
        await until(lambda: scene.followed.problem is not None)
        assert "subscriptions-0 ends at offset 1, and it reached 2 before: it lost its end" in scene.followed.problem
        assert set(scene.followed.all()) == {"one", "two"}, "what was known holds"
        scene.put("two")
        await until(lambda: scene.followed.problem is None)


async def test_one_that_was_made_anew_while_no_broker_answered_lacks_what_was_known():
    """Its end tells nothing: it is further than before."""
    scene = Scene()
    scene.put("one", "two")
    async with scene.following():
        scene.network.is_down = True
        await until(lambda: scene.followed.problem is not None)
        scene.model.logs[WHERE].truncate(0)
        scene.put("two", "three", "four")
        scene.network.is_down = False
        await until(lambda: "lacks" in scene.followed.problem)
        assert "subscriptions-0 lacks what it had at offset " in scene.followed.problem
        assert set(scene.followed.all()) == {"one", "two"}


@pytest.mark.parametrize("is_down", [False, True])
async def test_one_that_was_deleted_and_made_anew_is_another_topic_however_long_it_is(is_down):
    """It has every key that was known, and more: neither its end nor its records tell."""
    scene = Scene()
    scene.put("one", "two")
    async with scene.following():
        if is_down:
            scene.network.is_down = True
            await until(lambda: scene.followed.problem is not None)
        scene.model.delete_topic(WHERE[0])
        scene.model.make_topic(WHERE[0], Topic(1))
        scene.put("three", "two", "one", "two", "one")
        scene.network.is_down = False
        await until(lambda: "deleted and made anew" in (scene.followed.problem or ""))
        assert "subscriptions was deleted and made anew. What was known before holds yet" in scene.followed.problem
        assert set(scene.followed.all()) == {"one", "two"}
        assert scene.followed.all()["two"].offset == 1, "as it was in the former topic"
