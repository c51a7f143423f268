"""What every shard's log promises: one suite, run on the log in memory and on a broker, faults included."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sites
from sites import NOTHING, NOW_MS, SITES, WITHIN_S, opened, reached, until

from annals.agents.ports import (
    CopyRecord,
    FencedError,
    JournalRecord,
    OutcomeRecord,
    StaleStateError,
    StoppedError,
    UncertainError,
    UnreachableError,
)
from annals.schemas.cid import cid_of
from annals.topics.group_metadata import EventAt, GroupMetadata, RecordAt, digest_of
from annals.topics.headers import forwarded_headers, outcome_headers
from annals.topics.wire import encode_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.ranges import RangeGoneError, read_range
from annals.workers.kafka.write.committed_records import read_partition
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from annals.workers.memory.cluster import MemoryCluster

PARTITIONS = 2
LIMITS = {
    "commands": 4_000,
    "events": 1_000,
    "outcomes": 4_000,
    "snapshots": 4_000,
    "restore": 4_000,
    "dead-letters": 8_000,
}


class Site(sites.Site):
    """Where a shard's topics are."""

    def __init__(self, options: dict[str, Any], prefix: str, model: MemoryCluster | None = None) -> None:
        super().__init__(options, prefix, model)
        self.topics = self.topics_of(0)

    def topics_of(self, partition: int) -> ShardTopics:
        return ShardTopics(
            kind="person",
            partition=partition,
            names=self.names,
            limits=LIMITS,
            dead_partitions=1,
            has_restore_points=True,
        )

    def log(self, partition: int = 0) -> KafkaShardLog:
        """A log of the shard, as one owner has it."""
        topics, prefix = self.topics_of(partition), self.names.prefix
        made = KafkaShardLog(self.options, topics, f"{prefix}{partition}", f"{prefix}group", "none")
        self.opened.append(made)
        return made

    async def owner(self, partition: int = 0) -> KafkaShardLog:
        """The log of an owner that has fenced all before it."""
        made = self.log(partition)
        await reached(made.fence)
        await reached(made.look)
        return made


@pytest.fixture(params=SITES)
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with opened(Site, request, dict.fromkeys(Site({}, "").topics.all(), PARTITIONS)) as made:
        yield made


def filled(log: KafkaShardLog, *events: bytes, outcome: bytes = b"outcome", command_offset: int = 0) -> Any:
    """The records of a transaction: an event each, and one outcome."""
    writes = log.writes()
    writes.add_events([(b"k", event, NOW_MS, NOTHING) for event in events])
    headers = encode_headers(outcome_headers("c", command_offset, len(events)))
    writes.add_outcomes([(b"k", outcome, NOW_MS, headers)])
    return writes


async def commit(
    log: KafkaShardLog, writes: Any, next_offset: int, base: int, known: GroupMetadata | None = None
) -> Any:
    """Commit a transaction; what is known of the journal once that is done is its end, unless the test says more."""
    events = writes.events.count
    return await log.commit(writes, next_offset, base, known or GroupMetadata(base + events + 1 if events else base))


async def values(log: KafkaShardLog, start: int, end: int) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) async for step in log.read(start, end) for record in step]


async def test_a_new_shard_sees_empty_topics_and_no_offset(site: Site) -> None:
    seen = await (await site.owner()).look()
    assert (seen.committed, seen.committed_journal_end) == (None, None)
    assert seen[2:11] == (0,) * 9
    assert seen[11:] == (None, 0, None, None, 0, "", None)


async def test_what_a_transaction_wrote_is_there_with_its_offset_and_the_journals_end(site: Site) -> None:
    log = await site.owner()
    await commit(log, filled(log, b"a", b"b"), 1, 0)
    seen = await until(log.look, lambda seen: seen.journal_stable == seen.journal_end == 3 and seen.committed)
    assert (seen.committed, seen.committed_journal_end) == (1, 3)
    assert await values(log, 0, 3) == [(0, b"a"), (1, b"b")]
    assert await values(log, 1, 2) == [(1, b"b")]
    assert await values(log, 3, 3) == []


async def test_transactions_follow_one_another_behind_their_markers(site: Site) -> None:
    log = await site.owner()
    for number in range(5):
        await commit(log, filled(log, b"%d" % number), number + 1, 2 * number)
    await commit(log, log.writes(), 9, 10)  # none caused anything
    seen = await until(log.look, lambda seen: seen.committed == 9 and seen.journal_stable == 10)
    assert await values(log, 0, seen.journal_end) == [(2 * number, b"%d" % number) for number in range(5)]


