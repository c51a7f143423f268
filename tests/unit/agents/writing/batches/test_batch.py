"""The batch of commands against a store in memory: answers in order, plans that end where they must."""

import signal
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.ports import StoppedError
from annals.agents.writing.batches import batch as batch_module
from annals.agents.writing.batches.batch import PLAN_COMMANDS, Batch, Limits, Tally
from annals.agents.writing.shard_id import ShardId
from annals.schemas.chain import read_block
from annals.schemas.cid import cid_of, cid_text
from annals.schemas.snapshot import decode_snapshot
from annals.topics.keys import partition_of
from annals.workers.stores.memory import MemoryStore
from lacking import LACKING
from leaving import LEAVING


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple
    timestamp: int


NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
COMMAND_MS = 1_700_000_000_000
PLACE = ShardId("person", "commands.person", 0, 1)
LIMITS = Limits(1_000_000, 4 << 20, 0, 0)


SOME = [*product(["RegisterPerson", "RenamePerson"], ["p-1", "p-2"], ["a", "b", "c"])]
"""Commands of which many are of one aggregate, and some come again."""


class Written:
    """Collects what a batch writes."""

    def __init__(self):
        self.events, self.outcomes, self.dead, self.forwards, self.snapshots = [], [], [], [], []
        self.other_times = set()
        self.snapshot_limit = 1 << 20
        self.tally = Tally()

    def add_events(self, records):
        for key, block, timestamp_ms, _ in records:
            self.events.append((key, block, timestamp_ms))

    add_together = add_events

    def add_snapshot(self, key, value, timestamp_ms):
        self.other_times.add(timestamp_ms)
        if len(value) > self.snapshot_limit:
            return len(value)
        self.snapshots.append((key, value))
        return 0

    def add_outcomes(self, records):
        self.outcomes += [orjson.loads(value) for _, value, _, _ in records]
        self.other_times |= {timestamp_ms for _, _, timestamp_ms, _ in records}

    def add_dead_letter(self, key, value, timestamp_ms, headers):
        self.dead.append((key, value, headers))
        self.other_times.add(timestamp_ms)

    def add_forward(self, partition, key, value, timestamp_ms, headers):
        self.forwards.append((partition, key))
        self.other_times.add(timestamp_ms)
        return True


class Bench:
    """One shard's parts, and commands for it."""

    def __init__(self, place=PLACE, limits=LIMITS, decider=REGISTRY["person"]):
        self.store = MemoryStore()
        self.working_set = WorkingSet(decider, self.store, AggregateCache(1 << 20))
        self.place, self.limits, self.decider = place, limits, decider
        self.end, self.offset = 0, 0
        self.sent = []

    def command(self, name, aggregate_id, data, **more):
        more = {"id": f"c-{self.offset}", **more}
        value = orjson.dumps({"type": name, "aggregate_id": aggregate_id, "data": data, **more})
        return self.raw(aggregate_id.encode(), value)

    def raw(self, key, value, headers=()):
        self.offset += 1
        self.sent.append(Record(self.offset - 1, key, value, headers, COMMAND_MS))
        return self.sent[-1]

    def decide(self, *records, now=NOW):
        written = Written()
        batch = Batch(self.decider, self.working_set, written, self.place, self.limits, now, self.end)
        batch.decide(records)
        written.tally = batch.tally
        position = batch.position()
        if position is not None:
            self.working_set.commit(position)
            self.end = position.offset + 1
        return written


def register(bench, aggregate_id="p-1", name="Ada", **more):
    return bench.command("RegisterPerson", aggregate_id, {"name": name}, **more)


def rename(bench, name, aggregate_id="p-1", **more):
    return bench.command("RenamePerson", aggregate_id, {"name": name}, **more)


