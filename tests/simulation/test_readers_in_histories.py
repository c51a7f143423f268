"""Reading shards in histories: whatever becomes of their disks and of the journals, they have what counts."""

from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import reading_measures
from libipld import encode_dag_cbor
from reached import reached

from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.following.shard import Shard
from annals.topics.group_metadata import NOTHING_KNOWN
from annals.workers.reading.watch import ReadingWatch
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.judged_records import MEMBERS, journal_cids
from annals.workers.tools.simulation.plan import AGGREGATES, READING_FAULTS, Fault, Weather, home_of, plan_of
from annals.workers.tools.simulation.reading_disks import DiskRows
from annals.workers.tools.simulation.reading_faults import CARRIED_OUT, NOTED
from annals.workers.tools.simulation.reading_judge import rows_of
from annals.workers.tools.simulation.world import World

OF_READERS = ("reader stopped", "read on", "read wrong", "read anew", "not read")
SEEDS = [seed for seed in range(500) if plan_of(seed).has_readers]


def test_histories_have_readers_and_all_that_can_become_of_them() -> None:
    wanted = {CARRIED_OUT.format(name): 2 for name in READING_FAULTS}
    wanted |= {"reader stopped": 10, "reading store damaged": 1}
    reached(map(plan_of, SEEDS), wanted, at_least=40)


def test_an_end_that_somebody_hides_from_a_reader_is_missed_though_no_record_comes_behind_it() -> None:
    hidden = (history for seed in SEEDS if (history := run(plan_of(seed))).counts[NOTED])
    assert [history.problems for history in islice(hidden, 2)] == [[], []]


@pytest.mark.parametrize(("commands", "times"), [(0, 0), (400, 1)])
def test_a_write_that_a_disk_is_to_refuse_counts_where_it_is_refused(commands: int, times: int) -> None:
    plan, fault = plan_of(SEEDS[0]), Fault(1.0, "rows_refused", 0, 0.0)
    history = run(plan._replace(commands=plan.commands[:commands], faults=(fault,), weather=Weather()))
    assert (history.problems, history.counts[CARRIED_OUT.format("rows_refused")]) == ([], times)


def test_no_journal_is_lost_behind_the_last_fault() -> None:
    plan = reading_measures.forced(("journal_lost_at_opening",))
    plan = plan._replace(faults=(plan.faults[0]._replace(at=plan.commands[-1].at + 1.0),))
    history = run(plan)
    assert (history.problems, history.counts["journal_lost_at_opening"]) == ([], 1)
    assert history.counts[CARRIED_OUT.format("journal_lost_at_opening")] == 0


@pytest.mark.parametrize(("lost_at", "is_wrong"), [(None, True), (4.0, True), (6.0, False)])
def test_rows_that_alone_tell_of_a_loss_may_go_where_the_offset_was_lost_behind_the_opening(
    lost_at: float | None, *, is_wrong: bool
) -> None:
    world, kind = World(plan_of(SEEDS[0])), "counter"
    of_one = [name for name in (f"a{number}" for number in range(AGGREGATES)) if home_of(name.encode()) == 0]
    for name in of_one[:2]:
        block = {"kind": kind, "aggregate_id": name, "version": 1, "type": "CounterOpened", "data": {"name": "n"}}
        block["command_id"] = name
        world.append(world.names.events(kind), 0, name.encode(), encode_dag_cbor(dict.fromkeys(MEMBERS) | block))
    store = DiskRows((kind, 0), rows_of(world.all_logs(), kind, 0))
    there = journal_cids(world.all_logs(), kind, 0)
    world.model.logs[world.names.events(kind), 0].truncate(1)
    world.lost_events = there - journal_cids(world.all_logs(), kind, 0)
    world.lost_offsets |= {} if lost_at is None else {(kind, 0): lost_at}
    here = {(kind, 0): SimpleNamespace(shard=SimpleNamespace(opened_at=5.0, said=NOTHING_KNOWN))}
    process: Any = SimpleNamespace(number=1, readers=SimpleNamespace(here=here))
    world.reading.begun_anew(process, (kind, 0), store)
    world.loop.close()
    assert (len(there), len(world.lost_events), bool(world.problems)) == (2, 1, is_wrong)


@pytest.mark.parametrize(("of", "name"), [(ReadingFold, "apply"), (Shard, "run"), (ReadingWatch, "run")])
def test_a_failure_that_no_fault_explains_is_a_problem_whoever_would_try_again_or_be_missing(
    of: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = getattr(of, name), []

    def fail_once(self: Any, *asked: Any) -> Any:
        if failed:
            return whole(self, *asked)
        failed.append(self)
        raise LookupError("a fault of the program")

    async def fail_once_as_a_task(self: Any) -> None:
        await fail_once(self)

    monkeypatch.setattr(of, name, fail_once_as_a_task if name == "run" else fail_once)
    problems = run(plan_of(SEEDS[0])).problems
    assert any("failed: " in each and "a fault of the program" in each for each in problems)


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", reading_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_readers_a_history_fails(
    take_out: reading_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    found = (problem for seed in SEEDS for problem in run(plan_of(seed)).problems)
    assert any(problem.startswith(OF_READERS) for problem in found)


@pytest.mark.parametrize("take_out", reading_measures.FORCED, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_readers_the_history_fails_that_needs_it(take_out: reading_measures.Patch) -> None:
    plan = reading_measures.forced(reading_measures.FORCED[take_out])
    assert run(plan).problems == []
    with pytest.MonkeyPatch.context() as patch:
        take_out(patch)
        assert any(problem.startswith(OF_READERS) for problem in run(plan).problems)
