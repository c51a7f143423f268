"""What a shard is told of outcomes, on a real broker: newest first, and nothing of commands that nobody could read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from annals.agents.ports import LogState, OutcomeRecord, StaleStateError, UnreachableError
from annals.topics.headers import dead_letter_headers
from annals.topics.names import TopicNames
from annals.workers.kafka.write.journal import KafkaShardLog, ShardTopics
from chained import WITHIN_S, make_topics

pytestmark = pytest.mark.broker


@asynccontextmanager
async def outcomes(
    bootstrap: str, topic_prefix: str, *headers: list[tuple[str, bytes]]
) -> AsyncIterator[tuple[KafkaShardLog, LogState]]:
    """A shard's log with two commands, and outcomes with these headers, numbered; and what it sees."""
    names = TopicNames(topic_prefix)
    topics = ShardTopics(kind="person", partition=0, names=names, limits={}, dead_partitions=1)
    await make_topics(bootstrap, topics.all())
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(2):
            await producer.send_and_wait(names.commands("person"), b"%d" % number, partition=0)
        for number, each in enumerate(headers):
            await producer.send_and_wait(names.outcomes("person"), b"%d" % number, b"k", 0, headers=each)
    shard = KafkaShardLog({"bootstrap_servers": bootstrap}, topics, f"{topic_prefix}t", f"{topic_prefix}g", "none")
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    seen = await shard.look()
                    break
                except UnreachableError:  # a broker that has just started makes its own topics first
                    continue
        yield shard, seen
    finally:
        await shard.close()


async def test_what_speaks_of_no_command_here_is_left_out(bootstrap: str, topic_prefix: str) -> None:
    ours = [("command-id", b"c"), ("command-offset", b"1"), ("journal-offset", b"2")]
    strangers = [[], [("command-offset", b"last")], [("command-offset", b"2"), ("journal-offset", b"9")]]
    async with outcomes(bootstrap, topic_prefix, ours, *strangers) as (shard, seen):
        assert [step async for step in shard.newest_outcomes(seen)] == [[OutcomeRecord(b"k", b"0", 1, 2)]]


async def test_they_come_newest_first_each_once_in_growing_steps(
    bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.kafka.write.recovery.TAIL_OFFSETS", 2)
    async with outcomes(bootstrap, topic_prefix, *[[("command-offset", b"1")]] * 20) as (shard, seen):
        steps = [[record.value for record in step] async for step in shard.newest_outcomes(seen)]
    assert [len(step) for step in steps] == [2, 16, 2]
    assert [value for step in steps for value in step] == [b"%d" % number for number in range(19, -1, -1)]


async def test_what_one_step_holds_is_bounded_in_bytes(
    bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.kafka.write.recovery.STEP_BYTES", 1_000)
    async with outcomes(bootstrap, topic_prefix, *[[("command-offset", b"1")]] * 20) as (shard, seen):
        steps = [[record.value for record in step] async for step in shard.newest_outcomes(seen)]
    assert max(map(len, steps)) == 3
    assert [value for step in steps for value in step] == [b"%d" % number for number in range(19, -1, -1)]


async def test_among_strangers_only_there_is_none(bootstrap: str, topic_prefix: str) -> None:
    async with outcomes(bootstrap, topic_prefix, *[[("x", b"y")]] * 70) as (shard, seen):
        assert [step async for step in shard.newest_outcomes(seen)] == []


async def test_a_command_is_read_at_its_offset(bootstrap: str, topic_prefix: str) -> None:
    async with outcomes(bootstrap, topic_prefix) as (shard, _):
        command = await shard.command_at(1)
        assert command is not None
        assert (command.offset, command.value) == (1, b"1")


async def test_what_expired_since_the_look_tells_nothing(bootstrap: str, topic_prefix: str) -> None:
    async with outcomes(bootstrap, topic_prefix, [("command-offset", b"1")]) as (shard, seen):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        names = TopicNames(topic_prefix)
        for topic, end in ((names.outcomes("person"), 1), (names.commands("person"), 2)):
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=end)})
        await admin.close()
        assert [step async for step in shard.newest_outcomes(seen)] == []
        assert await shard.command_at(1) is None
        with pytest.raises(StaleStateError, match="expired while they were read"):
            assert [step async for step in shard.read_commands(0, 2)]


async def test_all_outcomes_of_some_commands_come_oldest_first(bootstrap: str, topic_prefix: str) -> None:
    names = TopicNames(topic_prefix)
    of_c = [("command-id", b"c"), ("command-offset", b"7"), ("journal-offset", b"9")]
    strangers = [[], [("command-id", b"c")], [("command-id", b"d"), ("command-offset", b"7")]]
    async with outcomes(bootstrap, topic_prefix, *strangers, of_c, of_c) as (shard, _):
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(names.outcomes("person"), b"x", b"another", 0, headers=of_c)
        found = [each async for each in shard.outcomes_of({(b"k", b"c"), (b"k", b"e")})]
    assert found == [OutcomeRecord(b"k", b"3", 7, 9), OutcomeRecord(b"k", b"4", 7, 9)]


async def test_commands_are_read_from_one_offset_to_another(bootstrap: str, topic_prefix: str) -> None:
    async with outcomes(bootstrap, topic_prefix) as (shard, _):
        steps = [step async for step in shard.read_commands(0, 1)]
    assert [(record.offset, record.value) for step in steps for record in step] == [(0, b"0")]


async def test_the_dead_letters_of_a_partitions_commands_are_those_that_name_it(
    bootstrap: str, topic_prefix: str
) -> None:
    names = TopicNames(topic_prefix)
    topic = names.commands("person")
    ours = dead_letter_headers([("source-offset", b"1")], "not_json", "?", topic, 0, 5, 0)
    others = [
        dead_letter_headers([], "not_json", "?", *place, 0) for place in ((topic, 1, 5), ("commands.agent", 0, 5))
    ]
    async with outcomes(bootstrap, topic_prefix) as (shard, _):
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for headers in ([], ours, *others):
                await producer.send_and_wait(names.dead_letters, b"?", b"k", 0, headers=headers)
        assert [letter for step in [step async for step in shard.dead_letters()] for letter in step] == [
            (5, b"k", b"?")
        ]
