"""A compacted topic that workers follow and change: what it says of a loss, of brokers that are away, of strangers."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from prometheus_client import Counter

from annals.agents.reading.ports import NotReadyError
from annals.workers.jobs.topic import JobTopic
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read import followed_topic
from annals.workers.kafka.read.followed_topic import by_name
from annals.workers.kafka.read.topic_ids import SameTopic
from annals.workers.kafka.write import compacted_topic
from annals.workers.kafka.write.compacted_topic import CompactedTopic
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from following import until
from networks import Cut
from rotten import rot

WHERE = ("texts", 0)


class Texts:
    what = "texts"
    most_bytes = 100

    def encode(self, record):
        return record.encode()

    def decode(self, key, value):
        return value.decode("ascii")


class Scene:
    def __init__(self):
        self.model, self.network = MemoryCluster({WHERE[0]: Topic(1)}), Cut()
        self.options = {CLUSTER: Cluster(self.model, self.network), "bootstrap_servers": "memory"}
        self.topic = CompactedTopic(self.options, WHERE[0], Texts())

    def put(self, key, value):
        self.model.append(WHERE, key.encode(), value.encode())

    @asynccontextmanager
    async def following(self):
        task = asyncio.create_task(self.topic.run())
        try:
            await until(lambda: self.topic.is_read)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def scene(monkeypatch):
    monkeypatch.setattr("annals.workers.kafka.read.followed_topic.RETRY_S", 0.01)
    return Scene()


async def test_brokers_that_are_away_are_no_loss_and_a_record_that_is_none_is_counted_once(scene):
    """Goes red where a topic that is read again, since the brokers were away, has its invalid records counted again."""
    scene.put("a", "1")
    scene.put("a", "ü")
    async with scene.following():
        for number in range(3):
            scene.network.is_down = True
            await until(lambda: scene.topic._told is not None)
            assert scene.topic.problem is None
            with pytest.raises(NotReadyError, match="KafkaConnectionError"):
                await scene.topic.refresh()
            scene.put("b", str(number))
            scene.network.is_down = False
            await until(lambda number=number: scene.topic.records.get("b") == str(number))
        await scene.topic.refresh()
        assert scene.topic.records == {"a": "1", "b": "2"}
        assert scene.topic.invalid == 1


async def test_what_was_lost_is_told_and_what_was_known_holds(scene):
    for key in ("a", "b"):
        scene.put(key, "1")
    async with scene.following():
        scene.model.logs[WHERE].truncate(1)
        await until(lambda: scene.topic.problem is not None)
        assert "texts-0 ends at offset 1, and it reached 2 before: it lost its end" in scene.topic.problem
        with pytest.raises(NotReadyError, match="it lost its end"):
            await scene.topic.refresh()
        assert scene.topic.records == {"a": "1", "b": "1"}


async def test_who_refreshes_knows_what_was_there_when_it_asked(scene, monkeypatch):
    monkeypatch.setattr(compacted_topic, "LOOK_S", 3_600.0)
    scene.topic = CompactedTopic(scene.options, WHERE[0], Texts())
    async with scene.following():
        revision = scene.topic.revision
        scene.put("a", "1")
        assert scene.topic.records == {}
        await scene.topic.refresh()
        assert scene.topic.records == {"a": "1"}
        assert scene.topic.revision == revision + 1


async def test_another_topic_that_one_has_looked_at_is_not_taken_for_the_one_that_was_read(scene):
    """Goes red where a change that found another topic makes the follower take that one for its own."""
    client = await connect(scene.options, [])
    same = SameTopic(WHERE[0])
    assert await same.look(client)
    same.was_read()
    scene.model.delete_topic(WHERE[0])
    scene.model.make_topic(WHERE[0], Topic(1))
    assert not await same.look(client)
    same.was_read()
    assert not await same.look(client)
    await client.close()


async def test_what_another_worker_writes_while_a_change_reads_is_no_loss(scene, monkeypatch):
    """Goes red where the end that a change asked for is compared with what was read since: "it lost its end"."""
    settled_bounds = followed_topic.settled_bounds

    async def then_another_writes(client, wheres):
        ends = await settled_bounds(client, wheres)
        scene.put("a", "theirs")
        scene.put("b", "theirs")
        await scene.topic.refresh()
        return ends

    scene.put("a", "1")
    client = await connect(scene.options, [])
    async with scene.following():
        monkeypatch.setattr(followed_topic, "settled_bounds", then_another_writes)
        assert by_name(await scene.topic._whole(client)) == {"a": "1"}, "who writes by this is fenced, and reads again"
        assert scene.topic.records == {"a": "theirs", "b": "theirs"}
    await client.close()


@pytest.mark.parametrize("at", [-2, -10], ids=["its value", "a length: it cannot be unpacked"])
async def test_of_a_topic_whose_newest_record_a_disk_changed_nothing_older_holds(scene, at):
    """Goes red where a job that was ended runs again, since the record that says so passes for none."""
    scene.put("a", "1")
    scene.put("a", "2")
    rot(scene.model, WHERE, at)
    task = asyncio.create_task(scene.topic.run())
    try:
        await until(lambda: scene.topic._told is not None)
        assert "texts-0: the record batch at offset 1 is damaged: its checksum is not" in scene.topic._told
        assert (scene.topic.records, scene.topic.is_read) == ({}, False)
        with pytest.raises(NotReadyError, match="the record batch at offset 1 is damaged"):
            await scene.topic.refresh()
        rot(scene.model, WHERE, at)  # as it was
        await until(lambda: scene.topic.records == {"a": "2"})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_record_that_nests_deep_is_none_wherever_it_is_read_from(scene):
    """Goes red where a decoder's own recursion says how deep is too deep: one that was read is lost to who changes it.

    Jobs could then be neither begun nor cancelled, since the topic lacked what it had, and the list of them failed.
    """
    scene.topic = JobTopic(scene.options, WHERE[0], Counter("invalid", "Invalid records.", registry=None))
    job = '{"id":"%s","kind":"verify","subject":"","status":"done","started_at":"","result":%s}'
    scene.put("good", job % ("good", 1))
    for levels in range(600, 1_000, 20):
        scene.put(f"deep-{levels}", job % (f"deep-{levels}", "[" * levels + "]" * levels))
    client = await connect(scene.options, [])

    async def from_below(frames):
        return await (from_below(frames - 1) if frames else scene.topic._whole(client))

    async with scene.following():
        assert by_name(await from_below(100)).keys() == scene.topic.records.keys() == {"good"}
    assert scene.topic.invalid == 20
    await client.close()
