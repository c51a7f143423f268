"""A takeover with many subscriptions: their writers are fenced side by side, all of them before progress is read."""

import asyncio

import pytest

from annals.agents.publishing.catching import FENCED_AT_ONCE
from annals.agents.waiting import all_of
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from annals.workers.publishing.log import KafkaPublishLog
from chained import chain
from publishing import World, eventually

MANY = 3 * FENCED_AT_ONCE


class Fences:
    """Writers of subscriptions whose fences end only when as many are under way as may be."""

    def __init__(self) -> None:
        self.under_way = self.most = self.ended = 0
        self.are_full = asyncio.Event()

    async def fence(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == FENCED_AT_ONCE:
            self.are_full.set()
        await self.are_full.wait()
        self.under_way -= 1
        self.ended += 1

    async def close(self) -> None:
        """Nothing is connected."""


async def test_writers_are_fenced_at_once_and_all_of_them_before_progress_is_read(monkeypatch):
    names = [f"s-{number}" for number in range(MANY)]
    world = World(*names)
    world.journal.append(chain("p-1", 1))
    for name in names:
        await world.subscribe(name, delivery="acknowledged", types=("PersonArchived",))
    fences = Fences()
    ended = []
    progress = KafkaPublishLog.progress

    async def read(self, *, is_settled=True):
        if is_settled:
            ended.append(fences.ended)
        return await progress(self, is_settled=is_settled)

    monkeypatch.setattr(KafkaDeliveryLogs, "catching_up", lambda *_: fences)
    monkeypatch.setattr(KafkaPublishLog, "progress", read)
    async with world.shard() as shard, world.publisher(shard) as publisher:

        async def is_publishing() -> bool:
            return publisher.phase == "publishing"

        await eventually(is_publishing)
    assert fences.most == FENCED_AT_ONCE
    assert ended[0] == MANY


async def test_the_first_call_that_fails_is_raised_when_those_under_way_have_ended_and_none_begins_after_it():
    begun, ended = [], []
    goes_on = asyncio.Event()

    async def call(number):
        begun.append(number)
        if number == 1:
            goes_on.set()
            raise ValueError("one")
        await goes_on.wait()
        ended.append(number)

    with pytest.raises(ValueError, match="one"):
        await all_of([lambda number=number: call(number) for number in range(5)], 2)
    assert begun == [0, 1]
    assert ended == [0]
