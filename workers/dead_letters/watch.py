"""How many dead letters are open, and since when: followed by each reading process, for its metrics."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from contextlib import aclosing
from itertools import compress
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from prometheus_client import Gauge

from annals.agents.dead_letters.letter import received_ms
from annals.agents.ports import JournalError
from annals.agents.waiting import in_turns
from annals.workers.dead_letters.reading import letter_bounds, read_letters
from annals.workers.kafka.connections import MissingTopicError, connect
from annals.workers.kafka.protocol.record_batches import FormatError
from annals.workers.kafka.read.last_record import LastRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient
    from prometheus_client import CollectorRegistry

    from annals.agents.dead_letters.settled import Settled
    from annals.topics.names import TopicNames
    from annals.workers.dead_letters.reading import SettledTopic

LOOK_S: Final = 15.0
LETTERS_A_TURN: Final = 10_000  # of those that are known: some milliseconds
FAILURES: Final = (MissingTopicError, JournalError, KafkaError, FormatError, OSError, TimeoutError, MemoryError)
log = structlog.get_logger(__name__)


class OpenLetters:
    """What is open: offset and time of each letter, 16 bytes; and how far the partitions were read."""

    def __init__(self, settled: Settled) -> None:
        """Take what is settled; no letter is read yet."""
        self.settled: Final = settled
        self._settlements = settled.settlements
        self._offsets: dict[int, array[int]] = {}
        self._times: dict[int, array[int]] = {}
        self._next: dict[int, int] = {}

    def begin(self, partition: int, first: int, end: int) -> int:
        """Return where what is new begins; forget what the topic no longer has: all, where it was made anew."""
        if self._next.get(partition, 0) > end:
            self.forget(partition)
        gone = bisect_left(self._offsets.get(partition, ()), first)
        for kept in (self._offsets, self._times):
            del kept.setdefault(partition, array("q"))[:gone]
        return max(first, self._next.get(partition, 0))

    def forget(self, partition: int) -> None:
        """Forget all of a partition: the topic was made anew."""
        self._next[partition] = 0
        for kept in (self._offsets, self._times):
            kept[partition] = array("q")

    def add(self, partition: int, offset: int, milliseconds: int) -> None:
        """Take the next letter; milliseconds: when its command was received."""
        self._next[partition] = offset + 1
        if self.settled.of(partition, offset) is None:
            self._offsets[partition].append(offset)
            self._times[partition].append(milliseconds)

    def reach(self, partition: int, end: int) -> None:
        """Say that a partition was read to its end."""
        self._next[partition] = end

    async def drop_settled(self) -> None:
        """Forget those that were settled since they were taken, no more than LETTERS_A_TURN in one turn of the loop."""
        settlements = self.settled.settlements
        if self._settlements == settlements:
            return
        for partition, offsets in self._offsets.items():
            is_open = [
                self.settled.of(partition, offset) is None
                async for some in in_turns(offsets, LETTERS_A_TURN)
                for offset in some
            ]
            for kept in (self._offsets, self._times):
                kept[partition] = array("q", compress(kept[partition], is_open))
        self._settlements = settlements

    def numbers(self) -> tuple[int, int | None]:
        """Return how many are open, and the time of the oldest, in milliseconds; None without any."""
        times = [each for each in self._times.values() if each]
        return sum(map(len, times)), min(map(min, times), default=None)


class DeadLetterMetrics:
    """The metrics, declared once in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare them."""
        self.count = Gauge(
            "annals_dead_letters_open",
            "dead letters that are neither sent again nor discarded; the same on every reading worker",
            registry=registry,
        )
        self.oldest = Gauge(
            "annals_dead_letters_oldest_timestamp_seconds",
            "when the oldest open dead letter was received, in seconds since 1970; 0: there is none",
            registry=registry,
        )


class DeadLetterWatch:
    """Follows the topics, each record read once, and sets the metrics."""

    def __init__(
        self, options: Mapping[str, Any], names: TopicNames, metrics: DeadLetterMetrics, settled: SettledTopic
    ) -> None:
        """Take aiokafka client options, what is set, and what is read of the settlements."""
        self._options = options
        self._names = names
        self._settled = settled
        self._open: OpenLetters | None = None
        self._last: dict[int, LastRecord] = {}
        self._metrics = metrics

    async def run(self) -> None:
        """Follow until the task is cancelled."""
        problem: str | None = None
        while True:
            try:
                await self.look()
                problem = None
            except FAILURES as error:
                said = f"{type(error).__name__}: {error}"
                if said != problem:
                    log.warning("dead letters cannot be counted", reason=said)
                problem = said
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Read what is new, and set the metrics."""
        client = await connect(self._options, [])
        try:
            count, oldest = (await self._read(client)).numbers()
        finally:
            await client.close()
        self._metrics.count.set(count)
        self._metrics.oldest.set(0 if oldest is None else oldest / 1000)

    async def _read(self, client: AIOKafkaClient) -> OpenLetters:
        topic = self._names.dead_letters
        settled = await self._settled.read(client)
        if self._open is None or self._open.settled is not settled:
            self._open = OpenLetters(settled)
        letters = self._open
        for partition, (first, end) in (await letter_bounds(client, topic)).items():
            last = self._last.get(partition)
            if last is not None and not await last.is_there(client, TopicPartition(topic, partition)):
                letters.forget(partition)
            start = letters.begin(partition, first, end)
            async with aclosing(read_letters(client, TopicPartition(topic, partition), start, end)) as records:
                async for each in records:
                    letters.add(partition, each.offset, received_ms(each.headers) or 0)
                    self._last[partition] = LastRecord.of(each.offset, each.key, each.value)
            letters.reach(partition, end)
        await letters.drop_settled()
        return letters
