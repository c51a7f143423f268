"""Acknowledged delivery on a log in memory: nothing forgotten, nothing overtaken, through the death of its process."""

import asyncio
from datetime import timedelta

import pytest
import structlog
from aiokafka.errors import LeaderNotAvailableError
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.backoff import Backoff
from annals.agents.pace import Pace
from annals.agents.ports import UncertainNotPermittedError
from annals.agents.publishing import selection
from annals.agents.publishing.delivering import shard as module
from annals.agents.publishing.delivering.making import DeliveryShards
from annals.agents.publishing.selection import Subscribed
from annals.agents.publishing.share import Share
from annals.schemas.cid import cid_text
from annals.schemas.delivery import decode_row, discarded, encode_row, replayed
from annals.schemas.progress import Progress
from annals.schemas.subscription import Definition, Former, Retry
from annals.topics.names import publisher_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import connect
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.delivery_log import KafkaDeliveryLog
from annals.workers.publishing.delivery_rows import read_rows
from chained import chain
from following import Clock, until
from publishing import Mortal, Taker, World, answer, at_each_step, eventually, shown

RETRY = Retry(max_attempts=2, first_delay_ms=1, max_delay_ms=2, ack_timeout_ms=60_000)


def asked(**changed):
    return {"delivery": "acknowledged", "retry": RETRY, **changed}


async def has(world, count, role="subscribers"):
    return len(await world.received("all", role)) >= count


async def rows(world):
    where = TopicPartition("deliveries.all", 0)
    client = await connect(world.options(), [where[0]])
    return list((await read_rows(client, where, lambda row: row, is_settled=False)).values())


async def nothing_is_left(world):
    return not await rows(world)


def attempts(records):
    return [(headers["ce_id"].decode(), int(headers.get("ce_redelivery", b"1"))) for _, _, headers in records]


async def test_the_next_of_an_aggregate_comes_when_the_one_before_is_acknowledged():
    world = World("all")
    ada, bob = chain("p-1", 2), chain("p-2", 1)
    world.journal.append([*ada, *bob])
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 2))
        assert await world.cids("all") == shown([ada[0], *bob])
        assert {row.state for row in await rows(world)} == {"in_flight"}
        first, second = await world.received("all")
        await answer(world, first)
        await answer(world, first)  # twice is once
        await eventually(lambda: has(world, 3))
        await answer(world, second)
        await answer(world, (await world.received("all"))[2])
        await eventually(lambda: nothing_is_left(world))
    assert await world.cids("all") == shown([ada[0], *bob, ada[1]])
    assert world.counts.results["taken"] == 3
    assert world.counts.results["not_outstanding"] == 1


async def test_records_are_made_of_no_more_events_than_there_is_room_for(monkeypatch):
    made = []

    def wanted(source, *more):
        made.append(source.offset)
        return selection.wanted(source, *more)

    monkeypatch.setattr("annals.agents.publishing.heavy.wanted", wanted)
    world = World("all")
    world.journal.append([event for number in range(50) for event in chain(f"p-{number}", 1)])
    await world.subscribe("all", **asked(max_in_flight=1))
    async with world.shard() as shard, world.publisher(shard):
        for count in range(1, 5):
            await eventually(lambda count=count: has(world, count))
            await answer(world, (await world.received("all"))[-1])
    assert len(made) <= 10


async def test_a_limit_below_what_is_in_flight_is_kept_to_once_that_is_answered():
    """Goes red when no answer is taken by then: the subscription was paused for a defect until the limit was raised."""
    world = World("all")
    world.journal.append([event for number in range(5) for event in chain(f"p-{number}", 1)])
    await world.subscribe("all", **asked(max_in_flight=4))

    async def is_told():
        return "all" in world.counts.numbers or world.subscriptions.paused

    async with world.shard() as shard:
        async with world.publisher(shard):
            await eventually(lambda: has(world, 4))
        world.subscriptions.set("all", definition=asked(max_in_flight=1))
        world.counts.numbers.clear()
        async with world.publisher(shard):
            await eventually(is_told)
            for record in await world.received("all"):
                await answer(world, record)
            await eventually(lambda: has(world, 5))
            await answer(world, (await world.received("all"))[4])
            await eventually(lambda: nothing_is_left(world))
    assert not world.subscriptions.paused


