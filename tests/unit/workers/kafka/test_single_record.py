"""A record that a disk changed is none that is gone: whoever looks for one by its offset learns that it is damaged.

One that is as it was written says so itself, whatever else of its batch is not.
"""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition

from annals.agents.ports import DamagedBatchError
from annals.schemas.cid import cid_of
from annals.topics.group_metadata import digest_of
from annals.topics.names import TopicNames
from annals.workers.dead_letters.reading import read_letters
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.kafka.read.last_record import LastRecord
from annals.workers.kafka.read.ranges import NextRecords, read_range
from annals.workers.kafka.read.settled_ends import records_until
from annals.workers.kafka.read.single_record import record_at
from annals.workers.kafka.write.committed_records import read_partition
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.projections.journals import KafkaJournals
from annals.workers.publishing.delivery_rows import records_of
from annals.workers.reading.restore_point import KafkaRangedJournal
from rotten import HEADERS, rot
from shard_scene import WatchedLog

WHERE = TopicPartition("events.person", 0)


@pytest.fixture
def model():
    made = MemoryCluster({WHERE[0]: Topic(1)})
    for number in range(3):
        made.append(WHERE, b"p-1", b"event %d" % number)
    return made


def options_of(model):
    return {CLUSTER: Cluster(model, Direct()), "bootstrap_servers": "memory"}


async def test_a_record_is_found_by_its_offset(model):
    client = await connect(options_of(model), [WHERE[0]])
    assert (await record_at(client, WHERE, 1))[:3] == (1, b"p-1", b"event 1")


async def test_one_that_a_disk_changed_is_named_as_damaged_by_all_who_look(model):
    rot(model, WHERE)
    client = await connect(options_of(model), [WHERE[0]])
    for look in (
        record_at(client, WHERE, 2),
        KafkaJournalPartition(client, *WHERE).record_at(2, cid_of(b"event 2")),
        LastRecord.of(2, b"p-1", b"event 2").is_there(client, WHERE),
        KafkaJournals(client, TopicNames(""), ["person"]).record_at(("person", 0), 2, cid_of(b"event 2")),
    ):
        with pytest.raises(DamagedBatchError, match=r"events\.person-0: the record batch at offset 2 is damaged"):
            await look


async def test_one_that_a_disk_changed_passes_for_none_in_no_range(model):
    """Goes red when the progress, row or timer that was there before a damaged one holds, or an event is missing."""
    rot(model, WHERE)
    client = await connect(options_of(model), [WHERE[0]])
    for reading in (
        records_until(client, WHERE, -1, 3),  # progress, reactions' timers and states, parked events, settlements
        records_of(client, WHERE, is_settled=True),  # deliveries
        read_letters(client, WHERE, 0, 3),
        KafkaRangedJournal(client, *WHERE).followed(0, 3),  # head starts, streams, other deployments' journals
        KafkaJournals(client, TopicNames(""), ["person"]).records(("person", 0), 0, 3),  # projections
        read_range(client, WHERE, 0, 3),  # replays, histories, restore points
    ):
        with pytest.raises(DamagedBatchError, match=r"events\.person-0: the record batch at offset 2 is damaged"):
            async for _ in reading:
                pass
    with pytest.raises(DamagedBatchError, match=r"events\.person-0: the record batch at offset 2 is damaged"):
        await NextRecords().read(client, WHERE, 2, 3)  # answers of subscribers
    # `annals verify` looks at what is inside, and names all that is wrong.
    found = [record async for some in read_range(client, WHERE, 0, 3, is_checked=False) for record in some]
    assert len(found) == 3


async def test_what_is_whole_before_a_damaged_batch_is_read_though_one_fetch_has_both(model):
    """Goes red when 2 MB before it are not read, or a range is refused for what is behind it."""
    rot(model, WHERE)
    client = await connect(options_of(model), [WHERE[0]])
    assert [record[0] async for some in read_range(client, WHERE, 0, 2) for record in some] == [0, 1]
    reading = read_range(client, WHERE, 0, 3)
    assert [record[0] for record in await anext(reading)] == [0, 1]
    with pytest.raises(DamagedBatchError, match=r"events\.person-0: the record batch at offset 2 is damaged"):
        await anext(reading)
    records, next_offset, is_end = await NextRecords().read(client, WHERE, 0, 3)
    assert ([record[0] for record in records], next_offset, is_end) == ([0, 1], 2, False)


async def test_one_that_is_as_it_was_is_found_though_another_byte_of_its_batch_is_not(model):
    rot(model, WHERE, HEADERS)
    client = await connect(options_of(model), [WHERE[0]])
    journals = KafkaJournals(client, TopicNames(""), ["person"])
    for look in (
        record_at(client, WHERE, 2, lambda record: record[2] == b"event 2"),
        KafkaJournalPartition(client, *WHERE).record_at(2, cid_of(b"event 2")),
        journals.record_at(("person", 0), 2, cid_of(b"event 2")),
    ):
        assert (await look)[:3] == (2, b"p-1", b"event 2")
    assert await LastRecord.of(2, b"p-1", b"event 2").is_there(client, WHERE)
    with pytest.raises(DamagedBatchError):
        await LastRecord.of(2, b"p-1", b"event 1").is_there(client, WHERE)


async def test_what_cannot_be_read_proves_nothing(model):
    """A record in a damaged batch may have lost its value: that is not what one without a value looks like."""
    model.append(WHERE, None, None)
    last = LastRecord.of(3, None, None)
    client = await connect(options_of(model), [WHERE[0]])
    assert await last.is_there(client, WHERE)
    rot(model, WHERE, HEADERS)
    with pytest.raises(DamagedBatchError):
        await last.is_there(client, WHERE)


async def test_a_shard_finds_events_commands_and_outcomes_that_are_as_they_were():
    log = WatchedLog(1)
    log.append()
    for topic, value in ((log._topics.commands, b"{}"), (log._topics.outcomes, b"[]")):
        log.write(topic, b"p-1", value)
    event = await log.event_at(0)
    for where in (log._topics.events, log._topics.commands, log._topics.outcomes):
        rot(log.model, where, HEADERS)
    assert (await log.event_at(0, cid_of(event.value))).value == event.value
    assert await log.command_digest(0, digest_of(b"{}")) == digest_of(b"{}")
    assert await log.outcome_digest(0, digest_of(b"[]")) == digest_of(b"[]")
    await log.close()


async def test_a_shard_learns_so_of_events_commands_and_outcomes():
    log = WatchedLog(1)
    log.append()
    log.write(log._topics.commands, b"p-1", b"{}")
    log.write(log._topics.outcomes, b"p-1", b"{}")
    for where in (log._topics.events, log._topics.commands, log._topics.outcomes):
        rot(log.model, where)
    for look in (log.event_at(0), log.command_digest(0), log.outcome_digest(0)):
        with pytest.raises(DamagedBatchError, match="the record batch at offset 0 is damaged"):
            await look
    await log.close()


async def test_the_consumer_in_memory_takes_no_damaged_batch_as_the_real_one_takes_none(model):
    rot(model, WHERE)
    with pytest.raises(CorruptRecordException):
        async for _ in read_partition(options_of(model), WHERE, 0, 3):
            pass
