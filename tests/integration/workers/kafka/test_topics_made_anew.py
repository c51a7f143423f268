"""A compacted topic that was deleted and made anew is named, however long it is now; what was known holds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from annals.agents.reading.ports import NotReadyError
from annals.workers.kafka.write.compacted_topic import CompactedTopic
from made_anew import delete, make

pytestmark = pytest.mark.broker
WITHIN_S = 300


class Texts:
    what = "texts"
    most_bytes = 10_000

    def encode(self, record: str) -> bytes:
        return record.encode()

    def decode(self, key: bytes | None, value: bytes) -> str:
        return value.decode()


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


async def test_a_topic_that_was_made_anew_and_is_longer_is_named(bootstrap: str, name: str) -> None:
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
