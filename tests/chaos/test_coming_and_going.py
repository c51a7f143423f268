"""Workers and brokers come and go while commands arrive, and nothing is lost, doubled or forked."""

import signal
from itertools import islice

import pytest
from chaos_commands import mix, persons
from chaos_scenario import Scenario, assert_clean

from annals.workers.tools.broker import Broker

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def test_a_rebalance_storm_loses_and_doubles_nothing(scenario: Scenario) -> None:
    asks = mix(seed=5, partitions=2)
    scenario.start("w0").until_ready()
    for turn, how in enumerate([signal.SIGTERM, signal.SIGKILL, signal.SIGTERM], start=1):
        scenario.sender.send(islice(asks, 400))
        scenario.start(f"w{turn}").until_ready()
        scenario.sender.send(islice(asks, 400))
        scenario.workers[turn - 1].signal(how)
    scenario.sender.flush()
    assert_clean(scenario.until_answered())


def test_a_broker_killed_and_restarted_loses_and_doubles_nothing(scenario: Scenario, chaos_broker: Broker) -> None:
    worker = scenario.start().until_ready()
    asks = mix(seed=6, partitions=2)
    scenario.send(persons(10, 1))
    assert_clean(scenario.until_answered())
    for _ in range(2):
        scenario.sender.send(islice(asks, 400))
        chaos_broker.kill()
        scenario.sender.send(islice(asks, 100))
        chaos_broker.start()
    scenario.sender.flush()
    worker.until_ready()
    assert_clean(scenario.until_answered())