async def test_an_older_owner_is_fenced_and_nothing_of_it_is_seen(site: Site) -> None:
    older = await site.owner()
    await commit(older, filled(older, b"a"), 1, 0)
    newer = await site.owner()
    with pytest.raises(FencedError):
        await commit(older, filled(older, b"late"), 2, 2)
    await commit(newer, filled(newer, b"b"), 2, 2)
    seen = await until(newer.look, lambda seen: seen.journal_stable == 4)
    assert await values(newer, 0, seen.journal_end) == [(0, b"a"), (2, b"b")]


async def test_where_somebody_else_wrote_nothing_is_committed_and_the_next_fence_ends_it(site: Site) -> None:
    log = await site.owner()
    await site.append(site.topics.events, b"stranger")
    with pytest.raises(UncertainError, match="somebody else writes"):
        await commit(log, filled(log, b"a"), 1, 0)
    with pytest.raises(UncertainError, match="no producer id"):
        await commit(log, filled(log, b"a"), 1, 1)
    await reached(log.fence)
    seen = await log.look()
    assert (seen.journal_stable, seen.journal_end, seen.committed) == (3, 3, None)
    await commit(log, filled(log, b"b"), 1, 3)
    await until(log.look, lambda seen: seen.journal_stable == 5)
    assert await values(log, 0, 5) == [(0, b"stranger"), (3, b"b")]


async def test_many_events_take_several_batches_and_lose_none(site: Site) -> None:
    log = await site.owner()
    events = [b"%02d" % number + bytes(200) for number in range(20)]
    await commit(log, filled(log, *events), 1, 0)
    await until(log.look, lambda seen: seen.journal_stable == 21)
    assert [value for _, value in await values(log, 0, 21)] == events


async def test_what_a_topic_does_not_take_is_refused_before_anything_is_written(site: Site) -> None:
    writes = (await site.owner()).writes()
    record = (b"k", bytes(LIMITS["events"]), NOW_MS, NOTHING)
    with pytest.raises(StoppedError, match="exceeds the limit"):
        writes.add_events([record])
    with pytest.raises(StoppedError, match="exceed the limit"):
        writes.add_together([record, record])
    assert not writes.add_forward(1, b"k", bytes(LIMITS["commands"]), NOW_MS, NOTHING)


async def test_outcomes_come_newest_first_with_what_their_headers_say(site: Site) -> None:
    log = await site.owner()
    for _ in range(2):
        await site.append(site.topics.commands, b"command")
    await commit(log, filled(log, b"a", outcome=b"first"), 1, 0)
    await commit(log, filled(log, b"b", outcome=b"second", command_offset=1), 2, 2)
    seen = await until(log.look, lambda seen: seen.outcomes_stable == 4)
    found = [record async for step in log.newest_outcomes(seen) for record in step]
    assert found == [OutcomeRecord(b"k", b"second", 1, 1), OutcomeRecord(b"k", b"first", 0, 1)]


async def test_a_command_is_read_at_its_offset_and_is_none_when_it_expired(site: Site) -> None:
    log = await site.owner()
    for value in (b"0", b"1"):
        await site.append(site.topics.commands, value, headers=[("h", b"v")])
    command = await log.command_at(1)
    assert command is not None
    assert (command.offset, command.key, command.value, list(command.headers)) == (1, b"k", b"1", [("h", b"v")])
    await site.expire(site.topics.commands, 2)
    assert await log.command_at(1) is None
    assert (await log.look()).commands_start == 2


async def test_the_metadata_of_the_offset_comes_back_with_the_last_outcome(site: Site) -> None:
    log = await site.owner()
    await site.append(site.topics.commands, b"command")
    known = GroupMetadata(3, EventAt(1, cid_of(b"b")), 0, RecordAt(0, digest_of(b"command")))
    told = await commit(log, filled(log, b"a", b"b"), 1, 0, known)
    assert told == known._replace(outcome=RecordAt(0, digest_of(b"outcome")))
    seen = await until(log.look, lambda seen: seen.journal_stable == 3 and seen.committed)
    assert (seen.last_event, seen.last_command, seen.last_outcome) == (known.last, known.command, told.outcome)
    assert await log.event_at(1) == JournalRecord(1, b"k", b"b")
    assert await log.event_at(2) is None
    assert await log.command_digest(0) == digest_of(b"command")
    assert await log.outcome_digest(0) == digest_of(b"outcome")
    assert log.throttled_s() == 0


