"""Counts of subscriptions beside many parked events and idle subscriptions: right, and only what is new is read."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.client import AIOKafkaClient
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from annals.agents.publishing.delivering.choosing import FIRST, Choice
from annals.agents.publishing.delivering.ports import DeliveryWrites
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.delivery import PARKED, Row, row_key
from annals.schemas.progress import Progress
from annals.topics.names import TopicNames
from annals.workers.kafka.admin.provisioning import create
from annals.workers.kafka.read import newest_records
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.parked import ParkedService
from annals.workers.publishing.service import SubscriptionService
from annals.workers.registry import deciders
from annals.workers.settings import Settings, client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka.structs import TopicPartition

pytestmark = pytest.mark.broker

ROWS, A_TRANSACTION, IDLE, PAGE, WITHIN_S = 5_000, 1_000, 20, 1_000, 300
WISH = {"kinds": ["person"], "delivery": "acknowledged"}


def row(number: int) -> Row:
    name = f"p-{number:06}"
    cid = cid_text(cid_of(name.encode()))
    return Row("person", name, 1, cid, "PersonRegistered", number, ordered=True, state=PARKED, attempt=1, at=number)


class Scene:
    """A subscription whose events a delivery shard parks and settles, and two workers' administrations."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.settings = Settings(bootstrap_servers=bootstrap, topic_prefix=prefix, partitions=1)
        self.names = TopicNames(prefix)
        self.options = client_options(self.settings)
        self.workers = [SubscriptionService(self.settings, self.options, deciders()) for _ in range(2)]
        self.parked = ParkedService(self.settings, self.options, deciders())
        self.read: Counter[str] = Counter()

    async def write(self, *runs: dict[str, Row | None]) -> None:
        """Write rows as the delivery shard of the only partition does."""
        logs = KafkaDeliveryLogs(self.options, self.names, self.settings.app_id, "person", 0, 1, "none")
        log = logs.delivering("billing")
        await log.fence()
        for rows in runs:
            await log.deliver(DeliveryWrites(rows, Progress(0, None, 1), 0))
        await log.close()

    async def counts(self, worker: int = 0) -> int:
        """How many events are parked, as a worker says."""
        found: dict[str, Any] = (await self.workers[worker].get("billing")).body["deliveries"]
        assert found["parked"] == found["unsettled"]
        return int(found["parked"])


def runs(numbers: Sequence[int], *, settled: bool = False) -> list[dict[str, Row | None]]:
    """Return rows, or their tombstones, by transaction."""
    every = [numbers[begin : begin + A_TRANSACTION] for begin in range(0, len(numbers), A_TRANSACTION)]
    return [{row_key(row(each)): None if settled else row(each) for each in some} for some in every]


@pytest.fixture
async def scene(bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    made = Scene(bootstrap, topic_prefix)
    await create(made.settings)
    reading = newest_records.read_range

    async def read_range(
        client: Any, where: TopicPartition, start: int, end: int, **options: Any
    ) -> AsyncIterator[Any]:
        async for records in reading(client, where, start, end, **options):
            made.read[where[0]] += len(records)
            yield records

    monkeypatch.setattr(newest_records, "read_range", read_range)
    await made.workers[0].put("billing", WISH)
    yield made
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [name for name in admin.list_topics(timeout=60).topics if name.startswith(topic_prefix)]
    for future in admin.delete_topics(topics).values():
        future.result(60)


async def test_counts_and_lists_beside_many_parked_events_read_what_is_new_and_hold_little(scene: Scene) -> None:
    """Goes red when what is not settled is read whole for each answer, or listed with all of it in memory."""
    await scene.write(*runs(range(ROWS)))
    topic = scene.names.deliveries("billing")
    assert await scene.counts() == await scene.counts(1) == ROWS
    assert scene.read[topic] >= 2 * ROWS
    for number in range(10):
        scene.read.clear()
        await scene.write(*runs([number], settled=True))
        assert await scene.counts() == ROWS - number - 1
        assert scene.read[topic] == 2  # the record before it, and what is new
    assert await scene.counts(1) == ROWS - 10, "another worker was away meanwhile"
    scene.read.clear()
    assert await asyncio.gather(*(scene.counts() for _ in range(8))) == [ROWS - 10] * 8
    assert scene.read[topic] <= 8

    tracemalloc.start()
    listed: list[str] = []
    begin = FIRST
    while True:
        page, following = await scene.parked.page("billing", Choice(), begin, PAGE)
        listed += [each.aggregate_id for each in page]
        if following is None:
            break
        begin = following
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(listed) == [f"p-{number:06}" for number in range(10, ROWS)]
    assert peak < ROWS * 4_000


async def test_compaction_deletion_and_a_topic_made_anew_leave_the_counts_right(scene: Scene) -> None:
    """The cleaner of a real broker takes away rows, and the tombstones that settled them."""
    topic = scene.names.deliveries("billing")
    admin = AdminClient({"bootstrap.servers": scene.settings.bootstrap_servers})
    soon = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0"}
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in soon.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(60)
    await scene.write(*runs(range(200)))
    assert await scene.counts() == await scene.counts(1) == 200
    await scene.write(*runs(range(150), settled=True))
    assert await scene.counts() == 50, "the other one is away"
    deadline, left = time.monotonic() + WITHIN_S, 0
    while True:
        await scene.write(*runs([199]))  # the newest segment is not compacted: it ends
        fresh = SubscriptionService(scene.settings, scene.options, deciders())
        scene.read.clear()
        assert (await fresh.get("billing")).body["deliveries"]["parked"] == 50
        left = scene.read[topic]
        assert await scene.counts() == 50
        if left < 200:  # rows that were settled are gone
            break
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.2)
    assert await scene.counts(1) == 50, "it has missed the tombstones"


async def test_idle_subscriptions_are_listed_by_what_came_since(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(IDLE):
        await scene.workers[0].put(f"idle-{number:02}", {**WISH, "types": ["PersonArchived"]})
    first, is_end = await scene.workers[0].page(limit=100)
    assert (len(first), is_end) == (IDLE + 1, True)
    scene.read.clear()
    asked = 0
    update = AIOKafkaClient._metadata_update

    async def counting(client: AIOKafkaClient, *about: Any) -> Any:
        nonlocal asked
        asked += 1
        return await update(client, *about)

    monkeypatch.setattr(AIOKafkaClient, "_metadata_update", counting)
    again, _ = await scene.workers[0].page(limit=100)
    assert again == first
    assert asked == 2, "about all topics, of which each subscription has some: to connect, and then once"
    assert scene.read.total() <= IDLE + 2, "no more than the last record of each partition"
