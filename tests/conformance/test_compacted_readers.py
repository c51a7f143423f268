"""What readers of a compacted topic promise, in memory as on a broker: who acts on it, and who answers what it says.

Both read the newest valid record of each key. Where something of the topic is lost, who acts on it goes on with what
was known, and says from the first moment on which loss it is; who answers says what is there.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.followed_topic import FollowedTopic
from annals.workers.kafka.read.invalid_records import InvalidRecords
from annals.workers.memory.client import Cluster
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.publishing.compacted_views import CompactedViews
from following import until
from made_anew import delete, make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOST = "it lost its end, was emptied or made anew"


class Place(Protocol):
    """A compacted topic, somewhere."""

    name: str
    options: dict[str, Any]

    async def put(self, *records: tuple[str, str | None]) -> None:
        """Write records, without a transaction."""

    async def delete_before(self, offset: int) -> None:
        """Delete the records before an offset."""

    async def make_anew(self) -> None:
        """Delete the topic and make it again."""


class InMemory:
    name = "texts"

    def __init__(self) -> None:
        self.model = MemoryCluster({self.name: Topic(1)})
        self.options: dict[str, Any] = {CLUSTER: Cluster(self.model), "bootstrap_servers": "memory"}

    async def put(self, *records: tuple[str, str | None]) -> None:
        for key, value in records:
            self.model.append((self.name, 0), key.encode(), None if value is None else value.encode())

    async def delete_before(self, offset: int) -> None:
        self.model.logs[self.name, 0].delete_before(offset)

    async def make_anew(self) -> None:
        self.model.delete_topic(self.name)
        self.model.make_topic(self.name, Topic(1))


class OnABroker:
    def __init__(self, bootstrap: str) -> None:
        self.name = f"texts-{secrets.token_hex(4)}"
        self.options: dict[str, Any] = {"bootstrap_servers": bootstrap}
        self._bootstrap = bootstrap
        self._make()

    async def put(self, *records: tuple[str, str | None]) -> None:
        async with AIOKafkaProducer(**self.options) as producer:
            for key, value in records:
                await producer.send_and_wait(self.name, None if value is None else value.encode(), key.encode(), 0)

    async def delete_before(self, offset: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        (future,) = admin.delete_records([TopicPartition(self.name, 0, offset)]).values()
        await asyncio.to_thread(future.result, 60)

    async def make_anew(self) -> None:
        await asyncio.to_thread(delete, self._bootstrap, self.name)
        await asyncio.to_thread(self._make)

    def _make(self) -> None:
        make(self._bootstrap, self.name, "compact,delete")  # of one that is compacted alone, nothing may be deleted


@pytest.fixture(params=[InMemory, pytest.param(OnABroker, marks=pytest.mark.broker)])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param is InMemory:
        yield InMemory()
        return
    bootstrap = request.getfixturevalue("bootstrap")
    made = OnABroker(bootstrap)
    yield made
    await asyncio.to_thread(delete, bootstrap, made.name)


def text_of(key: bytes | None, value: bytes, offset: int) -> str:
    del key, offset
    return value.decode("ascii")


class Counting(InvalidRecords):
    count = 0

    def _count_one(self, topic: str) -> None:
        self.count += 1


class Following(FollowedTopic[str]):
    """One who acts on the topic; told: what it said of it, in that order."""

    def __init__(self, place: Place) -> None:
        self.told: list[str] = []
        self.invalid = Counting()
        super().__init__(place.options, place.name, text_of, self.invalid, 0.01)

    def _tell(self, problem: str) -> None:
        self.told.append(problem)


@asynccontextmanager
async def following(place: Place) -> AsyncIterator[Following]:
    made = Following(place)
    task = asyncio.create_task(made.run())
    try:
        await made.until_read()
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answered(place: Place, views: CompactedViews) -> dict[str, str]:
    client = await connect(place.options, [])
    try:
        (rows,) = await views.rows(client, place.name, text_of)
        return {key.decode(): text for key, text in rows.items()}
    finally:
        await client.close()


async def test_both_know_the_newest_valid_record_of_each_key(place: Place) -> None:
    views = CompactedViews()
    await place.put(("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"))
    async with following(place) as followed:
        assert followed.all() == await answered(place, views) == dict.fromkeys("abcd", "1")
        await place.put(
            ("a", "2"), ("b", None), ("c", "ü"), ("c", "é"), ("c", "2"), ("d", "ü"), ("e", None), ("f", "1")
        )
        wanted = {"a": "2", "c": "2", "d": "1", "f": "1"}
        await until(lambda: "f" in followed.all())
        assert followed.all() == await answered(place, views) == wanted
        assert (followed.problem, followed.told, followed.invalid.count) == (None, [], 3)


async def test_of_one_that_was_made_anew_and_is_longer_what_was_known_holds_or_what_is_there_is_said(
    place: Place,
) -> None:
    """From the first moment on it is told as that: the first word of it is not of an end that was lost."""
    views = CompactedViews()
    await place.put(("a", "1"), ("b", "1"))
    async with following(place) as followed:
        assert await answered(place, views) == {"a": "1", "b": "1"}
        await place.make_anew()
        await place.put(("a", "1"), ("b", "1"), ("b", "2"))
        await until(lambda: "was deleted and made anew" in (followed.problem or ""))
        assert [each for each in followed.told if LOST in each] == []
        assert followed.all() == {"a": "1", "b": "1"}
        assert await answered(place, views) == {"a": "1", "b": "2"}


async def test_of_one_that_was_made_anew_and_is_empty_it_is_said_at_once(place: Place) -> None:
    await place.put(("a", "1"))
    async with following(place) as followed:
        await place.make_anew()
        await until(lambda: "was deleted and made anew" in (followed.problem or ""))
        assert [each for each in followed.told if LOST in each] == []
        assert followed.all() == {"a": "1"}


async def test_of_one_whose_front_was_deleted_what_was_known_holds_or_what_is_there_is_said(place: Place) -> None:
    views = CompactedViews()
    await place.put(("a", "1"), ("b", "1"), ("c", "1"))
    async with following(place) as followed:
        assert await answered(place, views) == dict.fromkeys("abc", "1")
        await place.delete_before(2)
        await until(lambda: "lacks what it had at offset" in (followed.problem or ""))
        assert LOST in (followed.problem or "")
        assert followed.all() == dict.fromkeys("abc", "1")
        assert await answered(place, views) == {"c": "1"}
        await place.put(("a", "2"), ("b", "2"))
        await until(lambda: followed.problem is None)
        assert followed.all() == await answered(place, views) == {"a": "2", "b": "2", "c": "1"}


@pytest.mark.parametrize("again", ["longer", "as long"])
async def test_an_end_that_was_cut_and_has_grown_again_is_a_loss(again: str) -> None:
    """Neither the end nor the keys tell: the record that was read last is another one."""
    place, views = InMemory(), CompactedViews()
    await place.put(("a", "1"), ("b", "1"), ("c", "1"))
    async with following(place) as followed:
        assert await answered(place, views) == dict.fromkeys("abc", "1")
        place.model.logs[place.name, 0].truncate(2)
        await place.put(("c", "other"), *([("d", "1")] if again == "longer" else []))
        await until(lambda: "lacks what it had at offset 2" in (followed.problem or ""))
        assert followed.all() == dict.fromkeys("abc", "1")
        assert (await answered(place, views))["c"] == "other"


async def test_what_an_invalid_record_has_covered_and_compaction_has_removed_is_no_loss() -> None:
    """Whoever connects anew reads from the beginning: goes red where the stranger's record passes for a lost end."""
    place = InMemory()
    await place.put(("a", "1"), ("b", "1"))
    async with following(place) as followed:
        await place.put(("a", "ü"), ("b", "2"))
        await until(lambda: followed.all() == {"a": "1", "b": "2"})
        log = place.model.logs[place.name, 0]
        log.entries = [each for each in log.entries if each.base in {2, 3}]
        log.delete_before(1)  # so that it is read from the beginning
        await place.put(("c", "1"))
        await until(lambda: "c" in followed.all() or followed.problem is not None)
        assert (followed.all(), followed.problem) == ({"a": "1", "b": "2", "c": "1"}, None)
        assert followed.invalid.count == 1


async def test_a_topic_that_is_missing_is_named_at_once_with_what_to_do() -> None:
    place = InMemory()
    place.model.delete_topic(place.name)
    followed = Following(place)
    task = asyncio.create_task(followed.run())
    try:
        await until(lambda: followed.problem is not None)
        assert "there is no topic texts: create it with `annals topics create`" in (followed.problem or "")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