def test_events_of_a_batch_are_chained_one_on_the_other():
    bench = Bench()
    written = bench.decide(register(bench), *(rename(bench, f"Ada {n}") for n in range(3 * PLAN_COMMANDS)))
    previous = None
    for version, (_, block, _) in enumerate(written.events, 1):
        event = read_block("person", block)
        assert (event["version"], event["previous"]) == (version, previous)
        previous = cid_of(block)
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted"] * (3 * PLAN_COMMANDS + 1)
    assert written.outcomes[-1]["head"] == cid_text(previous)
    assert bench.store.aggregate(b"p-1").head == previous


def test_a_command_twice_in_a_batch_is_a_duplicate_with_the_events_of_the_first():
    bench = Bench()
    written = bench.decide(register(bench), rename(bench, "Bea", id="same"), rename(bench, "Cleo", id="same"))
    assert len(written.events) == 2
    first, second = written.outcomes[1:]
    assert second == {**first, "status": "duplicate"}


@given(
    known=st.lists(st.sampled_from(SOME), max_size=6),
    sent=st.lists(st.tuples(st.sampled_from(SOME), st.sampled_from([None, "", "old"])), max_size=12),
)
def test_commands_of_one_plan_are_answered_as_if_each_came_alone(known, sent):
    """Goes red where what is looked up for all of them at once is not what each would have found."""
    together, alone = Bench(), Bench()
    for bench in (together, alone):
        for number, which in enumerate(known):
            bench.decide(some_command(bench, number, *which))
    head = together.working_set.aggregate(b"p-1").head
    heads = {None: {}, "": {"expected_head": None}, "old": {"expected_head": head and cid_text(head)}}
    written = together.decide(
        *(some_command(together, at, *each, **heads[which]) for at, (each, which) in enumerate(sent))
    )
    found = [alone.decide(some_command(alone, at, *each, **heads[which])) for at, (each, which) in enumerate(sent)]
    assert written.events == [event for each in found for event in each.events]
    assert written.outcomes == [outcome for each in found for outcome in each.outcomes]


def some_command(bench, number, name, aggregate_id, command_id, **more):
    return bench.command(name, aggregate_id, {"name": f"N {number % 3}"}, id=command_id, **more)


def test_a_command_of_an_earlier_batch_is_a_duplicate_for_ever():
    bench = Bench()
    first = bench.decide(register(bench, id="same")).outcomes[0]
    bench.decide(rename(bench, "Bea"))
    again = bench.decide(bench.raw(b"p-1", b'{"id":"same","aggregate_id":"p-1","type":"Nonsense","data":[]}'))
    assert again.outcomes == [{**first, "status": "duplicate"}]
    assert again.events == []


def test_an_expected_head_made_in_the_same_batch_is_compared_with_its_seal():
    bench, other = Bench(), Bench()
    head = other.decide(register(other)).outcomes[0]["head"]
    written = bench.decide(
        register(bench),
        rename(bench, "Bea", expected_head=head),
        rename(bench, "Cleo", expected_head=head),
    )
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "accepted", "rejected"]
    error = written.outcomes[2]["error"]
    assert error["code"] == "head_conflict"
    assert error["details"] == {"expected": head, "actual": written.outcomes[1]["head"]}


def test_a_rejection_names_the_head_of_the_moment_even_when_it_was_just_made():
    bench = Bench()
    written = bench.decide(register(bench), rename(bench, "Bea"), register(bench, name="Eve"))
    rejected = written.outcomes[2]
    assert rejected["status"] == "rejected"
    assert (rejected["version"], rejected["head"]) == (2, written.outcomes[1]["head"])


def test_what_follows_events_that_do_not_fit_is_decided_without_them():
    bench = Bench(limits=Limits(1_000_000, 1_400, 0, 0))
    written = bench.decide(
        register(bench),
        rename(bench, "B" * 190, id="x" * 120, correlation_id="y" * 256, causation_id="z" * 256),
        rename(bench, "Cleo", expected_version=1),
    )
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "rejected", "accepted"]
    error = written.outcomes[1]["error"]
    assert error["code"] == "too_large"
    assert error["details"]["limit"] == 1_400 < error["details"]["bytes"]
    assert len(written.events) == 2


