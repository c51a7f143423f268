"""A compacted topic that was deleted and made anew is named, however long it is now; what was known holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from annals.agents.reading.ports import NotReadyError
from annals.workers.kafka.write.compacted_topic import CompactedTopic

pytestmark = pytest.mark.broker
WITHIN_S = 60


class Texts:
    what = "texts"
    most_bytes = 10_000

    def encode(self, record: str) -> bytes:
        return record.encode()

    def decode(self, key: bytes | None, value: bytes) -> str:
        return value.decode()


def has_leader(admin: AdminClient, name: str) -> bool:
    found = admin.list_topics(timeout=10).topics.get(name)
    return found is not None and found.error is None and all(each.leader >= 0 for each in found.partitions.values())


def make(bootstrap: str, name: str) -> None:
    """Make the topic, as soon as a former one of its name is gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + WITHIN_S
    while True:
        (future,) = admin.create_topics([NewTopic(name, 1, 1, config={"cleanup.policy": "compact"})]).values()
        try:
            future.result(10)
        except KafkaException:
            assert time.monotonic() < deadline, name
        else:
            break
    while not has_leader(admin, name):
        assert time.monotonic() < deadline, name


def delete(bootstrap: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.delete_topics([name], operation_timeout=30).values()
    future.result(60)


@asynccontextmanager
async def followed(topic: CompactedTopic[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(topic.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def written(topic: CompactedTopic[str], text: str) -> None:
    """Write a record, once the brokers have told one another of the topic."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await topic.change("a", lambda _: text)
            except NotReadyError:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.fixture
def name(bootstrap: str, topic_prefix: str) -> Iterator[str]:
    made = f"{topic_prefix}texts"
    make(bootstrap, made)
    yield made
    delete(bootstrap, made)


async def test_a_topic_that_was_made_anew_and_is_longer_is_named(
    bootstrap: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.kafka.write.compacted_topic.LOOK_S", 0.2)
    options = {"bootstrap_servers": bootstrap}
    topic, other = CompactedTopic(options, name, Texts()), CompactedTopic(options, name, Texts())
    async with followed(topic):
        await written(topic, "1")
        await asyncio.to_thread(delete, bootstrap, name)
        await asyncio.to_thread(make, bootstrap, name)
        async with followed(other):
            for number in range(5):
                await written(other, f"other {number}")
        async with asyncio.timeout(WITHIN_S):
            while "was deleted and made anew" not in (topic.problem or ""):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        assert topic.records == {"a": "1"}
        with pytest.raises(NotReadyError, match="was deleted and made anew"):
            await topic.change("b", lambda _: "2")
