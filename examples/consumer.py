"""A consumer that believes only what counts: the rule of every reader, and a command's events together.

Needs a broker with the topics, and the same settings as the worker:

    python examples/consumer.py [KIND]

It reads a kind's journal from its beginning to its present end, and prints one line per command. A consumer that goes
on from where it was keeps `Journal`'s memory beside its offsets: a version and a CID for each aggregate.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from annals.schemas.chain import ForeignError, Verdict, judge, read_block
from annals.schemas.cid import cid_of, cid_text
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.workers.settings import client_options, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.workers.settings import Settings


class GapError(Exception):
    """Events are missing: nothing after this place can be believed."""


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
        self._kind = kind
        self._partition = partition
        self._partitions = partitions
        self._heads: dict[str, tuple[int, bytes | None]] = {}
        self._voids: set[bytes | None] = set()
        self._open: Decision | None = None
        self.passed_over = 0

    def take(self, key: bytes | None, value: bytes | None) -> Iterator[Decision]:
        """Take the next record, and yield the decision before it if this one is the first of another.

        The events of a command are beside one another, but a poll may end between them.

        Raises:
            GapError: the record continues a chain whose events before it are missing.
        """
        found = self._counted(key, value)
        if found is None:
            self.passed_over += 1
            return
        event, cid = found
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

    def _counted(self, key: bytes | None, value: bytes | None) -> tuple[dict[str, Any], bytes] | None:
        """Return the event and its CID if the record counts; None if it is foreign or void."""
        try:
            event = read_block(self._kind, value)
        except ForeignError:
            return None
        aggregate_id, previous = event["aggregate_id"], event["previous"]
        if value is None or key != aggregate_id.encode() or partition_of(key, self._partitions) != self._partition:
            return None
        version, head = self._heads.get(aggregate_id, (0, None))
        cid = cid_of(value)
        verdict = judge(event["version"], previous, version, head, previous_is_void=previous in self._voids)
        if verdict is Verdict.COUNTS:
            self._heads[aggregate_id] = (event["version"], cid)
            return event, cid
        if verdict is Verdict.GAP:
            raise GapError(f"{aggregate_id}: version {event['version']} follows version {version}: events are missing")
        self._voids.add(cid)
        return None


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
                    for decision in journals[partition].take(record.key, record.value):
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