def test_a_full_aggregate_takes_no_more_events():
    bench = Bench(limits=Limits(1_000_000, 4 << 20, 2, 0))
    written = bench.decide(register(bench), rename(bench, "Bea"), rename(bench, "Cleo"), rename(bench, "Bea"))
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "accepted", "rejected", "accepted"]
    assert written.outcomes[2]["error"]["details"] == {"limit": 2}
    assert written.outcomes[3]["events"] == []


def test_times_never_go_back_within_a_chain():
    bench = Bench()
    bench.decide(register(bench))
    _, block, timestamp_ms = bench.decide(rename(bench, "Bea"), now=NOW - timedelta(hours=1)).events[0]
    assert read_block("person", block)["recorded_at"] == "2026-11-21T09:30:00.000000Z"
    assert timestamp_ms == int(NOW.timestamp() * 1000)


def test_misplaced_commands_are_forwarded_once_and_then_dead_letters():
    partitions = 4
    home = partition_of(b"p-1", partitions)
    bench = Bench(ShardId("person", "commands.person", (home + 1) % partitions, partitions))
    once = register(bench)
    twice = once._replace(headers=(("origin-partition", b"2"), ("origin-offset", b"7")))
    written = bench.decide(once, twice)
    assert written.forwards == [(home, b"p-1")]
    assert len(written.dead) == 1
    assert b"misrouted" in written.dead[0][2]
    assert written.outcomes == []


def failing(monkeypatch, target, name, error=ZeroDivisionError, times=10**9):
    """Let a function of a decider raise for what is named Defect, so many times."""
    whole, left = getattr(target, name), [times]

    def broken(*arguments):
        if any("Defect" in repr(argument) for argument in arguments[:2]) and left[0] > 0:
            left[0] -= 1
            raise error
        return whole(*arguments)

    monkeypatch.setattr(target, name, broken)


@pytest.mark.parametrize("function", ["decide", "evolve", "event_data"])
def test_a_command_that_fails_by_a_defect_is_answered_and_kept_and_the_others_go_on(monkeypatch, function):
    bench = Bench()
    failing(monkeypatch, bench.decider, function)
    unread = bench.raw(b"p-1", b"not JSON")
    written = bench.decide(
        register(bench), unread, rename(bench, "Bea"), rename(bench, "Defect"), rename(bench, "Cleo")
    )
    statuses = [(outcome["status"], outcome["version"]) for outcome in written.outcomes]
    assert statuses == [("accepted", 1), ("accepted", 2), ("rejected", 2), ("accepted", 3)]
    failed = written.outcomes[2]
    assert failed["head"] == written.outcomes[1]["head"]
    assert (failed["error"]["code"], failed["error"]["details"]) == ("internal_error", {})
    assert [(key, value) for key, value, _ in written.dead] == [(b"p-1", b"not JSON"), (b"p-1", bench.sent[3].value)]
    assert b"internal_error" in written.dead[1][2]
    assert b"deciding it failed with ZeroDivisionError" in written.dead[1][2]
    assert b"Defect" not in written.dead[1][2]
    assert [event["data"]["name"] for event in (read_block("person", block) for _, block, _ in written.events)] == [
        "Ada",
        "Bea",
        "Cleo",
    ]


@pytest.mark.usefixtures("signals_of_a_worker")
@pytest.mark.parametrize("error", LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("function", ["decide", "evolve", "event_data"])
def test_a_command_whose_aggregate_would_end_the_process_is_answered_and_the_others_go_on(monkeypatch, function, error):
    """Goes red where a `sys.exit` in an aggregate ends each worker that meets its command, again and again."""
    bench = Bench()
    failing(monkeypatch, bench.decider, function, error())
    written = bench.decide(register(bench), rename(bench, "Defect"), rename(bench, "Bea"))
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "rejected", "accepted"]
    assert f"deciding it failed with {type(error()).__name__}".encode() in written.dead[0][2]


