"""The newest valid record of each key of a compacted partition: each reading goes on where the one before ended.

A reading goes on only where the record that was read last is there yet. Where it is not, the partition lost its end or
that record was compacted away, and only a reading from the beginning says what is there. Which of the two it was, and
what follows from it, is for the reader to say: `annals.workers.kafka.read.followed_topic` keeps what it knew, and
`annals.workers.publishing.compacted_views` answers with what is there.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from annals.agents.ports import UnreachableError
from annals.agents.waiting import in_turns
from annals.workers.kafka.protocol.record_batches import ChecksumError, FormatError
from annals.workers.kafka.read.last_record import LastRecord
from annals.workers.kafka.read.ranges import RangeGoneError, read_range
from annals.workers.kafka.read.settled_ends import settled_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.workers.kafka.protocol.record_batches import Record


T = TypeVar("T")

ROW_BYTES: Final = 350  # of what is kept of a record, beside its key and texts of any length; measured: 170 to 300
RECORDS_A_TURN: Final = 2_000
BYTES_A_TURN: Final = 64 << 10  # of values that are parsed; of subscriptions with many filters that takes 10 ms


def _nothing_more(_: object) -> int:
    return 0


class NewestRecords(Generic[T]):
    """What is kept of a partition, by key, as far as it was read.

    first: the offset at which it began; position: the next one to read; size: about how many bytes it holds.
    """

    def __init__(
        self,
        where: TopicPartition,
        first: int,
        parse: Callable[[bytes | None, bytes | None, int], T | None],
        *,
        more: Callable[[T], int] = _nothing_more,
        is_each_parsed: bool = False,
    ) -> None:
        """Take the partition, and the first offset that is there.

        parse: takes key, value (None: the record says that what was there is gone) and offset, and returns what is
        kept, None for nothing. ValueError: it is no valid record, and what was there before it holds. more: how many
        bytes of what is kept are not in ROW_BYTES. is_each_parsed: also what a later record replaces, which costs time.
        """
        self._where = where
        self._parse = parse
        self._more = more
        self._is_each_parsed = is_each_parsed
        self._last: LastRecord | None = None
        self.first = self.position = first
        self.rows: dict[bytes, T] = {}
        self.size = 0

    async def read_on(self, client: AIOKafkaClient, end: int) -> bool:
        """Read up to an offset; return whether the record that was read last was there yet. If not, nothing was read.

        Raises:
            KafkaError, UnreachableError: the partition cannot be read to there.
            ChecksumError: a batch is damaged; a record of it must not pass for none, since an older one would hold.
        """
        last = self._last
        start = self.first if last is None else last.offset  # of markers alone nothing tells a topic made anew
        try:
            async with aclosing(read_range(client, self._where, start, end, is_compacted=True)) as steps:
                async for records in steps:
                    new = records
                    if last is not None:
                        if not records or LastRecord.of(*records[0][:3]) != last:
                            return False
                        new, last = records[1:], None
                    await self._take(new)
        except ChecksumError:
            raise
        except (FormatError, RangeGoneError) as error:
            raise UnreachableError(str(error)) from error
        if last is not None:
            return False
        self.position = end
        return True

    async def _take(self, records: Sequence[Record]) -> None:
        """Take the newest valid record of each key."""
        taken: set[bytes] = set()
        parsed = 0
        async for some in in_turns(reversed(records), RECORDS_A_TURN):
            for offset, key, value, _ in some:
                is_replaced = (name := key or b"") in taken
                if is_replaced and not self._is_each_parsed:
                    continue
                if parsed > BYTES_A_TURN:
                    parsed = 0
                    await asyncio.sleep(0)
                parsed += len(value or b"")
                try:
                    kept = self._parse(key, value, offset)
                except ValueError:
                    continue
                if not is_replaced:
                    taken.add(name)
                    self._put(name, kept)
        if records:
            self._last = LastRecord.of(*records[-1][:3])

    def _put(self, key: bytes, kept: T | None) -> None:
        """Keep what a record says; None: nothing."""
        former = self.rows.pop(key, None) if kept is None else self.rows.get(key)
        if former is not None:
            self.size -= ROW_BYTES + len(key) + self._more(former)
        if kept is not None:
            self.size += ROW_BYTES + len(key) + self._more(kept)
            self.rows[key] = kept


async def read_newest(
    client: AIOKafkaClient, where: TopicPartition, parse: Callable[[bytes | None, bytes, int], T]
) -> dict[str, T]:
    """Return the newest valid record of each key of a partition, once no transaction in it is open.

    parse: takes key, value and offset; ValueError: it is no valid record, and what was there before it holds.

    Raises:
        KafkaError, UnreachableError: the partition cannot be read to its end.
    """
    ((first, end),) = (await settled_bounds(client, [where])).values()
    newest = NewestRecords(where, first, lambda key, value, at: None if value is None else parse(key, value, at))
    await newest.read_on(client, end)
    return {key.decode(errors="replace"): record for key, record in newest.rows.items()}
