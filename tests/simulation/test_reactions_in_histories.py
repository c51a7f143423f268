"""Reactions in histories: whatever becomes of workers, clocks and rows, one command for each event and timer."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import reacting_measures
from reached import reached

from annals.agents.reacting.reactor import Reactor
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import REACTING_FAULTS, plan_of
from annals.workers.tools.simulation.world import World

OF_REACTIONS = ("reacted", "reactor", "timer", "not reacted")
PLANS = {seed: plan for seed in range(1_000) if (plan := plan_of(seed)).has_reactions}
SEEDS = list(PLANS)
# Where a history is known to fail, by measure: tried first. After a change it may be elsewhere, and is searched for.
KNOWN = {"version_in_progress": 42, "quiet_fold": 42, "lost_end_of_quiet": 455, "uncertain_read_again": 85}


def test_histories_have_reactions_and_all_that_can_become_of_them() -> None:
    wanted = {"commands of a reaction": 1_000, "timers fired": 300, "reactor stopped": 5}
    wanted |= dict.fromkeys(REACTING_FAULTS, 5)
    reached(PLANS.values(), wanted, at_least=30)


def test_a_failure_of_a_reactor_that_no_fault_explains_is_a_problem_though_it_would_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, failed = Reactor._step, []

    async def fail_once(self: Any, *asked: Any) -> Any:
        if not failed:
            failed.append(self)
            raise LookupError("a fault of the program")
        return await step(self, *asked)

    monkeypatch.setattr(Reactor, "_step", fail_once)
    problems = run(PLANS[SEEDS[0]]).problems
    assert any(each.startswith("reactor failed: ") and "a fault of the program" in each for each in problems)


def test_what_timers_send_while_others_are_waited_for_is_answered() -> None:
    """A standby takes up to 200 s to look again, and clocks had stepped back."""
    assert run(plan_of(40_463)).problems == []


@pytest.mark.parametrize("seed", [41_461, 41_650], ids=["one_clock_is_behind", "one_is_an_hour_ahead"])
def test_a_timer_that_is_set_again_for_the_same_time_sends_a_command_of_its_own(seed: int) -> None:
    assert run(plan_of(seed)).problems == []


@pytest.mark.parametrize("seed", [455, 41_294, 41_547])
def test_an_event_that_takes_a_lost_offset_is_no_older_than_the_resumption(seed: int) -> None:
    """In 455 its reactor sees the end; in 41294 none does; in 41547 it was behind that offset."""
    assert run(plan_of(seed)).problems == []


@pytest.fixture
def world() -> Iterator[World]:
    """A world in which nothing has happened."""
    made = World(PLANS[SEEDS[0]])
    yield made
    made.loop.close()


@pytest.mark.parametrize("topic", ["progress", "timers.reminders", "commands.gauge"])
def test_a_stop_is_right_where_it_names_a_partition_that_lost_something(world: World, topic: str) -> None:
    world.publishing.will_cut((topic, 1))
    process: Any = SimpleNamespace(number=1, readers=SimpleNamespace(stopped=dict, reactors=SimpleNamespace(version=1)))
    for number in (0, 1):
        reason = f"{topic}-{number} ends at offset 3, and it reached 7 before"
        world.reacting.told(process, ("counter", number), "stopped", reason)
    said = [f"{topic}-{number} " in "".join(world.problems) for number in (0, 1)]
    assert said == [True, topic == "commands.gauge"]


def test_a_stop_for_a_newer_version_is_right_where_there_is_one(world: World) -> None:
    process: Any = SimpleNamespace(number=1, readers=SimpleNamespace(stopped=dict, reactors=SimpleNamespace(version=1)))
    for _ in range(2):
        world.reacting.told(process, ("counter", 0), "stopped", "was run in version 2, …: run the newer release, …")
        world.controls.release += 1
    assert len(world.problems) == 1


@pytest.mark.untraced
@pytest.mark.parametrize("take_out", reacting_measures.MEASURES, ids=lambda measure: measure.__name__)
def test_without_a_measure_of_reactors_a_history_fails(
    take_out: reacting_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    seeds = sorted(SEEDS, key=lambda seed: seed != KNOWN.get(take_out.__name__))
    found = (problem for seed in seeds for problem in run(PLANS[seed]).problems)
    assert any(problem.startswith(OF_REACTIONS) for problem in found)