@pytest.mark.parametrize("function", ["decide", "evolve", "event_data"])
def test_a_ctrl_c_while_an_aggregate_works_ends_the_command_that_runs(monkeypatch, function):
    """Goes red where `annals simulate` rejects a command instead, goes on, and may report a history that failed."""
    bench = Bench()
    whole = getattr(bench.decider, function)

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return whole(*arguments)

    monkeypatch.setattr(bench.decider, function, interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.decide(register(bench))


def test_a_validator_that_fails_is_a_defect_of_its_command(monkeypatch):
    bench = Bench()
    parsers = dict(bench.decider.parsers)

    def broken(data):
        raise OverflowError

    monkeypatch.setattr(bench.decider, "parsers", {**parsers, "RenamePerson": broken})
    written = bench.decide(register(bench), rename(bench, "Bea"), register(bench, "p-2"))
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "rejected", "accepted"]


def test_a_reader_that_fails_leaves_a_dead_letter_and_nobody_to_answer(monkeypatch):
    bench = Bench()
    read = batch_module.read_commands

    def broken(records, limit):
        if any(record.value == b"Defect" for record in records):
            raise RecursionError
        return read(records, limit)

    monkeypatch.setattr("annals.agents.writing.batches.decision_plan.read_commands", broken)
    monkeypatch.setattr("annals.agents.writing.batches.batch.read_commands", broken)
    written = bench.decide(register(bench), bench.raw(b"p-1", b"Defect"), rename(bench, "Bea"))
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted", "accepted"]
    assert len(written.dead) == 1
    assert b"deciding it failed with RecursionError" in written.dead[0][2]


def test_a_duplicate_is_a_duplicate_also_where_its_command_now_fails(monkeypatch):
    bench = Bench()
    bench.decide(register(bench), rename(bench, "Bea", id="c-1"))

    def broken(data):
        raise OverflowError

    monkeypatch.setattr(bench.decider, "parsers", {**bench.decider.parsers, "RenamePerson": broken})
    written = bench.decide(rename(bench, "Bea", id="c-1"))
    assert [(outcome["status"], outcome["version"]) for outcome in written.outcomes] == [("duplicate", 2)]
    assert written.dead == []


def test_what_does_not_come_again_when_the_command_is_tried_alone_was_no_defect(monkeypatch):
    bench = Bench()
    failing(monkeypatch, bench.decider, "decide", times=1)
    written = bench.decide(register(bench), rename(bench, "Defect"), rename(bench, "Bea"))
    assert [outcome["status"] for outcome in written.outcomes] == ["accepted"] * 3
    assert written.dead == []


@pytest.mark.parametrize("function", ["decide", "evolve", "event_data"])
@pytest.mark.parametrize("error", [*LACKING.values(), OSError])
def test_what_says_nothing_of_the_command_is_never_its_defect(monkeypatch, error, function):
    bench = Bench()
    failing(monkeypatch, bench.decider, function, error())
    batch = Batch(bench.decider, bench.working_set, Written(), PLACE, LIMITS, NOW, 0)
    with pytest.raises(type(error())):
        batch.decide([register(bench), rename(bench, "Defect")])


def test_what_the_store_raises_is_never_a_commands_defect(monkeypatch):
    bench = Bench()

    def damaged(store, key):
        raise RuntimeError("block checksum mismatch")

    monkeypatch.setattr(MemoryStore, "aggregate", damaged)
    batch = Batch(bench.decider, bench.working_set, Written(), PLACE, LIMITS, NOW, 0)
    with pytest.raises(RuntimeError, match="checksum"):
        batch.decide([register(bench)])


def test_five_defects_in_a_row_stop_the_shard_with_those_before_decided(monkeypatch):
    bench = Bench()
    failing(monkeypatch, bench.decider, "decide")
    failing_ones = [rename(bench, f"Defect {n}") for n in range(9)]
    records = [register(bench), *failing_ones[:4], rename(bench, "Bea"), *failing_ones[4:]]
    records = [record._replace(offset=offset) for offset, record in enumerate(records)]
    batch = Batch(bench.decider, bench.working_set, Written(), PLACE, LIMITS, NOW, 0)
    with pytest.raises(StoppedError, match=r"commands\.person-0 offset 10: .* ZeroDivisionError at tests?.*:[0-9]+"):
        batch.decide(records)
    assert (batch.next_offset, batch.decided, batch.tally.events) == (10, 10, 2)
    assert batch.tally.dead_letters == {"internal_error": 8}


