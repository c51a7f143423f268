"""How many dead letters are open, and since when: followed by each reading process, for its metrics."""

from __future__ import annotations

import asyncio
from array import array
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from annals.agents.dead_letters.settled import Settled
from annals.agents.ports import JournalError
from annals.topics.headers import decimal_header
from annals.workers.dead_letters.reading import read_letters, read_settled
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of
from annals.workers.kafka.protocol.record_batches import FormatError
from annals.workers.kafka.read.ranges import bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient
    from prometheus_client import CollectorRegistry

    from annals.topics.names import TopicNames

LOOK_S: Final = 15.0
FAILURES: Final = (MissingTopicError, JournalError, KafkaError, FormatError, OSError, TimeoutError)
log = structlog.get_logger(__name__)


class OpenLetters:
    """What is open: offset and time of each letter, 16 bytes, and what is settled."""

    def __init__(self) -> None:
        """Begin with none."""
        self._offsets: dict[int, array[int]] = {}
        self._times: dict[int, array[int]] = {}
        self.settled = Settled()

    def next_offset(self, partition: int) -> int:
        """Return behind which offset letters are not known yet."""
        offsets = self._offsets.get(partition)
        return offsets[-1] + 1 if offsets else 0

    def add(self, partition: int, offset: int, milliseconds: int) -> None:
        """Take the next letter; milliseconds: when its command was received."""
        self._offsets.setdefault(partition, array("q")).append(offset)
        self._times.setdefault(partition, array("q")).append(milliseconds)

    def forget_before(self, partition: int, first: int, end: int) -> None:
        """Forget what the topic no longer has; all, where it was made anew."""
        offsets = self._offsets.get(partition)
        if not offsets:
            return
        gone = len(offsets) if offsets[-1] >= end else sum(offset < first for offset in offsets)
        del offsets[:gone], self._times[partition][:gone]

    def numbers(self) -> tuple[int, int | None]:
        """Return how many are open, and the time of the oldest, in milliseconds; None without any."""
        times = [
            milliseconds
            for partition, offsets in self._offsets.items()
            for offset, milliseconds in zip(offsets, self._times[partition], strict=True)
            if self.settled.of(partition, offset) is None
        ]
        return len(times), min(times, default=None)


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
    """Follows the topics, and sets the metrics."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, metrics: DeadLetterMetrics) -> None:
        """Take aiokafka client options, and what is set."""
        self._options = options
        self._names = names
        self._open = OpenLetters()
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
            await self._read(client)
        finally:
            await client.close()
        count, oldest = self._open.numbers()
        self._metrics.count.set(count)
        self._metrics.oldest.set(0 if oldest is None else oldest / 1000)

    async def _read(self, client: AIOKafkaClient) -> None:
        topic = self._names.dead_letters
        partitions_of(client, self._names.audit)
        wheres = [(topic, partition) for partition in range(partitions_of(client, topic))]
        for where, (first, end) in (await bounds(client, wheres)).items():
            self._open.forget_before(where[1], first, end)
            start = max(first, self._open.next_offset(where[1]))
            async with aclosing(read_letters(client, where, start, end)) as letters:
                async for each in letters:
                    received = decimal_header(each.headers, "source-timestamp") or 0
                    self._open.add(where[1], each.offset, received)
        self._open.settled = await read_settled(client, self._names.audit)
