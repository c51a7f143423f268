"""Checks that the partitions written for subscribers and reactions still have every record that was acknowledged.

How far each partition reached is known from two places. This process keeps it for what it wrote. Each transaction also
commits an offset for the group, and the metadata of that offset names the last record of each partition that the next
owner reads, as `name=offset`. So a new owner notices a topic that lost its end, was emptied or made anew before it
publishes anything a second time; also where others that write to the partition have grown over the loss: the record at
that offset is not its own then.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from annals.agents.ports import LostEndError
from annals.schemas.progress import decode_progress, name_of
from annals.workers.kafka.connections import MissingTopicError, connect
from annals.workers.kafka.read.offsets import HIGH_WATERMARK, LAST, committed, list_offsets
from annals.workers.kafka.read.ranges import bounds, is_overwritten

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from aiokafka.client import AIOKafkaClient

    from annals.workers.kafka.protocol.record_batches import Record
    from annals.workers.kafka.write.batches import RecordBatch

    Bases = Mapping[TopicPartition, Sequence[int]]
    IsOurs = Callable[[int, Record], bool]  # whether a record is this writer's, where the group's offset is that

INCARNATION: Final = "incarnation"  # the word that each of our offsets has
LOOK_S: Final = 1.0


class PartitionLostEndError(LostEndError):
    """A partition ends below what was acknowledged in it, or begins above. where: the partition."""

    def __init__(self, message: str, end: int, where: TopicPartition) -> None:
        """Take the message, where it ends, and which partition it is."""
        super().__init__(message, end)
        self.where = where


def lost(where: TopicPartition, end: int, reached: int) -> PartitionLostEndError:
    """Return the error of a partition that ends at an offset, and reached another one."""
    return PartitionLostEndError(
        f"{where.topic}-{where.partition} ends at offset {end}, and it reached {reached} before", end, where
    )


def progress_of(name: str, journal: TopicPartition, *, at_offset: bool) -> IsOurs:
    """Return whether a record is the progress under a name in a journal partition; at_offset: as far as the group's."""

    def is_ours(offset: int, record: Record) -> bool:
        _, key, value, _ = record
        if name_of(key, *journal) != name or value is None:
            return False
        try:
            return not at_offset or decode_progress(value).position == offset
        except ValueError:
            return False

    return is_ours


async def committed_here(
    client: AIOKafkaClient, group: str, journal: TopicPartition
) -> tuple[int, dict[str, str]] | None:
    """Return the offset that a group has of a journal partition, with its words; None: it has none of this project's.

    Whoever resets a group by a tool writes no words.
    """
    found = await committed(client, group, journal)
    if found is None:
        return None
    said = dict(word.partition("=")[::2] for word in found[1].split(" "))
    return (found[0], said) if INCARNATION in said else None