async def test_what_is_nacked_comes_again_with_its_attempt_and_is_parked_after_the_last():
    world = World("all")
    ada = chain("p-1", 2)
    world.journal.append(ada)
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0], "nack", reason="busy", delay_ms=0)
        await eventually(lambda: has(world, 2))
        first, again = await world.received("all")
        assert again == (*first[:2], {**first[2], "ce_redelivery": b"2"})
        await answer(world, first)  # to an older attempt
        await answer(world, again, "nack", reason="broken")
        await eventually(lambda: has(world, 1, "parked"))
    ((key, value, headers),) = await world.received("all", "parked")
    assert (key, value) == again[:2]
    assert {name: headers[name] for name in ("reason", "attempts", "ce_redelivery")} == {
        "reason": b"broken",
        "attempts": b"2",
        "ce_redelivery": b"2",
    }
    assert headers["parked-at"].endswith(b"Z")
    assert world.counts.results["other_attempt"] == 1
    assert len(await world.cids("all")) == 2, "the aggregate's next event waits"
    assert world.counts.numbers["all"] == (1, 0, 1)


async def test_a_delay_is_drawn_by_what_the_process_gives():
    """Goes red when a delivery draws for itself: no history could be run again."""
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", **asked(retry=Retry(first_delay_ms=60_000, max_delay_ms=60_000)))
    async with world.shard() as shard, world.publisher(shard, draw=lambda: 0.25):
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0], "nack")

        async def waits():
            return [row.due - row.at for row in await rows(world) if row.state == "waiting"] == [15_000]

        await eventually(waits)


async def test_while_nothing_can_be_written_a_delivery_waits_longer_each_time(monkeypatch):
    """Goes red when a step with nothing to write, which succeeds, ends the waiting and what readiness says of it."""
    waits, told, refused = [], [], 4

    class Noted(Backoff):
        async def wait(self):
            waits.append(self._next_s)
            self._next_s = min(2 * self._next_s, self._last_s)
            await asyncio.sleep(0)

    deliver = KafkaDeliveryLog.deliver

    async def refusing(log, writes):
        nonlocal refused
        if not writes.records and not writes.rows and refused:  # how far it is, while an answer is waited for
            refused -= 1
            told.append(publisher.problem)
            raise UncertainNotPermittedError("may not write")
        await deliver(log, writes)

    monkeypatch.setattr(module, "Backoff", Noted)
    monkeypatch.setattr(module, "IDLE_COMMIT_S", 0.01)
    monkeypatch.setattr(KafkaDeliveryLog, "deliver", refusing)
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await until(lambda: not refused)
        await until(lambda: publisher.problem is None)
    assert waits == [0.5, 1, 2, 4]
    assert told == [None, *["person-0 for all: may not write"] * 3]


async def test_the_time_to_answer_begins_when_the_delivery_is_committed(monkeypatch):
    late = timedelta()
    deliver, now = KafkaDeliveryLog.deliver, Clock.now

    async def slowly(log, writes):
        nonlocal late
        if writes.records:
            late += timedelta(milliseconds=2 * RETRY.ack_timeout_ms)
        await deliver(log, writes)

    monkeypatch.setattr(KafkaDeliveryLog, "deliver", slowly)
    monkeypatch.setattr(Clock, "now", lambda clock: now(clock) + late)
    world = World("all")
    ada = chain("p-1", 1)
    world.journal.append(ada)
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0])
        await eventually(lambda: nothing_is_left(world))
    assert attempts(await world.received("all")) == [(*shown(ada), 1)]


async def decide(world, decision):
    """What is parked is decided upon by somebody else, as an administrator does it."""
    writer = TransactionalWriter(world.options(), publisher_id("events.person", 0, "all"), ["deliveries.all"])
    await writer.fence()
    for row in await rows(world):
        changed = decision(row)
        batch = RecordBatch()
        key = f"{row.kind}/{row.aggregate_id}".encode()
        batch.fill([(key, encode_row(changed), NO_TIMESTAMP, encode_headers([]))], 0, 1 << 20)
        await writer.commit(
            {TopicPartition("deliveries.all", 0): [batch]}, Offsets("g", "deliveries.all", 0, 0, ""), {}
        )
    await writer.close()


