"""Taking over a subscription with many unsettled rows: in pieces, and in memory only what is needed."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.publishing.delivering import machine
from annals.agents.publishing.delivering.ports import ROWS_A_TURN
from annals.agents.waiting import in_turns
from annals.schemas.cid import cid_text
from annals.schemas.delivery import Row, decode_row, encode_row, row_key
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing import delivery_rows
from chained import chain
from publishing import World, eventually

ROWS = 5 * ROWS_A_TURN


class Turns:
    """Counts what is done in each turn of the event loop; most: in any one."""

    def __init__(self) -> None:
        self.most = self.all = self._now = 0

    def count(self) -> None:
        self._now += 1
        self.all += 1
        self.most = max(self.most, self._now)

    @asynccontextmanager
    async def watched(self):
        loop = asyncio.get_running_loop()
        is_over = False

        def turned() -> None:
            self._now = 0
            if not is_over:
                loop.call_soon(turned)

        turned()
        try:
            yield
        finally:
            is_over = True


async def write(world: World, state: str, **more: int) -> None:
    """Write rows of as many aggregates, the last first."""
    writer = TransactionalWriter(world.options(), "annals-test-rows", ["deliveries.all"])
    await writer.fence()
    batches = PartitionBatches(1 << 20)
    for number in range(ROWS, 0, -1):
        cid = cid_text(b"\x01\x71\x1e\x20" + number.to_bytes(32))
        where = {"offset": number, "ordered": True}
        row = Row("person", f"x-{number}", 1, cid, "PersonRegistered", **where, state=state, attempt=1, at=1, **more)
        batches.add(row_key(row).encode(), encode_row(row), NO_TIMESTAMP, encode_headers([]))
    await writer.commit(
        {TopicPartition("deliveries.all", 0): batches.batches}, Offsets("g", "deliveries.all", 0, 0, ""), {}
    )
    await writer.close()


async def taken_over(world: World, turns: Turns, monkeypatch: pytest.MonkeyPatch, counted: str) -> None:
    """Have a publisher take the partition over."""

    def decoded(key, value):
        turns.count()
        return decode_row(key, value)

    taken = Turns()
    original = getattr(machine.Deliveries, counted)

    def noted(self, *args):
        taken.count()
        return original(self, *args)

    monkeypatch.setattr(delivery_rows, "decode_row", decoded)
    monkeypatch.setattr(machine.Deliveries, counted, noted)

    async def is_taken_over() -> bool:
        return world.counts.numbers.get("all", (0,))[0] == ROWS

    async with turns.watched(), taken.watched(), world.shard() as shard, world.publisher(shard):
        await eventually(is_taken_over)
    assert turns.all == taken.all == ROWS
    assert turns.most <= ROWS_A_TURN
    assert taken.most <= ROWS_A_TURN


async def test_no_turn_of_the_event_loop_takes_more_than_some_rows_up(monkeypatch):
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", delivery="acknowledged", types=("PersonArchived",))
    await write(world, "waiting", due=1 << 47)
    await taken_over(world, Turns(), monkeypatch, "_put")
    assert world.counts.numbers["all"] == (ROWS, 0, 0)


async def test_what_is_parked_is_taken_up_in_turns_and_by_its_key_alone(monkeypatch):
    world = World("all")
    world.journal.append([*chain("x-7", 1), *chain("p-1", 1)])
    await world.subscribe("all", delivery="acknowledged")
    await write(world, "parked")
    held = []
    original = machine.Deliveries.offer

    def offered(self, wanted, now):
        held.append(len(list(self.rows())))
        return original(self, wanted, now)

    monkeypatch.setattr(machine.Deliveries, "offer", offered)

    turns, taken = Turns(), Turns()
    original_note = machine.Deliveries._note_parked

    def noted(self, key, at):
        taken.count()
        original_note(self, key, at)

    monkeypatch.setattr(machine.Deliveries, "_note_parked", noted)

    def decoded(key, value):
        turns.count()
        return decode_row(key, value)

    monkeypatch.setattr(delivery_rows, "decode_row", decoded)

    async def is_delivered() -> bool:
        return bool(await world.cids("all"))

    async with turns.watched(), taken.watched(), world.shard() as shard, world.publisher(shard):
        await eventually(is_delivered)
    (key, _, _) = (await world.received("all"))[0]
    assert key == b"p-1", "the event of a parked aggregate is passed over"
    assert turns.all == taken.all == ROWS
    assert turns.most <= ROWS_A_TURN
    assert taken.most <= ROWS_A_TURN
    assert held == [0, 0], "no row of what is parked is in memory"
    assert world.counts.numbers["all"] == (ROWS + 1, 1, ROWS)
    assert world.counts.since["all"] == 1


async def test_rows_come_by_their_offsets_however_many_runs_they_are_read_in():
    world = World("all")
    await write(world, "waiting")
    log = world.logs().delivering("all")
    unsettled = await log.unsettled(1)
    assert [row.offset for row in unsettled.rows] == list(range(1, ROWS + 1))
    await log.close()


async def test_many_rows_that_were_discarded_are_settled_in_transactions_of_a_bounded_size(monkeypatch):
    monkeypatch.setattr("annals.agents.publishing.delivering.shard.MOST_SETTLED", 700)
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", delivery="acknowledged", types=("PersonArchived",))
    await write(world, "discarded")
    sizes = []
    original = machine.Deliveries.changes

    def changes(self):
        found = original(self)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(machine.Deliveries, "changes", changes)

    async def is_settled() -> bool:
        return world.counts.numbers.get("all", (1,))[0] == 0

    async with world.shard() as shard, world.publisher(shard):
        await eventually(is_settled)
    assert sum(sizes) == ROWS
    assert max(sizes) == 700


async def test_turns_let_others_go_on_between_two_pieces():
    seen = []

    async def other() -> None:
        while True:
            seen.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for some in in_turns(range(5), 2):
        seen.append(some)  # noqa: PERF401 - in between is what counts
    task.cancel()
    assert [each for each in seen if each != "other"] == [[0, 1], [2, 3], [4]]
    assert seen[:4] == [[0, 1], "other", [2, 3], "other"]
