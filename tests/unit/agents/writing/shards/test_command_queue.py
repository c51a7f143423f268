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
    source.is_damaged = True
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


async def test_a_damaged_batch_behind_which_nothing_comes_holds_nothing_up_once_it_is_passed_or_gone() -> None:
    """Goes red when a worker is unready for ever once the batch is mended and an aborted transaction's, or cut off."""
    source = MemoryCommandSource(PartitionLog(Rules()), "commands.person", 0, lambda delivery: None)
    command_queue = CommandQueue(source)
    command_queue.begin(0)
    former = source.generation
    command_queue.put(Delivery("commands.person", 0, former, [], "the record batch at offset 0 is damaged"))
    assert source.is_paused
    assert not source.is_damaged  # it was passed while the delivery was on its way
    command_queue.look_again()
    assert command_queue.damage == ""
    assert not source.is_paused
    assert source.generation == former


async def test_a_batch_that_was_fetched_whole_before_its_damage_was_taken_leaves_nothing_paused() -> None:
    source = MemoryCommandSource(PartitionLog(Rules()), "commands.person", 0, lambda delivery: None)
    command_queue = CommandQueue(source)
    command_queue.begin(0)
    for records, damage in (([], "the record batch at offset 0 is damaged"), ([Record(0, None, b"{}")], "")):
        command_queue.put(Delivery("commands.person", 0, source.generation, records, damage))
    assert command_queue.damage == ""
    assert not source.is_paused
    large = [Record(number, None, bytes(HIGH_BYTES // 2)) for number in (1, 2)]
    for records, damage in (([], "the record batch at offset 1 is damaged"), (large, "")):
        command_queue.put(Delivery("commands.person", 0, source.generation, records, damage))
    assert source.is_paused  # more than enough waits
