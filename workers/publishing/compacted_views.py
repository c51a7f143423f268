"""What compacted topics say, for requests that ask again and again: each reading goes on where the one before ended.

Kafka removes a tombstone some time after it was written (`delete.retention.ms`): whoever is away for longer never sees
it, and would count for ever what is gone. So a view that nobody has asked for AWAY_S is forgotten. A topic is read from
its beginning, too, where it is another one under the same name (by its id), where it was cut, and where it no longer
has the record that was read last: its end was lost, or that record was compacted away.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.agents.waiting import all_of, together
from annals.workers.clock import SystemClock
from annals.workers.kafka.diagnosis import right_or_words
from annals.workers.kafka.read.newest_records import NewestRecords
from annals.workers.kafka.read.ranges import bounds
from annals.workers.kafka.read.settled_ends import settled_bounds
from annals.workers.kafka.read.topic_ids import topic_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.agents.ports import Clock


T = TypeVar("T")

AWAY_S: Final = 300.0  # far below `delete.retention.ms`, which is a day where nobody has set it
MOST_BYTES: Final = 64 << 20
READ_AT_ONCE: Final = 4  # partitions: what is fetched of each is in memory meanwhile


class CompactedViews:
    """The views of a process. Of those that are kept between requests, none is older than AWAY_S.

    Together they hold about `most_bytes`: those that were asked for longest ago are forgotten first, and one that is
    larger by itself is read from its beginning each time.
    """

    def __init__(self, clock: Clock | None = None, most_bytes: int = MOST_BYTES) -> None:
        """Have none."""
        self._clock = clock or SystemClock()
        self._most_bytes = most_bytes
        self._views: dict[str, CompactedView[Any]] = {}  # the one that was asked for last is the last

    @property
    def topics(self) -> list[str]:
        """Those of which a view is kept."""
        return list(self._views)

    async def rows(
        self,
        client: AIOKafkaClient,
        topic: str,
        parse: Callable[[bytes | None, bytes, int], T | None],
        *,
        more: Callable[[T], int] = lambda _: 0,
        is_settled: bool = True,
    ) -> Sequence[Mapping[bytes, T]]:
        """Return by partition what the topic says now by key; none where it is not there. See `CompactedView.rows`.

        parse: takes key, value and offset, and returns what is kept, None for nothing. ValueError: it is no valid
        record, and what was there before it holds. more: how many bytes of what is kept are not in ROW_BYTES. Of one
        topic both are always the same.
        """
        known: CompactedView[T] | None = cast("Any", self._views.pop(topic, None))
        view = known or CompactedView(topic, parse, more, self._clock)
        self._views[topic] = view
        view.close_after(AWAY_S, self._close)
        found = await view.rows(client, is_settled=is_settled)
        self._bound()
        return found

    def _bound(self) -> None:
        total = sum(view.size for view in self._views.values())
        for topic, view in list(self._views.items()):
            if total <= self._most_bytes:
                return
            total -= view.size
            self._close(topic)

    def _close(self, topic: str) -> None:
        self._views.pop(topic).close()


class CompactedView(Generic[T]):
    """The newest valid record of each key of one topic, as far as it was read."""

    def __init__(
        self,
        topic: str,
        parse: Callable[[bytes | None, bytes, int], T | None],
        more: Callable[[T], int],
        clock: Clock,
    ) -> None:
        """Take the topic, and what reads its records; nothing is read yet."""
        self._topic = topic
        self._parse = parse
        self._more = more
        self._clock = clock
        self._id: bytes | None = None
        self._partitions: dict[int, NewestRecords[T]] = {}
        self._settling = _Rounds()
        self._reading = _Rounds()
        self._looked_at = (0.0, 0.0)
        self._closing: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return sum(each.size for each in self._partitions.values())

    async def rows(self, client: AIOKafkaClient, *, is_settled: bool) -> Sequence[Mapping[bytes, T]]:
        """Return by partition what is kept by key, as it was committed when this was asked, or later.

        What is returned holds until the caller awaits something. is_settled: wait until no transaction that has begun
        is open; else what is committed before it. Who does not wait for that does not wait for those who do, either.

        Raises:
            UnreachableError, KafkaError: the topic cannot be read to its end.
        """
        if is_settled:
            await self._settling.share(lambda: self._settle(client))
        await self._reading.share(lambda: self._read(client))
        return [each.rows for _, each in sorted(self._partitions.items())]

    def close_after(self, seconds: float, close: Callable[[str], None]) -> None:
        """Have it forgotten where nobody asks for it meanwhile."""
        self.close()
        self._closing = asyncio.get_running_loop().call_later(seconds, close, self._topic)

    def close(self) -> None:
        """Have it forgotten no more: it is."""
        if self._closing is not None:
            self._closing.cancel()

    async def _settle(self, client: AIOKafkaClient) -> None:
        await topic_id(client, self._topic)  # where no broker answers, it says so at once
        await settled_bounds(client, self._wheres(client))

    def _wheres(self, client: AIOKafkaClient) -> list[TopicPartition]:
        return [TopicPartition(self._topic, each) for each in client.cluster.partitions_for_topic(self._topic) or ()]

    async def _read(self, client: AIOKafkaClient) -> None:
        now = self._clock.monotonic(), self._clock.now().timestamp()
        # A process that was frozen, or a machine that slept, is away without its own clock's going on.
        away_s = max(abs(at - before) for at, before in zip(now, self._looked_at, strict=True))
        wheres = self._wheres(client)
        found, ends = await together(topic_id(client, self._topic), bounds(client, wheres))
        if (
            away_s > AWAY_S
            or found != self._id
            or not self._partitions.keys() <= {partition for _, partition in wheres}
        ):
            self._partitions.clear()
        reading = (partial(self._read_partition, client, where, *offsets) for where, offsets in ends.items())
        await all_of(reading, READ_AT_ONCE)
        self._id, self._looked_at = found, now

    async def _read_partition(self, client: AIOKafkaClient, where: TopicPartition, first: int, end: int) -> None:
        known = self._partitions.get(where.partition)
        if known is not None and known.first == first and await known.read_on(client, end):
            return
        self._partitions[where.partition] = anew = NewestRecords(where, first, self._kept, more=self._more)
        await anew.read_on(client, end)

    def _kept(self, key: bytes | None, value: bytes | None, offset: int) -> T | None:
        """Return what is kept of a record; ValueError, whoever wrote it: nothing is known by it. The workers say so."""
        return None if value is None else self._parse(key, value, offset)


class _Rounds:
    """Rounds of the same work, one after another: whoever asks while one is under way shares the next one.

    So it does its failure: each of many would wait for as long as a leader may be away.
    """

    def __init__(self) -> None:
        self._one_works = asyncio.Lock()
        self._begun = self._ended = self._failed = 0  # numbers of rounds
        self._failure = UnreachableError()

    async def share(self, work: Callable[[], Awaitable[object]]) -> None:
        """Return when a round is done that began after this was asked."""
        came = self._begun
        async with self._one_works:
            if self._ended > came:
                return
            if self._failed > came:
                raise type(self._failure)(str(self._failure))
            self._begun += 1
            try:
                await work()
            except (KafkaError, UnreachableError, OSError, TimeoutError) as error:
                self._failed, self._failure = self._begun, UnreachableError(right_or_words(error, "Read"))
                if isinstance(error, UnreachableError):
                    self._failure = error
                raise
            self._ended = self._begun
