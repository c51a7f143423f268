"""The metrics of dead letters on a real broker: what is new is read, and no record twice."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from annals.agents.dead_letters.selection import Selection
from annals.schemas.settlement import SETTLEMENT_KEY, Settlement
from annals.topics.names import TopicNames
from annals.workers.dead_letters import reading
from annals.workers.dead_letters.service import DeadLetterService
from annals.workers.dead_letters.watch import DeadLetterMetrics, DeadLetterWatch
from annals.workers.kafka.read import settled_ends
from annals.workers.kafka.read.ranges import FETCH_BYTES, read_range
from annals.workers.settings import Settings
from chained import make_topics
from whole_topics import delete, until_settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiokafka.client import AIOKafkaClient

pytestmark = pytest.mark.broker

OLDEST_MS = 1_700_000_000_000


class Read:
    """The offsets that were asked for, and the records that came, by partition."""

    def __init__(self) -> None:
        self.asked: dict[TopicPartition, list[int]] = {}
        self.records: dict[TopicPartition, list[int]] = {}

    async def range(
        self,
        client: AIOKafkaClient,
        where: TopicPartition,
        start: int,
        end: int,
        most_bytes: int = FETCH_BYTES,
        **options: Any,
    ) -> AsyncGenerator[list[Any]]:
        self.asked.setdefault(where, []).extend(range(start, end))
        async for records in read_range(client, where, start, end, most_bytes, **options):
            self.records.setdefault(where, []).extend(record[0] for record in records)
            yield records


class Scene:
    """A watch, the service that shares what it knows, and what both read."""

    def __init__(self, bootstrap: str, prefix: str, read: Read) -> None:
        options = {"bootstrap_servers": bootstrap}
        self.bootstrap = bootstrap
        self.names = TopicNames(prefix)
        self.read = read
        self.registry = CollectorRegistry()
        settings = Settings(bootstrap_servers=bootstrap, topic_prefix=prefix)
        self.service = DeadLetterService(settings, options, ["person"])
        metrics = DeadLetterMetrics(self.registry)
        self.watch = DeadLetterWatch(options, self.names, metrics, self.service.settled)

    async def numbers(self) -> tuple[float | None, float | None]:
        """Look once, and return what the metrics say."""
        await self.watch.look()
        names = ("annals_dead_letters_open", "annals_dead_letters_oldest_timestamp_seconds")
        count, oldest = (self.registry.get_sample_value(name) for name in names)
        return count, oldest

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=f"{self.names.prefix}writer")
        async with producer, producer.transaction():
            yield producer
        for topic in (self.names.dead_letters, self.names.audit):
            await until_settled(self.bootstrap, topic)

    async def write_letters(self, *seconds: int) -> None:
        """Write dead letters as a worker does; seconds: behind the oldest."""
        async with self.transaction() as producer:
            for each in seconds:
                headers = [("source-timestamp", b"%d" % (OLDEST_MS + each * 1_000))]
                await producer.send(self.names.dead_letters, b"x", partition=0, headers=headers)

    async def settle(self, *offsets: int) -> None:
        """Settle letters, amid the records of other administrative calls."""
        spans = [(offset, offset) for offset in offsets]
        value = Settlement("r", "me", "POST", "/", "now", 202, None, "discard", 0, spans, len(spans))
        async with self.transaction() as producer:
            await producer.send(self.names.audit, b"{}", b"a request", partition=0)
            await producer.send(self.names.audit, msgspec.json.encode(value), SETTLEMENT_KEY, partition=0)

    async def make_anew(self, topic: str) -> None:
        await delete(self.bootstrap, topic)
        await make_topics(self.bootstrap, [topic])


@pytest.fixture
async def scene(bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Scene:
    read = Read()
    for module in (reading, settled_ends):
        monkeypatch.setattr(module, "read_range", read.range)
    made = Scene(bootstrap, topic_prefix, read)
    await make_topics(bootstrap, [made.names.dead_letters, made.names.audit])
    return made


async def test_no_record_is_read_twice(scene: Scene) -> None:
    letters, audit = (scene.names.dead_letters, 0), TopicPartition(scene.names.audit, 0)
    assert await scene.numbers() == (0, 0)
    assert scene.read.records == {}

    await scene.write_letters(0, 1, 2)  # offsets 0 to 2, and the marker of the transaction at 3
    await scene.settle(0)
    assert await scene.numbers() == (2, OLDEST_MS / 1_000 + 1)
    await scene.write_letters(3, 4)  # 4 and 5
    assert await scene.numbers() == (4, OLDEST_MS / 1_000 + 1)
    await scene.settle(1, 4)
    assert await scene.numbers() == (2, OLDEST_MS / 1_000 + 2)
    assert await scene.numbers() == (2, OLDEST_MS / 1_000 + 2)

    assert scene.read.records == {letters: [0, 1, 2, 4, 5], audit: [0, 1, 3, 4]}
    assert scene.read.asked == {
        letters: list(range(7)),
        audit: list(range(6)),
    }  # of markers, too, none is asked for twice


async def test_a_moment_that_no_number_holds_is_none(scene: Scene) -> None:
    async with scene.transaction() as producer:
        headers = [("source-timestamp", b"9" * 19)]
        await producer.send(scene.names.dead_letters, b"x", partition=0, headers=headers)
    assert await scene.numbers() == (1, 0)


async def test_listing_reads_what_is_settled_on_from_where_the_metrics_are(scene: Scene) -> None:
    audit = TopicPartition(scene.names.audit, 0)
    await scene.write_letters(0, 1, 2)
    await scene.settle(0)
    assert await scene.numbers() == (2, OLDEST_MS / 1_000 + 1)
    await scene.settle(1)
    for _ in range(2):
        assert [each.offset for each in (await scene.service.page(Selection(), (0, 0), 10)).letters] == [2]
    assert await scene.numbers() == (1, OLDEST_MS / 1_000 + 2)
    assert scene.read.asked[audit] == list(range(6))


async def test_topics_that_were_made_anew_are_read_anew(scene: Scene) -> None:
    await scene.write_letters(5, 6, 7)
    await scene.settle(0, 1)
    assert await scene.numbers() == (1, OLDEST_MS / 1_000 + 7)
    await scene.make_anew(scene.names.audit)
    assert await scene.numbers() == (3, OLDEST_MS / 1_000 + 5)
    await scene.make_anew(scene.names.dead_letters)
    assert await scene.numbers() == (0, 0)
    await scene.write_letters(0)
    assert await scene.numbers() == (1, OLDEST_MS / 1_000)