class Reached(dict[TopicPartition, int]):
    """Of each partition that was written, or of which the group knows, the offset behind the last record.

    That may be another writer's, whose transaction is taken back yet. So what a transaction names is its own last
    record, or the one that its writer found or named before.
    """

    def __init__(self, reached: Mapping[TopicPartition, int] | None = None) -> None:
        """Take what is known."""
        super().__init__(reached or {})
        # What a group's offset names, or will. A partition's writers share it: each writes `progress` with each commit.
        self._last: dict[tuple[str, TopicPartition], int] = {}

    def checked(
        self,
        batches: Mapping[TopicPartition, Sequence[RecordBatch]],
        named: Mapping[str, TopicPartition],
        incarnation: int = 0,
        unchanged: Collection[str] = (),
    ) -> Callable[[Bases], str]:
        """Return a check of the offsets that the brokers gave to a transaction's batches; it runs before the commit.

        The check returns the metadata to commit. It raises PartitionLostEndError where a batch got an offset below what
        was acknowledged before it was sent: the topic lost its end, or was made anew. Other writers use the same
        topics, so an offset may be any number above that, and two writers' answers come in any order.

        named: the partitions that the metadata names, by their words; incarnation: of their subscription. unchanged:
        words that go on naming the record that they name.
        """
        before = {where: self.get(where, 0) for where in batches}

        def check(produced: Bases) -> str:
            for where, bases in produced.items():
                for batch, base in zip(batches[where], bases, strict=True):
                    if base < before[where]:
                        raise lost(where, base, before[where])
                    self[where] = max(self.get(where, 0), base + batch.count)
                    for word in (word for word, place in named.items() if place == where and word not in unchanged):
                        self._last[word, where] = base + batch.count - 1
            words = [f"{each[0]}={self._last[each]}" for each in named.items() if each in self._last]
            return " ".join([*words, f"{INCARNATION}={incarnation}"])

        return check

    async def require(
        self,
        client: AIOKafkaClient,
        group: str,
        journal: TopicPartition,
        named: Mapping[str, TopicPartition],
        incarnation: int | None = None,
        ours: Mapping[str, IsOurs] | None = None,
    ) -> int | None:
        """Check that each partition has the record that the group's offset names; return that offset, or None.

        ours: by word, where others write to the partition: what tells this writer's record. incarnation: of the
        subscription; records of another incarnation are not looked for, since its topics may have been made anew.

        Raises:
            PartitionLostEndError: a partition lacks its record.
            KafkaError: the brokers do not answer.
        """
        found = await committed_here(client, group, journal)
        for each in named.items():
            self._last.pop(each, None)  # what became of the last transaction shows in what was found
        if found is None:
            return None
        offset, said = found
        if incarnation is not None and said[INCARNATION] != str(incarnation):
            return offset
        known = {each: int(text) for each in named.items() if (text := said.get(each[0], "")).isdecimal()}
        there = await bounds(client, {where for _, where in known}, HIGH_WATERMARK) if known else {}
        for (word, where), at in known.items():
            (start, end), reached = there[where], at + 1
            if end < reached:
                raise lost(where, end, reached)
            if start >= reached:
                message = f"{where.topic}-{where.partition} begins at offset {start}, and it reached {reached} before"
                raise PartitionLostEndError(message, end, where)
            tells = (ours or {}).get(word)
            # By whoever noticed it, and took that back; or by others, who knew nothing of it.
            if await is_overwritten(client, where, at, tells and partial(tells, offset)):
                message = f"{where.topic}-{where.partition} lost what it had at offset {at}, and has grown since"
                raise PartitionLostEndError(message, at, where)
            self[where], self._last[word, where] = max(self.get(where, 0), reached), at
        return offset

    def forget(self, topics: Collection[str]) -> None:
        """Forget how far these topics reached: they are begun anew."""
        for where in [where for where in self if where.topic in topics]:
            del self[where]
        self._last = {each: at for each, at in self._last.items() if each[1].topic not in topics}


class ReachedWatch:
    """Looks every second whether partitions end below what was acknowledged: also where nothing is written to them."""

    def __init__(
        self, options: Mapping[str, Any], topics: Callable[[str], bool], tell: Callable[[PartitionLostEndError], None]
    ) -> None:
        """Take aiokafka client options, which topics are looked at, and who is told of one that lost its end."""
        self._options = options
        self._topics = topics
        self._tell = tell
        self._all: list[Reached] = []
        self._told: set[tuple[TopicPartition, int]] = set()

    def follow(self, every: Sequence[Reached]) -> None:
        """Look at what these know from now on."""
        self._all = list(every)

    async def run(self) -> None:
        """Look until cancelled."""
        client: AIOKafkaClient | None = None
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                if not (asked := self._known()):
                    continue
                try:
                    client = client or await connect(self._options, sorted({topic for topic, _ in asked}))
                    await self._compare(client, asked)
                except (MissingTopicError, KafkaError, OSError, TimeoutError, AssertionError):  # whoever writes says so
                    if client is not None:
                        await client.close()
                    client = None
        finally:
            if client is not None:
                await client.close()

    def _known(self) -> dict[TopicPartition, int]:
        """Return how far each partition that is looked at reached, by whoever knows most of it."""
        known: dict[TopicPartition, int] = {}
        for where, reached in (each for every in self._all for each in every.items() if self._topics(each[0].topic)):
            known[where] = max(known.get(where, 0), reached)
        return known

    async def _compare(self, client: AIOKafkaClient, asked: Mapping[TopicPartition, int]) -> None:
        await client.set_topics(sorted({topic for topic, _ in asked}))
        await client.force_metadata_update()
        there = {where: reached for where, reached in asked.items() if client.cluster.partitions_for_topic(where.topic)}
        ends = await list_offsets(client, HIGH_WATERMARK, LAST, there)
        for where, reached in there.items():
            if ends[where] < reached and (where, reached) not in self._told:
                self._told.add((where, reached))
                self._tell(lost(where, ends[where], reached))
