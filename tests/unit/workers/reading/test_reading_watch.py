"""The look at the journals each second: what it has the shards doubt, compare, and what readiness names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.reading.watch import ReadingWatch
from networks import Cut

WHERE = TopicPartition("events.person", 0)


class Watched:
    """A shard, and what it was told."""

    kind, partition = "person", 0
    failed_followers = store_bytes = 0

    def __init__(self) -> None:
        self.doubts = 0
        self.compared: list[tuple[int, int, int]] = []
        self.known = 0

    def doubt(self) -> None:
        self.doubts += 1

    def least_end(self) -> int:
        return self.known

    def compare(self, asked: int, start: int, end: int) -> None:
        self.compared.append((asked, start, end))

    def status(self) -> Any:
        return SimpleNamespace(phase="reading", offset=0, end=0, lag_s=0.0)


class Scene:
    """A shard, a standby, and the watch over a cluster in memory."""

    def __init__(self) -> None:
        self.model = MemoryCluster({WHERE.topic: Topic(1)})
        self.network = Cut()
        self.shard, self.standby = Watched(), Watched()
        self.refreshed = 0
        self.unfetched: list[str] = []

    async def begin(self) -> None:
        options = {CLUSTER: Cluster(self.model, self.network), "bootstrap_servers": "here:9092"}
        self.client = await connect(options, [])
        shards: Any = SimpleNamespace(
            all=lambda: [self.shard],
            standing=SimpleNamespace(all=lambda: [self.standby]),
            where=lambda shard: WHERE if shard is self.shard else TopicPartition(WHERE.topic, 1),
            journals=lambda: [WHERE.topic],
        )
        self.model.logs[WHERE.topic, 1] = self.model.logs[WHERE]  # the standby's, alike
        sources: Any = SimpleNamespace(refresh=self.refresh, unfetched=lambda ends, now: list(self.unfetched))
        self.watch = ReadingWatch(options, self.client, shards, sources, ReadingMetrics())

    def refresh(self) -> None:
        self.refreshed += 1


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.begin()
    return made


async def test_after_the_brokers_were_away_no_record_is_believed_before_the_last_one_was_looked_for(
    scene: Scene,
) -> None:
    await scene.watch._look()
    assert (scene.shard.doubts, scene.standby.doubts) == (0, 0)
    scene.network.is_down = True
    await scene.watch._look()
    assert (scene.shard.doubts, scene.standby.doubts) == (1, 1)
    assert scene.watch.problem == "no answer from the Kafka brokers at here:9092: KafkaConnectionError"
    scene.network.is_down = False
    await scene.watch._look()
    assert (scene.watch.problem, scene.shard.doubts) == (None, 1)


async def test_so_it_is_when_another_broker_leads(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    leaders = {WHERE: 0, TopicPartition(WHERE.topic, 1): 0}
    monkeypatch.setattr(scene.client.cluster, "leader_for_partition", lambda where: leaders[TopicPartition(*where)])
    await scene.watch._look()
    leaders[WHERE] = 1
    await scene.watch._look()
    await scene.watch._look()
    assert (scene.shard.doubts, scene.standby.doubts) == (1, 0)


async def test_an_end_is_compared_with_what_was_known_before_it_was_asked_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.shard.known = 7
    ask = Cut.ask

    async def slow(self: Cut, request: Any, serve: Any) -> Any:
        scene.shard.known = 9  # it reads on meanwhile
        return await ask(self, request, serve)

    monkeypatch.setattr(Cut, "ask", slow)
    scene.model.append((WHERE.topic, 0), b"k", b"v")
    scene.model.append((WHERE.topic, 0), b"k", b"v")
    scene.model.delete_records((WHERE.topic, 0), 1)
    await scene.watch._look()
    assert scene.shard.compared == [(7, 1, 2)]


async def test_a_journal_that_is_gone_is_named_and_one_that_is_back_is_looked_for_at_once(scene: Scene) -> None:
    await scene.watch._look()
    assert (scene.watch.gone, len(scene.shard.compared)) == ([], 1)
    topic = scene.model.topics.pop(WHERE.topic)
    await scene.watch._look()
    (gone,) = scene.watch.gone
    assert gone.startswith("the topics events.person are gone: they were deleted. Restore them from a copy")
    assert (len(scene.shard.compared), scene.watch.problem, scene.refreshed) == (1, None, 0)
    scene.model.topics[WHERE.topic] = topic
    await scene.watch._look()
    assert (scene.watch.gone, scene.refreshed, len(scene.shard.compared)) == ([], 1, 2)


async def test_brokers_that_do_not_answer_are_named_and_nothing_that_was_seen_before_of_their_fetches(
    scene: Scene,
) -> None:
    scene.unfetched = ["events.person-0: nothing of it has come"]
    await scene.watch._look()
    assert scene.watch.unfetched == scene.unfetched
    scene.network.is_down = True
    await scene.watch._look()
    assert (bool(scene.watch.problem), scene.watch.unfetched) == (True, [])
