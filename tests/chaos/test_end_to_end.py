"""Commands in, chained events out, by a real worker on a real broker; killed in the middle, and nothing lost."""

from itertools import islice

import pytest
from chaos_commands import mix, persons
from chaos_scenario import Scenario, assert_clean

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def test_every_kind_of_command_is_decided_once_and_answered(scenario: Scenario) -> None:
    scenario.start().until_ready()
    scenario.send(islice(mix(seed=1, partitions=2), 2_000))
    report = scenario.until_answered()
    assert_clean(report)
    assert {"accepted", "rejected", "duplicate"} <= set(report.statuses)
    assert report.events > 500


def test_a_worker_killed_in_mid_flight_loses_and_doubles_nothing(scenario: Scenario) -> None:
    worker = scenario.start().until_ready()
    scenario.send(persons(200, 1))
    scenario.until_answered()
    scenario.sender.send(islice(mix(seed=2, partitions=2), 3_000))
    worker.kill()
    scenario.sender.flush()
    scenario.start().until_ready()
    assert_clean(scenario.until_answered())
