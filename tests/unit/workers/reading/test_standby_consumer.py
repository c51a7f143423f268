"""A consumer of standbys that fails is stopped whole, and another one reads on, whatever stopping it meets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from annals.workers.reading.standby_consumer import StandbyConsumer
from following import until

if TYPE_CHECKING:
    import pytest

JOURNAL = TopicPartition("events.person", 0)


class Failing:
    """A consumer that fails at once, and that a fetch ends while it stops: aiokafka's `stop` raises what that met."""

    made: list[Failing]

    def __init__(self, **_: Any) -> None:
        self.made.append(self)
        self._client = self
        self.is_disconnected = False

    async def start(self) -> None:
        raise KafkaConnectionError

    async def stop(self) -> None:
        raise asyncio.CancelledError

    async def close(self) -> None:
        self.is_disconnected = True


async def test_a_fetch_that_ends_the_stopping_of_a_consumer_ends_neither_the_reading_nor_leaves_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Failing, "made", [], raising=False)
    monkeypatch.setattr("annals.workers.reading.standby_consumer.reading_consumer", Failing)
    monkeypatch.setattr("annals.workers.reading.standby_consumer.FIRST_RETRY_S", 0.001)
    consumer = StandbyConsumer({}, lambda _: None, lambda: None)
    consumer.follow([JOURNAL])
    try:
        await until(lambda: len(Failing.made) > 1)
    finally:
        await consumer.close()
    assert all(each.is_disconnected for each in Failing.made)
