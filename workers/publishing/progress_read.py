"""How far subscriptions are in one journal partition, as it was read: its writers in a process read on from there.

The topic has a record of each commit until it is compacted, and one for each subscription for good. Whoever begins, or
hears of a subscription that is new, would read all of them each time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from annals.schemas.progress import decode_progress, name_of
from annals.workers.clock import SystemClock
from annals.workers.kafka.read.newest_records import NewestRecords
from annals.workers.kafka.read.ranges import bounds
from annals.workers.publishing.compacted_views import AWAY_S

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import TopicPartition

    from annals.schemas.progress import Progress
    from annals.workers.kafka.read.invalid_records import InvalidRecords


class ProgressRead:
    """The newest progress by name, as far as it was read. It is read anew where a tombstone may have been missed."""

    def __init__(self, journal: TopicPartition, invalid: InvalidRecords) -> None:
        """Take the journal partition, and what takes note of records that are none; nothing is read yet."""
        self._journal = journal
        self._invalid = invalid
        self._one_reads = asyncio.Lock()
        self._clock = SystemClock()
        self._where: TopicPartition | None = None
        self._newest: NewestRecords[Progress] | None = None
        self._looked_at = (0.0, 0.0)

    async def until(self, client: AIOKafkaClient, where: TopicPartition, end: int) -> dict[str, Progress]:
        """Return the newest progress by name: what is committed now, and below an offset of its partition for certain.

        Raises:
            UnreachableError, KafkaError: it cannot be read to there.
            ChecksumError: a batch is damaged.
        """
        async with self._one_reads:
            now = self._clock.monotonic(), self._clock.now().timestamp()
            away_s = max(abs(at - before) for at, before in zip(now, self._looked_at, strict=True))
            first, stable = (await bounds(client, [where]))[where]
            end = max(end, stable)  # another may have read further since that was asked for
            known = self._newest if where == self._where and away_s <= AWAY_S else None
            self._newest = None  # where it fails in the middle, it is read anew
            if known is None or known.first != first or not await known.read_on(client, end):
                self._where = where
                known = NewestRecords(where, first, self._progress, is_each_parsed=True)
                await known.read_on(client, end)
            self._newest, self._looked_at = known, now
            return {str(name_of(key, *self._journal)): each for key, each in known.rows.items()}

    def _progress(self, key: bytes | None, value: bytes | None, offset: int) -> Progress | None:
        """Return what a record says; None: it is of another journal partition, or there is none any more.

        Raises:
            ValueError: it says none, whoever wrote it: what was there before holds.
        """
        if value is None or name_of(key, *self._journal) is None:
            return None
        try:
            return decode_progress(value)
        except ValueError as error:
            assert self._where is not None  # noqa: S101 - it is read
            self._invalid.note(self._where, offset, str(error))
            raise
