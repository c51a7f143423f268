"""A consumer that believes only what counts: the rule of every reader, and a command's events together.

Needs a broker with the topics, and the same settings as the worker:

    python examples/consumer.py [KIND]

It reads a kind's journal from its beginning to its present end, and prints one line per command. A consumer that goes
on from where it was keeps what its reader remembers beside its offsets: `ends` (a version and a CID for each aggregate)
and `voids`, and gives them back to `RememberingReader`.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from annals import TopicNames, cid_text, keys_of
from annals.client import client_options, load_settings
from annals.schemas.journal_reader import Counted, Gap, GapError, RememberingReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.client import Settings


class Decision(NamedTuple):
    """What one command led to: the events of one aggregate, as they were sealed, and the CID of the last."""

    command_id: str
    aggregate_id: str
    events: list[dict[str, Any]]
    head: bytes

    def __str__(self) -> str:
        """In one line."""
        what = ", ".join(f"{event['type']} v{event['version']}" for event in self.events)
        return f"{self.aggregate_id}: {what} by {self.command_id}, head {cid_text(self.head)}"


class Journal:
    """One partition of a kind's journal, record by record."""

    def __init__(self, kind: str, partition: int, partitions: int) -> None:
        """Begin at the start, where no aggregate has a version."""
        self._reader = RememberingReader(kind, keys_of(partition, partitions))
        self._open: Decision | None = None
        self.passed_over = 0

    def take(self, offset: int, key: bytes | None, value: bytes | None) -> Iterator[Decision]:
        """Take the next record, and yield the decision before it if this one is the first of another.

        The events of a command are beside one another, but a poll may end between them.

        Raises:
            GapError: the record continues a chain whose events before it are missing.
        """
        record = self._reader.read(offset, key, value)
        if isinstance(record, Gap):
            raise GapError(str(record))
        if not isinstance(record, Counted):  # void or foreign: it changes nothing
            self.passed_over += 1
            return
        event, cid = record.event, record.cid
        command_id, aggregate_id = event["command_id"], event["aggregate_id"]
        events = [event]
        if self._open is not None:
            if (self._open.command_id, self._open.aggregate_id) == (command_id, aggregate_id):
                events = [*self._open.events, event]
            else:
                yield self._open
        self._open = Decision(command_id, aggregate_id, events, cid)

    def end(self) -> Iterator[Decision]:
        """Yield the last decision: at the end of what is committed a command's events are all there."""
        if self._open is not None:
            yield self._open
            self._open = None


async def main(kind: str) -> None:
    """Print every decision of a kind."""
    settings = load_settings()
    topic = TopicNames(settings.topic_prefix).events(kind)
    partitions = [TopicPartition(topic, number) for number in range(await _count(settings, topic))]
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",  # or you see what was aborted
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        journals = {each: Journal(kind, each.partition, len(partitions)) for each in partitions}
        decisions = 0
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    for decision in journals[partition].take(record.offset, record.key, record.value):
                        decisions += 1
                        print(decision)
        for journal in journals.values():
            for decision in journal.end():
                decisions += 1
                print(decision)
    passed_over = sum(journal.passed_over for journal in journals.values())
    print(f"{decisions} commands led to events; {passed_over} records do not count")


async def _count(settings: Settings, topic: str) -> int:
    """Ask how many partitions a topic has: of all topics, since asking for a missing one by name could create it."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        counts = {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics()}
    finally:
        await admin.close()
    if topic not in counts:
        raise SystemExit(f"there is no topic {topic}: create it with `annals topics create`")
    return counts[topic]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", nargs="?", default="person", metavar="KIND", help="default: person")
    asyncio.run(main(parser.parse_args().kind))