@pytest.mark.parametrize("verdict", ["replay", "discard"])
async def test_what_is_parked_is_replayed_or_discarded_by_its_row(verdict):
    world = World("all")
    ada = chain("p-1", 2)
    world.journal.append(ada)
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0], "park", reason="poison")
        await eventually(lambda: has(world, 1, "parked"))
        if verdict == "replay":
            await decide(world, lambda row: replayed(row, 0, "ada"))
        else:
            await decide(world, lambda row: discarded(row, 0, "ada", "of no use"))
        await eventually(lambda: has(world, 2))
        await answer(world, (await world.received("all"))[1])
        if verdict == "replay":
            await eventually(lambda: has(world, 3))
            await answer(world, (await world.received("all"))[2])
        await eventually(lambda: nothing_is_left(world))
    first, second = shown(ada)
    expected = [(first, 1), (first, 2), (second, 1)] if verdict == "replay" else [(first, 1), (second, 1)]
    assert attempts(await world.received("all")) == expected


async def test_unreadable_answers_are_dead_letters_and_hold_nothing_up():
    world = World("all")
    world.journal.append(chain("p-1", 1))
    await world.subscribe("all", **asked())
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
        await world.send("acks.all", b"p-1", b"{")
        await world.send("acks.all", None, b"{}")
        await world.send("acks.all", b"p-1", b'{"cid": "x", "verdict": "ack"}')
        await answer(world, (await world.received("all"))[0])
        await eventually(lambda: nothing_is_left(world))
    dead = await world.received("", "dead-letters")
    assert [headers["reason"] for _, _, headers in dead] == [b"bad_ack"] * 3
    assert [headers["source-topic"] for _, _, headers in dead] == [b"acks.all"] * 3
    assert world.counts.results["bad"] == 3


@pytest.mark.parametrize("is_pruned", [False, True])
async def test_a_kind_that_is_added_tells_of_no_answer_that_was_told_of(is_pruned):
    """Goes red when it reads the answers from their beginning: each bad one became a dead letter once more."""
    world = World("all", "other")
    await world.subscribe("other")
    world.subscriptions.set("all", definition=asked(kinds=["workflow"]), begin={"workflow": [0]})
    world.journal.append(chain("p-0", 1))
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: world.received("other"))
        for value in (b"{", b"[]"):
            await world.send("acks.all", b"p-1", value)
        record = world.subscriptions.all()["all"].record
        former = [] if is_pruned else [Former(record.definition, {"person": [1], "workflow": [0]})]
        world.subscriptions.set("all", definition=asked(kinds=["person", "workflow"]), former=former)
        world.journal.append(chain("p-1", 1))
        await eventually(lambda: has(world, 1))
        await answer(world, (await world.received("all"))[0])
        await eventually(lambda: nothing_is_left(world))
        assert await world.received("", "dead-letters") == []
        await world.send("acks.all", b"p-1", b"{")
        await world.send("acks.all", b"p-1", b"the last of them is read in the same run")
        world.journal.append(chain("p-2", 1))
        await eventually(lambda: has(world, 2))
        await answer(world, (await world.received("all"))[1])
        await eventually(lambda: nothing_is_left(world))
    assert len(await world.received("", "dead-letters")) == (2 if is_pruned else 0)


class Leaderless(Mortal):
    """A network on which nobody answers for one topic while it is away."""

    def __init__(self, topic):
        super().__init__()
        self.topic = topic
        self.is_away = True
        self.refused = 0

    async def ask(self, request, serve):
        if self.is_away and self.topic in str(getattr(request, "topics", "")):
            self.refused += 1
            raise LeaderNotAvailableError(self.topic)
        return await super().ask(request, serve)


async def test_a_kind_that_is_added_while_its_answers_have_no_leader_holds_up_nobody_else():
    """Goes red when nothing at all of the journal partition is published until there is a leader again."""
    world = World("all", "other")
    world.network = network = Leaderless("acks.all")
    await world.subscribe("other")
    world.subscriptions.set("all", definition=asked(kinds=["workflow"]), begin={"workflow": [0]})
    world.journal.append(chain("p-0", 1))
    async with world.shard() as shard, world.publisher(shard) as publisher:
        await eventually(lambda: world.received("other"))
        former = [Former(world.subscriptions.all()["all"].record.definition, {"person": [1], "workflow": [0]})]
        world.subscriptions.set("all", definition=asked(kinds=["person", "workflow"]), former=former)
        world.journal.append(chain("p-1", 1))
        await until(lambda: network.refused)
        await eventually(lambda: reaches(world, "other", 2))
        assert publisher.phase == "publishing"
        network.is_away = False
        await eventually(lambda: has(world, 1))


async def reaches(world, name, count):
    return len(await world.received(name)) >= count


