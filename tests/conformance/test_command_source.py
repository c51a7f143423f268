"""What every source of commands promises: one suite, on the log in memory and on a broker, faults included."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from sites import NOTHING, NOW_MS, WITHIN_S
from test_shard_log import Site, commit, site  # noqa: F401 - `site` is a fixture

from annals.agents.ports import Delivery, LostEndError
from annals.testing import MemoryCommandSource
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.group.sources import Sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from annals.agents.ports import CommandSource

PARTITION = 1  # of commands: that of partition 0 can forward into it, in a transaction


class Place:
    """A partition of commands, its source, and what was delivered."""

    def __init__(self, site: Site) -> None:  # noqa: F811 - the fixture of test_shard_log
        self.site = site
        self.topic = site.topics.commands[0]
        self.deliveries: list[Delivery] = []
        self.source: CommandSource

    async def append(self, *values: bytes) -> None:
        for value in values:
            await self.site.append(TopicPartition(self.topic, PARTITION), value)
        if isinstance(self.source, MemoryCommandSource):
            self.source.fetch()

    async def forward(self, value: bytes, base: int = 0) -> None:
        """Write a command in a transaction of the other partition's shard, which ends as its journal's end says."""
        log = await self.site.owner()
        writes = log.writes()
        assert writes.add_forward(PARTITION, b"k", value, NOW_MS, NOTHING)
        writes.add_events([(b"k", b"event", NOW_MS, NOTHING)])
        await commit(log, writes, 1, base)

    async def values(self, count: int) -> list[bytes | None]:
        """What has been delivered of the present generation, once it is so many."""
        await self.until(lambda: len(self.present()) >= count)
        return [record.value for record in self.present()]

    def present(self) -> list[Any]:
        generation = self.source.generation
        return [each for of, records in self.of_generations() if of == generation for each in records]

    def of_generations(self) -> list[tuple[int, Any]]:
        return [(delivery.generation, delivery.records) for delivery in self.deliveries]

    async def until(self, is_so: Any) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.001)


async def pump(sources: Sources, consumer: Any, deliveries: list[Delivery]) -> None:
    """Hand out fetches as `annals.workers.kafka.group.transport` does."""
    while True:
        try:
            fetched = await consumer._fetcher.fetched_records(sources.open, timeout=0.05, max_records=100)
        except OffsetOutOfRangeError as error:
            fetched = {partition: [] for partition in error.args[0]}
        sources.note_fetch(fetched)
        for where, records in fetched.items():
            deliveries.append(Delivery(where.topic, where.partition, sources.generation(where), records))
        if not sources.open:
            await asyncio.sleep(0.001)


@pytest.fixture
async def place(site: Site) -> AsyncIterator[Place]:  # noqa: F811 - the fixture of test_shard_log
    made = Place(site)
    if site.model is not None:
        log = site.model.logs[made.topic, PARTITION]
        made.source = MemoryCommandSource(log, made.topic, PARTITION, made.deliveries.append)
        yield made
        return
    consumer = reading_consumer(
        **site.options, enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="none"
    )
    await consumer.start()
    sources = Sources()
    sources.attach(consumer)
    consumer.assign([TopicPartition(made.topic, PARTITION)])
    made.source = sources.source(made.topic, PARTITION)
    sources.reassign()
    pumping = asyncio.create_task(pump(sources, consumer, made.deliveries))
    try:
        yield made
    finally:
        pumping.cancel()
        await asyncio.wait({pumping})
        await consumer.stop()


async def test_commands_come_in_order_from_the_offset_that_was_asked_for(place: Place) -> None:
    await place.append(b"0", b"1", b"2")
    assert place.deliveries == []
    place.source.deliver_from(1)
    assert place.source.generation == 1
    assert await place.values(2) == [b"1", b"2"]
    await place.append(b"3")
    assert await place.values(3) == [b"1", b"2", b"3"]
    assert {(each.topic, each.partition) for each in place.deliveries} == {(place.topic, PARTITION)}


async def test_asked_for_again_they_are_of_a_new_generation(place: Place) -> None:
    await place.append(b"0", b"1")
    place.source.deliver_from(0)
    assert await place.values(2) == [b"0", b"1"]
    place.source.deliver_from(1)
    assert place.source.generation == 2
    assert await place.values(1) == [b"1"]


async def test_paused_it_delivers_nothing_and_resumed_it_goes_on_where_it_was(place: Place) -> None:
    place.source.deliver_from(0)
    await place.append(b"0")
    assert await place.values(1) == [b"0"]
    place.source.pause()
    await place.append(b"1", b"2")
    place.source.pause()  # twice is once
    assert await place.values(1) == [b"0"]
    place.source.resume()
    assert await place.values(3) == [b"0", b"1", b"2"]


async def test_behind_the_last_command_all_is_decided_once_all_that_was_delivered_is(place: Place) -> None:
    await place.append(b"0")
    await place.forward(b"1")  # and a marker, at offset 2
    place.source.deliver_from(0)
    assert await place.values(2) == [b"0", b"1"]
    await place.until(lambda: place.source.decided_until(2) == 3)
    assert [place.source.decided_until(offset) for offset in (0, 1, 5)] == [0, 1, 5]


async def test_what_was_aborted_is_not_delivered(place: Place) -> None:
    with pytest.raises(LostEndError):
        await place.forward(b"aborted", base=7)  # its journal ends elsewhere, and nothing is committed
    await place.site.owner()  # the fence ends it
    place.source.deliver_from(0)
    await place.append(b"1")
    assert await place.values(1) == [b"1"]


async def test_where_the_offset_is_gone_it_delivers_nothing_at_all(place: Place) -> None:
    await place.append(b"0", b"1")
    await place.site.expire(TopicPartition(place.topic, PARTITION), 2)
    place.source.deliver_from(0)
    await place.until(lambda: place.deliveries)
    assert [(of, len(records)) for of, records in place.of_generations()[:1]] == [(1, 0)]