def test_a_batch_ends_when_its_time_is_over_and_large_commands_are_looked_at_one_by_one():
    bench = Bench()
    large = [rename(bench, "Bea", actor="a", causation_id="x" * 200) for _ in range(2 * PLAN_COMMANDS)]
    batch = Batch(bench.decider, bench.working_set, Written(), PLACE, LIMITS, NOW, 0)
    batch.decide(large, lambda: True)
    assert 0 < batch.decided <= PLAN_COMMANDS
    assert batch.next_offset == batch.decided
    huge = [bench.raw(b"p-1", b"x" * 100_000) for _ in range(3)]
    batch = Batch(bench.decider, bench.working_set, Written(), PLACE, LIMITS, NOW, 0)
    batch.decide(huge, lambda: True)
    assert batch.decided == 1


def test_a_snapshot_is_written_each_time_the_version_passes_a_multiple():
    bench = Bench(limits=Limits(1_000_000, 4 << 20, 0, 10))
    written = bench.decide(register(bench), *(rename(bench, f"Ada {n}") for n in range(24)))
    snapshots = [decode_snapshot(value) for _, value in written.snapshots]
    assert [snapshot.version for snapshot in snapshots] == [10, 20]
    assert [(each.offset, each.recorded_at) for each in snapshots] == [
        (number, read_block("person", written.events[number][1])["recorded_at"]) for number in (9, 19)
    ]
    tenth = snapshots[0]
    assert tenth.head == cid_of(written.events[9][1])
    assert bench.decider.decode_state(tenth.state).name == "Ada 8"


def test_a_snapshot_names_the_time_behind_which_its_chain_must_not_go_back_and_its_offset():
    bench = Bench(limits=Limits(1_000_000, 4 << 20, 0, 2))
    bench.decide(register(bench))  # offset 0, its marker 1
    written = bench.decide(register(bench, "p-2"), rename(bench, "Bea"), now=NOW - timedelta(hours=1))
    (snapshot,) = [decode_snapshot(value) for _, value in written.snapshots]
    assert (snapshot.recorded_at, snapshot.offset) == ("2026-11-21T09:30:00.000000Z", 3)


def test_a_snapshot_that_is_too_large_is_left_out_and_named():
    bench = Bench(limits=Limits(1_000_000, 4 << 20, 0, 1))
    written = bench.decide(register(bench))
    assert (len(written.snapshots), written.tally.oversized) == (1, [])
    large = Written()
    large.snapshot_limit = 0
    batch = Batch(bench.decider, bench.working_set, large, PLACE, bench.limits, NOW, bench.end)
    batch.decide([rename(bench, "Bea"), register(bench, "p-2")])
    assert (large.snapshots, batch.tally.oversized) == ([], ["p-1", "p-2"])
    assert len(large.outcomes) == 2


def test_only_events_have_a_time_that_is_ours():
    partitions = 4
    home = partition_of(b"p-1", partitions)
    elsewhere = next(f"p-{n}" for n in range(9) if partition_of(f"p-{n}".encode(), partitions) != home)
    place = ShardId("person", "commands.person", home, partitions)
    bench = Bench(place, Limits(1_000_000, 4 << 20, 0, 1))
    written = bench.decide(register(bench), register(bench, elsewhere), bench.raw(b"p-1", b"no command"))
    assert [len(each) for each in (written.outcomes, written.snapshots, written.forwards, written.dead)] == [1] * 4
    assert written.other_times == {-1}
    assert {timestamp_ms for _, _, timestamp_ms in written.events} == {int(NOW.timestamp() * 1000)}