async def test_copies_in_other_partitions_name_their_originals(site: Site) -> None:
    log = await site.owner()
    for value in (b"0", b"1", b"2"):
        await site.append(site.topics.commands, value)
    writes = log.writes()
    assert writes.add_forward(1, b"k", b"1", NOW_MS, encode_headers(forwarded_headers([("h", b"v")], 0, 1)))
    await commit(log, writes, 2, 0)
    copies = [copy async for step in log.copies(lambda reason: None) for copy in step]
    assert copies == [CopyRecord(1, 1, b"k", b"1", [("h", b"v")])]
    commands = [command async for step in log.read_commands(1, 3) for command in step]
    assert [(command.offset, command.value) for command in commands] == [(1, b"1"), (2, b"2")]


async def test_dead_letters_name_their_commands(site: Site) -> None:
    log, other = await site.owner(), await site.owner(1)
    for number, each in enumerate((other, log)):
        writes, topics = each.writes(), site.topics_of(1 - number)
        headers = [("source-topic", topics.commands[0].encode()), ("source-partition", b"%d" % topics.partition)]
        headers.append(("source-offset", b"7"))
        writes.add_dead_letter(b"k", b"%d" % number, NOW_MS, encode_headers(headers))
        await commit(each, writes, 8, 0)
    letters = await until(lambda: dead_letters(log), bool)
    assert letters == [(7, b"k", b"1")]


async def dead_letters(log: KafkaShardLog) -> list[Any]:
    return [letter async for step in log.dead_letters() for letter in step]


async def test_the_outcomes_of_some_commands_are_found(site: Site) -> None:
    log = await site.owner()
    await commit(log, filled(log, b"a"), 1, 0)

    async def of(command_id: bytes) -> list[OutcomeRecord]:
        return [each async for each in log.outcomes_of({(b"k", command_id)})]

    assert await until(lambda: of(b"c"), bool) == [OutcomeRecord(b"k", b"outcome", 0, 1)]
    assert await of(b"d") == []


async def test_parts_of_restore_points_and_snapshots_are_written_with_the_rest_and_read_back(site: Site) -> None:
    log = await site.owner()
    assert log.has_restore_points
    writes = filled(log, b"a")
    writes.add_restore_part("heads/1", b"part")
    assert not writes.add_snapshot(b"k", b"snapshot", NOW_MS)
    await commit(log, writes, 1, 0)

    async def read() -> list[Any]:
        parts = [each async for step in log.restore_parts() for each in step]
        return [parts, [each async for step in log.snapshots() for each in step]]

    assert await until(read, all) == [[(b"heads/1", b"part")], [(b"k", b"snapshot")]]


async def test_reading_from_an_offset_that_is_gone_has_the_shard_look_again(site: Site) -> None:
    log = await site.owner()
    await commit(log, filled(log, b"a", b"b"), 1, 0)
    await until(log.look, lambda seen: seen.journal_stable == 3)
    await site.expire(site.topics.events, 2)
    with pytest.raises(StaleStateError, match="cut off or made anew"):
        await values(log, 0, 3)


async def test_reading_up_to_an_end_that_is_gone_ends(site: Site) -> None:
    """An unclean election may take what was there when the end was asked for."""
    await site.append(site.topics.events, b"a")
    reading = read_partition(site.options, site.topics.events, 0, 5)
    async with asyncio.timeout(WITHIN_S):
        assert [record.value for record in await anext(reading)] == [b"a"]
        with pytest.raises(UnreachableError, match="ends at 1 and reached 5"):
            await anext(reading)


async def test_reading_a_range_up_to_an_end_that_is_gone_ends(site: Site) -> None:
    await site.append(site.topics.events, b"a")
    client = await connect(site.options, [site.topics.events[0]])
    reading = read_range(client, site.topics.events, 0, 5)
    try:
        async with asyncio.timeout(WITHIN_S):
            assert [value for _, _, value, _ in await anext(reading)] == [b"a"]
            with pytest.raises(RangeGoneError, match="ends at 1 and reached 5"):
                await anext(reading)
    finally:
        await reading.aclose()
        await client.close()
