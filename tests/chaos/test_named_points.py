"""A worker dies or freezes at each named point of the write path, and nothing is lost, doubled or torn."""

import signal

import pytest
from chaos_commands import command, persons, rename
from chaos_launcher import POINTS
from chaos_scenario import Scenario, assert_clean

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def wagons(turn: int) -> list:
    opened = [command("wagon", f"w-{n}", f"open-{n}", "OpenWagon", {"label": "a"}) for n in range(4)]
    return opened + [command("wagon", f"w-{n}", f"load-{n}-{turn}", "LoadCrates", {"count": 5}) for n in range(4)]


def test_a_worker_killed_at_each_named_point_loses_doubles_and_tears_nothing(scenario: Scenario) -> None:
    for turn, point in enumerate(POINTS):
        # the same member each time: a restart need not wait for the session of the one that was killed
        scenario.sender.send([*persons(20, 3, f"p{turn}"), *wagons(turn)])
        scenario.sender.flush()
        worker = scenario.start(plan={"faults": [{"point": point, "action": "kill"}]}, INSTANCE_ID="one")
        assert worker.until_over() == -signal.SIGKILL, point
    scenario.start(INSTANCE_ID="one").until_ready()
    assert_clean(scenario.until_answered())


@pytest.mark.parametrize("point", ["before send", "between send and commit", "between commit and fold"])
def test_a_zombie_with_a_batch_in_hand_is_fenced(scenario: Scenario, point: str) -> None:
    frozen = scenario.start("first", plan={"faults": [{"point": point, "action": "stop"}]}).until_ready()
    scenario.send([*persons(20, 3), *wagons(1)])
    frozen.until_stopped()
    # longer than the session: another worker gets its partitions and answers what the frozen one has in hand
    scenario.start("second").until_ready()
    assert_clean(scenario.until_answered())
    frozen.signal(signal.SIGCONT)
    scenario.send([rename(number, 4) for number in range(20)])
    assert_clean(scenario.until_answered())
    frozen.until_ready()
    scenario.send([rename(number, 5) for number in range(20)])
    assert_clean(scenario.until_answered())


def test_a_store_that_cannot_be_written_to_any_more_is_opened_again(people: Scenario) -> None:
    worker = people.start(plan={"store_breaks_at": 3}).until_ready()
    for turn in range(4):
        people.send(persons(6, 2, f"p{turn}"))
        assert_clean(people.until_answered())
    worker.until_logged("No space left on device")
    worker.until_ready()


def test_a_worker_told_to_stop_ends_what_it_has_in_hand(scenario: Scenario) -> None:
    worker = scenario.start().until_ready()
    scenario.sender.send(persons(100, 20))
    worker.signal(signal.SIGTERM)
    assert worker.until_over() == 0
    scenario.sender.flush()
    scenario.start().until_ready()
    assert_clean(scenario.until_answered())
