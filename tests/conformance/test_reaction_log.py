"""What every writer of a reaction promises (the `ReactionLog` port): in memory as on a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sites
from aiokafka.structs import TopicPartition
from sites import SITES, opened, reached, until

from annals.agents.ports import FencedError, StoppedError
from annals.agents.reacting.ports import OutgoingCommand, ReactionWrites, UnwritableError
from annals.schemas.progress import Progress
from annals.schemas.reaction_rows import ProcessId, state_key
from annals.topics.catalog import COMMAND_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.workers.reacting.log import KafkaReactionLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PARTITIONS = 2
HERE, THERE = "p-1", "p-4"  # aggregates of partition 0 and of partition 1
TOPICS = {"events.person": PARTITIONS, "commands.person": PARTITIONS, "timers.counting": 1, "progress": 1}
STATE = b'{"version":1,"state":%d}'


class Site(sites.Site):
    async def log(self, partition: int = 0, *, looks: bool = True) -> KafkaReactionLog:
        """The writer of a partition, fenced; looks: as an owner has it that has looked how far the reaction is."""
        made = KafkaReactionLog(
            self.options, self.names, "counting", "person", partition, PARTITIONS, f"{self.names.prefix}app"
        )
        self.opened.append(made)
        await reached(made.fence)
        if looks:
            await reached(made.progress)
        return made

    async def commands(self, partition: int = 0) -> list[bytes | None]:
        return [value for _, value, _ in await self.committed(self.names.commands("person"), partition)]


@pytest.fixture(params=SITES)
async def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr("annals.workers.kafka.connections.TOPIC_WITHIN_S", 0.2)  # those that are there are known
    async with opened(Site, request, TOPICS) as made:
        yield made


def command(value: bytes, key: str = HERE, kind: str = "person") -> OutgoingCommand:
    return OutgoingCommand(kind, key.encode(), value, [("h", value)])


def key_of(aggregate_id: str, process: str = "") -> bytes:
    return state_key(ProcessId(aggregate_id, process))


async def rows_of(log: KafkaReactionLog) -> list[tuple[bytes, bytes | None]]:
    return [each async for each in log.rows()]


def test_the_aggregates_are_of_two_partitions() -> None:
    assert [partition_of(each.encode(), PARTITIONS) for each in (HERE, THERE)] == [0, 1]


async def test_of_a_partition_that_was_not_reacted_to_nothing_is_known(site: Site) -> None:
    log = await site.log()
    assert (await log.progress(), await rows_of(log)) == (None, [])
    assert log.throttled_s() == 0


async def test_what_was_committed_is_there_for_those_who_decide_and_for_the_next_owner(site: Site) -> None:
    log = await site.log()
    states = {key_of(HERE): STATE % 1, key_of(HERE, "other"): STATE % 2}
    await log.commit(ReactionWrites([command(b"a"), command(b"b", THERE), command(b"c")], states, Progress(3)))
    await log.commit(ReactionWrites([], {key_of(HERE): None}, Progress(4)))
    newer = await site.log()
    assert await newer.progress() == Progress(4)
    assert await rows_of(newer) == [*states.items(), (key_of(HERE), None)]
    assert await site.committed(site.names.commands("person")) == [
        (HERE.encode(), value, [("h", value)]) for value in (b"a", b"c")
    ]
    assert await site.commands(1) == [b"b"]


async def test_rows_and_progress_are_of_one_partition_though_a_topic_has_fewer(site: Site) -> None:
    log, other = await site.log(), await site.log(1)
    await log.commit(ReactionWrites([], {key_of(HERE): STATE % 1}, Progress(3)))
    await other.commit(ReactionWrites([], {key_of(THERE): STATE % 2}, Progress(5)))
    assert (await log.progress(), await rows_of(log)) == (Progress(3), [(key_of(HERE), STATE % 1)])
    assert (await other.progress(), await rows_of(other)) == (Progress(5), [(key_of(THERE), STATE % 2)])


async def test_an_older_owner_is_fenced_and_nothing_of_it_is_seen(site: Site) -> None:
    older = await site.log()
    await older.commit(ReactionWrites([command(b"a")], {}, Progress(1)))
    newer = await site.log()
    with pytest.raises(FencedError):
        await older.commit(ReactionWrites([command(b"late")], {key_of(HERE): STATE % 9}, Progress(2)))
    assert (await newer.progress(), await rows_of(newer)) == (Progress(1), [])
    await newer.commit(ReactionWrites([command(b"b")], {}, Progress(2)))
    assert await until(site.commands, lambda seen: len(seen) > 1) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (command(b"{}", kind="agent"), "there is no topic"),
        (command(bytes(COMMAND_TOPIC_BYTES)), "takes"),
    ],
    ids=["no topic", "too large"],
)
async def test_what_a_topic_does_not_take_is_refused_whole_and_the_writer_goes_on(
    site: Site, refused: OutgoingCommand, why: str
) -> None:
    log = await site.log()
    with pytest.raises(UnwritableError, match=why):
        await log.commit(ReactionWrites([command(b"never"), refused], {key_of(HERE): STATE % 1}, Progress(1)))
    await log.commit(ReactionWrites([command(b"next")], {}, Progress(2)))
    assert (await log.progress(), await rows_of(log)) == (Progress(2), [])
    assert await site.commands() == [b"next"]


@pytest.mark.parametrize("word", ["progress", "timers.counting"])
async def test_where_what_is_kept_is_gone_no_command_is_sent_a_second_time(site: Site, word: str) -> None:
    log = await site.log()
    await log.commit(ReactionWrites([command(b"a")], {key_of(HERE): STATE % 1}, Progress(1)))
    where = TopicPartition(f"{site.names.prefix}{word}", 0)
    await site.append(where, b"v")
    await site.expire(where, 2)
    with pytest.raises(StoppedError, match="and it reached"):
        await (await site.log(looks=False)).progress()
