"""Acknowledged delivery under random answers, losses, times and restarts; judged by what went in and out alone."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annals.agents.publishing.delivering.machine import TAKEN, Answer, Deliveries, Wanted
from annals.schemas.delivery import PARKED, Row, discarded, replayed, row_key
from annals.schemas.subscription import Retry

AGGREGATES = 4
RETRY = Retry(max_attempts=3, first_delay_ms=10, max_delay_ms=100, ack_timeout_ms=50)
MOST = 3


class Checker:
    """Knows nothing of rows: which events there are, what was delivered when, and what was answered in time."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.done: set[str] = set()
        self.open: dict[str, tuple[str, int]] = {}  # CID -> aggregate, attempt
        self.attempts: dict[str, int] = {}
        self.versions: dict[str, int] = {}

    def delivered(self, row: Row, waiting: list[Wanted]) -> None:
        assert row.cid not in self.done, "what is settled never comes again"
        assert row.cid not in self.open, "it is in flight already"
        assert row.attempt == self.attempts.get(row.cid, 0) + 1
        self.attempts[row.cid] = row.attempt
        if self.ordered:
            assert row.aggregate_id not in {aggregate for aggregate, _ in self.open.values()}
            before = [each.cid for each in waiting if each.aggregate_id == row.aggregate_id]
            earlier = before[: before.index(row.cid)]
            assert set(earlier) <= self.done, "an earlier event of the aggregate is not settled"
        self.open[row.cid] = row.aggregate_id, row.attempt
        assert len(self.open) <= MOST


class World:
    """A journal, a topic of rows, and a subscriber that answers badly."""

    def __init__(self, seed: int, events: int, *, ordered: bool) -> None:
        self.random = random.Random(seed)
        self.ordered = ordered
        versions = dict.fromkeys(range(AGGREGATES), 0)
        self.journal: list[Wanted] = []
        for offset in range(events):
            aggregate = self.random.randrange(AGGREGATES)
            versions[aggregate] += 1
            self.journal.append(Wanted(f"a{aggregate}", versions[aggregate], f"cid-{offset}", "Happened", offset))
        self.topic: dict[str, Row] = {}
        self.progress = self.now = 0
        self.checker = Checker(ordered=ordered)
        self.answers: list[tuple[str, Answer]] = []
        self.is_well = False
        self.machine = self.open()

    def open(self) -> Deliveries:
        rows = [msgspec.json.decode(msgspec.json.encode(row), type=Row) for row in self.topic.values()]
        self.random.shuffle(rows)
        return Deliveries("person", rows, RETRY, MOST, ordered=self.ordered)

    def step(self, *, dies: bool) -> None:
        machine, position = self.machine, self.progress
        settled: set[str] = set()
        not_made: list[str] = []
        while self.answers and (self.is_well or self.random.random() < 0.8):
            aggregate, answer = self.answers.pop(self.random.randrange(len(self.answers)))
            before = unsettled(machine)
            result = machine.answer(aggregate, answer, self.now, self.random.random)
            if result == TAKEN and not answer.is_made:
                not_made.append(answer.cid)
            gone = {cid for cid in before - unsettled(machine) if not self.is_parked(cid)}
            attempt = self.checker.attempts[answer.cid] - not_made.count(answer.cid)
            assert not gone or attempt == answer.attempt, "an older attempt settles nothing"
            settled |= gone
        machine.expire(self.now, self.random.random)
        for each in machine.settling():
            later = [
                event
                for event in self.journal[:position]
                if event.aggregate_id == each.row.aggregate_id and event.version > each.row.version
            ]
            if each.later is not None:
                assert later, "a later event was seen"
                assert later[0].offset == each.later
            machine.advance(each, later[0] if later else None, self.now)
        while position < len(self.journal) and machine.offer(self.journal[position], self.now):
            position += 1
        taken = machine.take(self.now)
        parked = machine.newly_parked()
        if dies:  # nothing of it was committed
            self.machine = self.open()
            return
        for key, row in machine.changes().items():
            if row is None:
                self.topic.pop(key, None)
            else:
                self.topic[key] = row
        machine.delivered(taken, self.now)
        self.progress = position
        self.checker.done |= settled
        for cid in not_made:
            self.checker.attempts[cid] -= 1
        in_flight = {row.cid for row in machine.rows() if row.state == "in_flight"}
        for cid in [cid for cid in self.checker.open if cid not in in_flight or cid in {row.cid for row in taken}]:
            del self.checker.open[cid]
        for row in parked:
            assert row.state == PARKED
        for row in taken:
            self.checker.delivered(row, self.journal)
        assert machine.numbers.unsettled == len(self.topic)
        assert machine.numbers.in_flight == len(self.checker.open)
        if self.is_well:
            self.answers += [(row.aggregate_id, Answer(row.cid, row.attempt, "ack")) for row in taken]
        else:
            self.react(taken)

    def is_parked(self, cid: str) -> bool:
        return any(self.machine.is_parked(each.aggregate_id, cid) for each in self.journal if each.cid == cid)

    def react(self, taken: list[Row]) -> None:
        for row in taken:
            way = self.random.randrange(10)
            verdict = "ack" if way < 5 else self.random.choice(["nack", "park", "extend", "ack"])
            answer = Answer(row.cid, row.attempt, verdict, up_to=self.random.random() < 0.1)
            if way == 9:
                continue  # lost
            if way == 7:  # nothing was sent: its endpoint is away
                put_off = Answer(row.cid, row.attempt, "nack", delay_ms=5, counts=False, is_made=False)
                self.answers.append((row.aggregate_id, put_off))
                continue
            self.answers.append((row.aggregate_id, answer))
            if way == 8:  # doubled, with one of an older attempt and one of somebody else
                self.answers.append((row.aggregate_id, answer))
                self.answers.append((row.aggregate_id, answer._replace(attempt=max(1, row.attempt - 1))))
                self.answers.append((f"a{self.random.randrange(AGGREGATES)}", answer))

    def administer(self) -> None:
        """What is parked is replayed or discarded in the topic by somebody else, who takes the partition over."""
        for key, row in list(self.topic.items()):
            if row.state != PARKED:
                continue
            if self.random.random() < 0.5:
                self.topic[key] = replayed(row, self.now) or row
            else:
                self.topic[key] = discarded(row, self.now, "ada", "of no use") or row
                self.checker.done.add(row.cid)
        self.machine = self.open()


def unsettled(machine: Deliveries) -> set[str]:
    settling = {row_key(each.row) for each in machine.settling()}
    return {row.cid for row in machine.rows() if row_key(row) not in settling}


@pytest.mark.parametrize("ordered", [True, False])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_event_is_forgotten_or_out_of_order_whatever_is_answered(ordered, seed):
    world = World(seed, 40, ordered=ordered)
    for _ in range(200):
        world.now += world.random.randrange(40)
        world.step(dies=world.random.random() < 0.1)
        if world.random.random() < 0.1:
            world.administer()
    world.is_well = True
    for _ in range(1_000):
        if world.progress == len(world.journal) and not world.topic:
            break
        world.now += 200
        world.step(dies=False)
        world.administer()
    assert not world.topic
    assert world.checker.done == {event.cid for event in world.journal}
