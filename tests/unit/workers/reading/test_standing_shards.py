"""A partition's shard stays open while its process becomes the owner, a standby, or the owner again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import Delivery
from annals.agents.reading.following.losses import Trusted
from annals.workers.clock import SystemClock
from annals.workers.kafka.group.sources import Sources
from annals.workers.reading.followed import EitherSource
from annals.workers.reading.shards import FollowedHere, ReadingShards
from annals.workers.reading.telemetry import ReadingMetrics
from annals.workers.settings import Settings
from chained import chain
from following import Fetched, Journal, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

    from annals.agents.ports import Position
    from annals.agents.reading.following.shard import Shard

MINE = TopicPartition("events.person", 0)
STANDBY = {"events.person": [0]}
EVENTS = chain("p-1", 2)


class NoStreams:
    """No projection is re-keyed (the `Streams` port)."""

    def all(self) -> list[Any]:
        return []


class Beside:
    """Something that works beside a shard, and what became of it."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def run(self) -> None:
        self.log.append("runs")
        await asyncio.Event().wait()

    async def suspend(self) -> None:
        """Nothing is in flight."""

    def resume(self) -> None:
        """Nothing was suspended."""

    async def close(self) -> None:
        self.log.append("closed")


class Consumer:
    """A consumer that cannot reach a broker."""

    started = 0

    def __init__(self, **options: Any) -> None:
        assert options["group_id"] is None
        assert options["isolation_level"] == "read_committed"
        self._client = self

    async def start(self) -> None:
        Consumer.started += 1
        raise KafkaConnectionError

    async def stop(self) -> None:
        """Nothing was started."""

    async def close(self) -> None:
        """Nothing was connected."""


@asynccontextmanager
async def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[ReadingShards, list[str]]]:
    """The reading shards of a process over one journal in memory, of two events; what happens beside them is logged."""
    journal = Journal(EVENTS)
    monkeypatch.setattr("annals.workers.reading.shards.KafkaJournalPartition", lambda *_: journal)
    monkeypatch.setattr("annals.workers.reading.shards.Losses", lambda *_: Trusted(journal))
    monkeypatch.setattr("annals.workers.reading.standby_consumer.reading_consumer", Consumer)
    monkeypatch.setattr("annals.workers.reading.standby_consumer.FIRST_RETRY_S", 0.01)
    log: list[str] = []

    def beside(*_: Any) -> list[Any]:
        return [Beside(log)]

    shards = ReadingShards(
        Settings(data_dir=tmp_path),
        None,  # type: ignore[arg-type]
        {},
        {"person": REGISTRY["person"]},
        {"person": 1},
        Sources(),
        ReadingMetrics(),
        SystemClock(),
        followers=lambda _: (),
        ask_rows=None,
        beside=beside,
    )
    try:
        yield shards, log
    finally:
        await shards.partitions_here.close()


def deliver(shards: ReadingShards, source: Any, number: int) -> None:
    """Have a consumer bring one event of the journal, by the source that it fetches for."""
    event = EVENTS[number]
    records = [Fetched(number, event.key, event.value)]
    delivery = Delivery(MINE.topic, MINE.partition, source.source(*MINE).generation, records)
    if source is shards.standing.consumer.sources:
        shards.standing._deliver(delivery)
    elif (actor := shards.partitions_here.of(*MINE)) is not None:
        actor.deliver(delivery)


async def reading(shard: Shard | None) -> Shard:
    assert shard is not None
    await until(lambda: shard.status().phase == "reading")
    return shard


