"""Where a shard goes on by the newest outcome, on a real broker: whatever else is in the topic moves it nowhere."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from agents.ports import UnreachableError
from chained import WITHIN_S, make_topics
from topics.names import TopicNames
from workers.kafka.journal import KafkaShardLog, ShardTopics

pytestmark = pytest.mark.broker


async def newest(bootstrap: str, topic_prefix: str, *outcomes: list[tuple[str, bytes]]) -> tuple[int | None, ...]:
    """Write two commands and outcomes with these headers, and look."""
    names = TopicNames(topic_prefix)
    topics = ShardTopics(kind="person", partition=0, names=names, limits={}, dead_partitions=1)
    await make_topics(bootstrap, topics.all())
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for _ in range(2):
            await producer.send_and_wait(names.commands("person"), b"{}", partition=0)
        for headers in outcomes:
            await producer.send_and_wait(names.outcomes("person"), b"?", partition=0, headers=headers)
    shard = KafkaShardLog({"bootstrap_servers": bootstrap}, topics, f"{topic_prefix}t", f"{topic_prefix}g", "none")
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    seen = await shard.look()
                    break
                except UnreachableError:  # a broker that has just started makes its own topics first
                    continue
    finally:
        await shard.close()
    return seen.outcome_command, seen.outcome_journal_end


async def test_what_is_no_outcome_of_a_command_here_is_passed_over(bootstrap: str, topic_prefix: str) -> None:
    ours = [("command-id", b"c"), ("command-offset", b"1"), ("journal-offset", b"2")]
    strangers = [[], [("command-offset", b"last")], [("command-offset", b"2"), ("journal-offset", b"9")]]
    assert await newest(bootstrap, topic_prefix, ours, *strangers) == (1, 2)


async def test_among_strangers_only_there_is_no_newest_outcome(bootstrap: str, topic_prefix: str) -> None:
    assert await newest(bootstrap, topic_prefix, *[[("x", b"y")]] * 70) == (None, None)
