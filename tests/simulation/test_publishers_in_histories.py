"""Publishers in histories: whatever becomes of workers, journals and topics, subscribers get each event once."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import publishing_measures
import pytest
from reached import reached

from annals.agents.publishing import step
from annals.agents.publishing.catch_up import CatchUp
from annals.agents.publishing.publisher import Publisher
from annals.workers.tools.simulation.history import run
from annals.workers.tools.simulation.plan import (
    AGGREGATES,
    CHANGING_FAULTS,
    PUBLISHING_FAULTS,
    Weather,
    home_of,
    plan_of,
)
from annals.workers.tools.simulation.publishing_judge import MOST_REMEDIES, Published, without_replays
from annals.workers.tools.simulation.subscribers import ANSWERS
from annals.workers.tools.simulation.world import World

OF_PUBLISHERS = (
    "published",
    "publisher stopped",
    "not published",
    "subscription stopped",
    "overtaken",
    "not acknowledged",
)
PLANS = {seed: plan for seed in range(1_000) if (plan := plan_of(seed)).has_publishers}
SEEDS = list(PLANS)
WITH_ANSWERS = [seed for seed, plan in PLANS.items() if plan.has_answers]
KEYS = [f"a{number}".encode() for number in range(AGGREGATES)]
OTHERS = {key: next(each for each in KEYS if each != key and home_of(each) == home_of(key)) for key in KEYS}
# Where a history is known to fail, by measure: tried first. After a change it may be elsewhere, and is searched for.
KNOWN = {
    "fence_before_progress": 242,
    "event_of_the_progress": 108,
    "uncertain_read_again": 47,
    "progress_with_the_records": 47,
    "settled_progress": 166,
    "reached_progress": 69,
    "order_of_an_aggregate": 15,
    "rows_with_the_progress": 177,
}


def test_histories_have_publishers_and_all_that_can_become_of_them() -> None:
    wanted = {"published": 3_000, "publisher stopped": 20, "publisher fenced": 5, "publisher uncertain": 50}
    wanted |= dict.fromkeys(PUBLISHING_FAULTS, 5) | {"subscription stopped": 0}
    reached(PLANS.values(), wanted, at_least=30)


def test_histories_have_subscribers_that_answer_in_every_way() -> None:
    wanted = {f"answer: {answer}": 10 for answer in ANSWERS}
    wanted |= {"answered: taken": 1_000, "answered: other_attempt": 2, "answered: not_outstanding": 20}
    wanted |= {"redelivered": 50}
    histories = reached((PLANS[seed] for seed in WITH_ANSWERS), wanted, at_least=25)
    assert sum(history.counts["parked"] for history in histories if not history.plan.has_parking) == 0


def test_histories_change_and_delete_subscriptions() -> None:
    """In 432 the first publisher of a journal opens while a subscription comes to want its kind."""
    changing = [seed for seed, plan in PLANS.items() if {each.what for each in plan.faults} & {*CHANGING_FAULTS}]
    reached((PLANS[seed] for seed in (432, *changing)), dict.fromkeys(CHANGING_FAULTS, 0), at_least=5)


@pytest.mark.parametrize("seed", [40_467, 41_532], ids=["delivered_what_a_journal_lost", "told_to_go_on"])
def test_histories_that_failed_once_come_out_right(seed: int) -> None:
    """As they were found, before subscriptions were changed. bench/SIMULATION.md says what happened in them."""
    plan = plan_of(seed)
    others = tuple(each for each in plan.faults if each.what not in CHANGING_FAULTS)
    assert run(plan._replace(faults=others)).problems == []


@pytest.mark.parametrize(
    ("has", "most", "left"),
    [
        ("abc", 0, "abc"),
        ("abcbcd", 1, "abcd"),
        ("abcbc", 1, "abc"),
        ("abcabcdcd", 2, "abcd"),
        ("abcb", 1, "abc"),
        ("abcabcdcd", 1, "abcabcdcd"),  # more often than somebody had it do so
        ("abcabcd", 0, "abcabcd"),
        ("abcbd", 1, "abcbd"),  # passes over what it had begun to publish again
        ("abcac", 1, "abcac"),
        ("abbc", 0, "abbc"),
    ],
)
def test_what_comes_again_is_right_as_often_as_somebody_had_it_do_so_and_without_a_gap(
    has: str, most: int, left: str
) -> None:
    records = [Published(each, ("type", 1, each, b"", b"")) for each in has]
    assert "".join(each.cid for each in without_replays(records, most)) == left


@pytest.mark.parametrize(("of", "name"), [(Publisher, "_step"), (CatchUp, "_step")])
def test_a_failure_of_a_publisher_that_no_fault_explains_is_a_problem_though_it_would_try_again(
    of: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = getattr(of, name), []

    async def fail_once(self: Any, *asked: Any) -> Any:
        if not failed:
            failed.append(self)
            raise LookupError("a fault of the program")
        return await whole(self, *asked)

    monkeypatch.setattr(of, name, fail_once)
    problems = run(plan_of(SEEDS[0])).problems
    assert any(each.startswith("publisher failed: ") and "a fault of the program" in each for each in problems)


@pytest.fixture
def world() -> Iterator[World]:
    """A world in which nothing has happened, but that somebody has subscribed."""
    made = World(plan_of(SEEDS[0]))
    made.subscriptions.put("all")
    yield made
    made.loop.close()


@pytest.mark.parametrize(("cut", "right"), [("subscribers.all", 1), ("progress", 1), ("events.counter", None)])
def test_a_pause_is_right_where_it_names_a_partition_that_lost_something(
    world: World, cut: str, right: int | None
) -> None:
    world.publishing.will_cut((cut, 1))
    for number in (0, 1):
        reason = f"{cut}-{number} ends at offset 3, and it reached 7 before"
        world.publishing.told_of_a_pause("all", f"counter-{number}", reason)
    assert [f"{cut}-{number} " in "".join(world.problems) for number in (0, 1)] == [right != 0, right != 1]


def test_a_subscription_that_stays_paused_is_missed_for_good(world: World) -> None:
    world.subscriptions.turn("all", is_active=False)
    world.publishing._remedies["all"] = MOST_REMEDIES
    assert "all is paused" in world.publishing.behind()


@pytest.mark.parametrize("noted", ["cut", "given_up", "perhaps_cut", "shortened"])
def test_a_publisher_that_missed_events_is_right_where_some_may_be_gone(world: World, noted: str) -> None:
    key, marks = ("counter", 0), getattr(world, noted)
    marks.update({key: 3} if isinstance(marks, dict) else {key})
    process: Any = SimpleNamespace(number=1, readers=SimpleNamespace(stopped=dict))
    world.publishing.told(process, key, f"counter-0: published up to offset 5, and the journal ends at 3 {noted}")
    assert bool(world.problems) is (noted == "shortened")


def test_a_record_under_another_key_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one of the same partition: nothing else tells."""
    made = step.select_in_turns

    async def rekeyed(*asked: Any) -> Any:
        selected = await made(*asked)
        for outgoing in selected.records.values():
            outgoing[:] = [each._replace(key=OTHERS[each.key]) for each in outgoing]
        return selected

    monkeypatch.setattr(step, "select_in_turns", rekeyed)
    plan = plan_of(SEEDS[0])._replace(faults=(), weather=Weather())
    assert any(problem.startswith("published wrong") for problem in run(plan).problems)


@pytest.mark.untraced
@pytest.mark.parametrize(
    "take_out", publishing_measures.MEASURES + publishing_measures.OF_DELIVERY, ids=lambda measure: measure.__name__
)
def test_without_a_measure_of_publishers_a_history_fails(
    take_out: publishing_measures.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    is_of_delivery = take_out in publishing_measures.OF_DELIVERY
    among = WITH_ANSWERS if is_of_delivery else SEEDS
    seeds = sorted(among, key=lambda seed: seed != KNOWN[take_out.__name__])
    parked = {seed: is_of_delivery and PLANS[seed].has_parking for seed in seeds}  # only who answers parks
    plans = (PLANS[seed]._replace(has_answers=is_of_delivery, has_parking=parked[seed]) for seed in seeds)
    found = (problem for plan in plans for problem in run(plan).problems)
    assert any(problem.startswith(OF_PUBLISHERS) for problem in found)
