"""What can be seen in Kafka of what is measured: offsets that move, records that appear, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.workers.kafka.connections import connect
from annals.workers.kafka.group.header_names import reading_consumer
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, committed, list_offsets
from annals.workers.settings import client_options
from annals.workers.tools.bench.programs import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from annals.workers.tools.bench.ground import Site
    from annals.workers.tools.bench.programs import Program
    from annals.workers.tools.bench.usage import Usage

LOOK_S: Final = 0.2  # seldom enough to cost nothing; what is measured is read from the log afterwards
STILL_S: Final = 120.0  # without any progress: something is wrong


class Progress(NamedTuple):
    """How far a group was when it was looked at, and what the processes had taken by then."""

    done: int
    usages: list[Usage]


async def until_decided(
    site: Site, topic: str, counts: Mapping[int, int], processes: Sequence[Program]
) -> tuple[Progress, Progress]:
    """Wait until the site's group has committed so many offsets per partition; return the first progress and the last.

    Raises:
        BenchError: a process ended, or made no progress for too long.
    """
    group = site.names.group(site.settings.app_id)
    client = await connect(client_options(site.settings), [topic])
    try:
        first, last, moved_at = None, 0, perf_counter()
        while True:
            done = sum([await _committed(client, group, TopicPartition(topic, partition)) for partition in counts])
            progress = Progress(done, [process.usage() for process in processes])
            if done > last:
                first, last, moved_at = first or progress, done, perf_counter()
            if first is not None and done >= sum(counts.values()):
                return first, progress
            if perf_counter() - moved_at > STILL_S:
                raise BenchError(f"no progress for {STILL_S:.0f} s: {done} of {sum(counts.values())} decided")
            await asyncio.sleep(LOOK_S)
    finally:
        await client.close()


async def _committed(client: Any, group: str, where: TopicPartition) -> int:
    try:
        found = await committed(client, group, where)
    except KafkaError as error:
        if not error.retriable:  # the group's coordinator is made when the first of the group asks for it
            raise
        return 0
    return found[0] if found else 0


class Arrivals(NamedTuple):
    """What stands in a topic that the broker stamps: how many records, and when the first and last batch came (ms)."""

    total: int
    first_ms: int
    last_ms: int
    in_first: int
    """Records of the first stamp: what they took lies before it."""
    words: Counter[str]
    """How many records there are by the word that was looked for."""

    @property
    def per_second(self) -> float:
        """Records per second between the first stamp and the last; with one stamp for all, as if it had taken 1 ms."""
        return (self.total - self.in_first or self.total) * 1000 / max(1, self.last_ms - self.first_ms)


async def arrivals(site: Site, topic: str, word: Callable[[Any], str] = lambda _: "") -> Arrivals:
    """Read a topic from its beginning to its end, committed records only."""
    stamps: Counter[int] = Counter()
    words: Counter[str] = Counter()
    partitions = [TopicPartition(topic, partition) for partition in range(site.partitions)]
    ends = await stable_ends(site, topic)
    async with reader(site, partitions) as consumer:
        await consumer.seek_to_beginning(*partitions)
        while [each for each in partitions if await consumer.position(each) < ends[each.partition]]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                stamps.update(record.timestamp for record in records)
                words.update(word(record) for record in records)
    if not stamps:
        raise BenchError(f"nothing was written to {topic}")
    first = min(stamps)
    return Arrivals(stamps.total(), first, max(stamps), stamps[first], words)


async def stable_ends(site: Site, topic: str) -> dict[int, int]:
    """Return the last stable offset of each partition."""
    wheres = [TopicPartition(topic, partition) for partition in range(site.partitions)]
    client = await connect(client_options(site.settings), [topic])
    try:
        ends = await list_offsets(client, LAST_STABLE, LAST, wheres)
    finally:
        await client.close()
    return {partition: ends[TopicPartition(topic, partition)] for _, partition in wheres}


@asynccontextmanager
async def reader(site: Site, partitions: list[TopicPartition]) -> AsyncIterator[Any]:
    """Give a consumer of these partitions that reads committed records, at their ends."""
    consumer = reading_consumer(
        **client_options(site.settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="latest",
        fetch_max_wait_ms=500,
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        yield consumer
    finally:
        await consumer.stop()


class Tail:
    """Notes when each record becomes readable, by the id of the command that caused it."""

    def __init__(self, topic: str, id_of: Callable[[Any], bytes]) -> None:
        """Take the topic, for messages, and what finds a record's command id."""
        self._topic = topic
        self._id_of = id_of
        self.seen_at: dict[bytes, tuple[int, float]] = {}
        """By command id: partition, and `perf_counter` when the first record of it was readable."""

    async def run(self, consumer: Any) -> None:
        """Note until cancelled."""
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000)
            now = perf_counter()
            for partition, records in fetched.items():
                for record in records:
                    self.seen_at.setdefault(self._id_of(record), (partition.partition, now))

    async def until_seen(self, ids: Mapping[bytes, float], within_s: float) -> None:
        """Wait until a record of each command was seen.

        Raises:
            BenchError: some were not, in time.
        """
        try:
            async with asyncio.timeout(within_s):
                while not self.seen_at.keys() >= ids.keys():  # noqa: ASYNC110 - nothing is woken by what is measured
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            missing = len(ids.keys() - self.seen_at.keys())
            what = f"{missing} of {len(ids)} commands had no record in {self._topic} within {within_s:.0f} s"
            raise BenchError(what) from None


def event_command(record: Any) -> bytes:
    """Return the command that caused an event, from its headers."""
    return next((value for name, value in record.headers if name == "ce_causationid"), b"")


@asynccontextmanager
async def tailing(site: Site, topic: str, id_of: Callable[[Any], bytes]) -> AsyncIterator[Tail]:
    """Note what becomes readable in a topic from now on."""
    tail = Tail(topic, id_of)
    async with reader(site, [TopicPartition(topic, partition) for partition in range(site.partitions)]) as consumer:
        watching = asyncio.create_task(tail.run(consumer))
        try:
            yield tail
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