async def test_a_standby_takes_over_while_it_stays_open_and_gives_the_partition_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(tmp_path, monkeypatch) as (shards, log):
        here, own, group = shards.partitions_here, shards.standing.consumer.sources, shards._sources
        await here.on_partitions_assigned([], STANDBY)
        standby = await reading(shards.standby("person", 0))
        assert (shards.shard("person", 0), shards.all(), FollowedHere(shards, NoStreams()).all()) == (
            None,
            [],
            [standby],
        )
        assert (standby.status().standby, log, here.not_ready()) == (True, [], [])
        deliver(shards, own, 0)
        assert await standby.until_offset(1, soon())

        await here.on_partitions_assigned([MINE], {})
        assert (shards.shard("person", 0), shards.standby("person", 0)) == (standby, None)
        assert (standby.status().standby, standby.status().phase) == (False, "reading")
        await until(lambda: log == ["runs"])
        deliver(shards, own, 1)  # it comes too late: this is the group's by now
        deliver(shards, group, 1)
        assert await standby.until_offset(2, soon())
        await until(lambda: standby.status().reached)

        await here.on_partitions_assigned([], STANDBY)
        assert (shards.shard("person", 0), shards.standby("person", 0)) == (None, standby)
        assert (standby.status().standby, standby.status().offset) == (True, 2)
        assert log == ["runs", "closed"]

        await here.on_partitions_assigned([], {})
        assert (shards.standby("person", 0), shards.left) == (None, {})
        assert standby.status().phase == "closed"


async def test_an_owner_or_standby_that_stays_so_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with process(tmp_path, monkeypatch) as (shards, log):
        here = shards.partitions_here
        for assigned, standby, get in (([MINE], {}, shards.shard), ([], STANDBY, shards.standby)):
            await here.on_partitions_assigned(assigned, standby)
            shard = await reading(get("person", 0))
            await here.on_partitions_revoked(assigned)
            assert get("person", 0) is shard
            await here.on_partitions_assigned(assigned, standby)
            assert get("person", 0) is shard
        await until(lambda: log == ["runs", "closed"])


async def test_a_standby_without_a_broker_is_open_and_tried_again_and_no_reason_to_be_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(tmp_path, monkeypatch) as (shards, _):
        await shards.partitions_here.on_partitions_assigned([], STANDBY)
        standby = await reading(shards.standby("person", 0))
        before = Consumer.started
        await until(lambda: Consumer.started > before + 1)
        assert shards.partitions_here.not_ready() == []
        shards._metrics.measure_standby(standby)
        assert shards._metrics.registry.get_sample_value(
            "annals_read_standby_lag", {"kind": "person", "partition": "0"}
        ) == len(EVENTS)
        await shards.partitions_here.on_partitions_assigned([], {})
        assert (
            shards._metrics.registry.get_sample_value("annals_read_standby_lag", {"kind": "person", "partition": "0"})
            is None
        )


async def test_what_the_other_source_brings_is_nobodys() -> None:
    owned, standby = Journal(), Journal()
    source = EitherSource(owned, standby)
    source.deliver_from(0)
    source.deliver_from(0)
    assert (source.generation, owned.generation, standby.generation) == (2, 2, 0)
    source.turn(is_standby=True)
    assert (owned.paused, source.generation) == (1, 0)
    source.deliver_from(0)
    source.pause()
    source.resume()
    assert (standby.generation, standby.paused, standby.resumed) == (1, 1, 1)
    standby.mark()
    assert source.decided_until(0) == 1


async def test_a_shard_that_waits_for_a_damaged_batch_is_named_in_readiness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaged(Trusted):
        async def settle(
            self, position: Position, read_until: int, tell: Callable[[str], None], *, is_idle: bool = False
        ) -> bool:
            tell("waiting: the record batch at offset 1 is damaged")
            return await super().settle(position, read_until, tell, is_idle=is_idle)

    async with process(tmp_path, monkeypatch) as (shards, _):
        monkeypatch.setattr("annals.workers.reading.shards.Losses", lambda *_: Damaged(Journal(EVENTS)))
        await shards.partitions_here.on_partitions_assigned([MINE], {})
        shard = await reading(shards.shard("person", 0))
        await until(lambda: shard.status().reason)
        said = ["person-0 is reading: waiting: the record batch at offset 1 is damaged"]
        assert shards.partitions_here.not_ready() == said