@pytest.mark.parametrize("oldest", [["account"], ["account", "person"], None])
async def test_where_the_first_kind_is_of_another_release_one_that_is_here_tells_of_bad_answers(oldest):
    """Goes red when that is left to a kind which this release does not have: nobody does it."""
    world = World("all")
    former = oldest and [Former(Definition("all", kinds=oldest), {"person": [0], "account": [0]})]
    kinds = ["person"] if former else ["account", "person"]
    await world.subscribe("all", **asked(kinds=kinds))
    world.subscriptions.set("all", former=former or [])
    world.journal.append(chain("p-1", 1))
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
        await world.send("acks.all", b"p-1", b"{")
        await answer(world, (await world.received("all"))[0])
        await eventually(lambda: nothing_is_left(world))
    assert len(await world.received("", "dead-letters")) == 1


async def test_a_stream_that_becomes_acknowledged_goes_on_where_it_was():
    world = World("all")
    ada, bob = chain("p-1", 2), chain("p-2", 2)
    world.journal.append(ada)
    await world.subscribe("all")
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 2))
        world.subscriptions.set("all", definition=asked())
        world.journal.append(bob)
        await eventually(lambda: has(world, 3))
        await answer(world, (await world.received("all"))[2])
        await eventually(lambda: has(world, 4))
    assert await world.cids("all") == shown([*ada, *bob])


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_whatever_the_step_at_which_its_process_dies_nothing_is_forgotten(is_carried_out):
    await at_each_step(killed_at, is_carried_out=is_carried_out, every=3)


async def killed_at(step, *, is_carried_out):
    """Kill the process at a request, while its subscriber answers; return whether it had come so far."""
    world = World("all")
    ada, bob = chain("p-1", 3), chain("p-2", 2)
    world.journal.append([ada[0], bob[0], ada[1], bob[1], ada[2]])
    await world.subscribe("all", **asked())
    taker = Taker(world)

    async def is_over():
        return world.network.died.is_set() or (await taker.take() >= 5 and await nothing_is_left(world))

    world.die_at(step, is_carried_out=is_carried_out)
    async with world.shard() as shard:
        async with world.publisher(shard):
            await eventually(is_over)
        has_died = world.next_process()
        async with world.publisher(shard):
            await eventually(is_over)
    # Nothing was answered late: each came once, and those of an aggregate in their order.
    cids = await world.cids("all")
    for events in (ada, bob):
        wanted = shown(events)
        assert [cid for cid in cids if cid in wanted] == wanted, step
    return has_died


async def test_rows_of_the_topic_are_read_as_they_are_written():
    world = World("all")
    ada = chain("p-1", 1)
    world.journal.append(ada)
    await world.subscribe("all", **asked(ordered=False))
    async with world.shard() as shard, world.publisher(shard):
        await eventually(lambda: has(world, 1))
    (row,) = await rows(world)
    assert decode_row(cid_text(ada[0].cid).encode(), encode_row(row)) == row
    assert (row.state, row.attempt, row.ordered) == ("in_flight", 1, False)


@pytest.mark.parametrize("there", [None, Progress(1, None, 1, is_resting=True), Progress(0, None, 2)])
async def test_who_delivered_delivers_nothing_once_another_has_taken_it_over(there):
    """As a worker that was frozen goes on: another one has it live, at rest, or begun anew since."""
    world = World("all")
    world.journal.append(chain("p-1", 3))
    world.subscriptions.set("all", definition=asked())
    if there is not None:
        await world.write_progress("all", there)
    written, fenced = len(await world.received("", "progress")), asyncio.Event()
    world.counts.fenced = fenced.set
    async with world.shard() as shard:
        making = DeliveryShards(
            shard,
            REGISTRY["person"],
            world.logs().delivering,
            Clock(),
            Clock(),
            world.counts,
            ("person",),
            1,
            Share(Clock()),
            lambda: 0.5,
        )
        subscribed = Subscribed(world.subscriptions.all()["all"], "person", 0)
        pace = Pace(Clock(), structlog.get_logger(), 10, "events")
        frozen = making.shard(subscribed, Progress(0, None, 1), pace, world.subscriptions)
        running = asyncio.create_task(frozen.run())
        told = [asyncio.create_task(fenced.wait()), asyncio.create_task(eventually(lambda: has(world, 1)))]
        await asyncio.wait(told, return_when="FIRST_COMPLETED")
        frozen.stop()
        for each in told:
            each.cancel()
        await running
    assert not await world.cids("all")
    assert len(await world.received("", "progress")) == written
