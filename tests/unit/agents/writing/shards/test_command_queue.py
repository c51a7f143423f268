"""The queue of a shard's commands: when its source is paused, and when it goes on."""

from typing import Any, NamedTuple

from annals.agents.ports import Delivery
from annals.agents.waiting_records import HIGH_BYTES, LOW_BYTES
from annals.agents.writing.shards.command_queue import BATCH_BYTES, CommandQueue
from annals.testing import MemoryCommandSource
from annals.workers.memory.partition import PartitionLog, Rules


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Any, ...] = ()
    timestamp: int = 0


async def test_a_source_that_was_paused_goes_on_only_when_little_waits() -> None:
    """At the mark at which it was paused, it would be paused again with each fetch."""
    source = MemoryCommandSource(PartitionLog(Rules()), "commands.person", 0, lambda delivery: None)
    command_queue = CommandQueue(source)
    value = bytes(BATCH_BYTES // 2 - 1_000)  # two in a batch
    count = HIGH_BYTES // len(value) + 1
    command_queue.put(Delivery("commands.person", 0, 0, [Record(number, None, value) for number in range(count)]))
    assert source.is_paused
    below_the_high_mark = 0
    while len(command_queue):
        command_queue.take(0)
        waiting = len(command_queue) * len(value)
        if source.is_paused:
            below_the_high_mark += waiting < HIGH_BYTES
        else:
            assert waiting < LOW_BYTES
    assert below_the_high_mark
    assert not source.is_paused


async def test_behind_a_damaged_batch_nothing_is_fetched_before_it_is_looked_at_again() -> None:
    source = MemoryCommandSource(PartitionLog(Rules()), "commands.person", 0, lambda delivery: None)
    command_queue = CommandQueue(source)
    command_queue.begin(0)
    damage = "commands.person-0: the record batch at offset 2 is damaged"
    records = [Record(number, None, b"{}") for number in range(2)]
    command_queue.put(Delivery("commands.person", 0, source.generation, records, damage))
    assert source.is_paused
    assert command_queue.damage == damage
    assert command_queue.take(0) == records  # what is before it is decided
    assert source.is_paused
    former = source.generation
    command_queue.look_again()
    assert not source.is_paused
    assert source.generation > former
    command_queue.put(Delivery("commands.person", 0, source.generation, [], damage))  # and nothing is called expired
    assert command_queue.take(2) == []
    assert source.is_paused
    command_queue.look_again()
    command_queue.put(Delivery("commands.person", 0, source.generation, [Record(2, None, b"{}")]))
    assert command_queue.damage == ""
    assert [record.offset for record in command_queue.take(2)] == [2]
