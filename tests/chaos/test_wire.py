"""What the network does to a transaction: answers lost, commits lost, delayed or doubled, the brokers out of reach."""

import random
import threading

import pytest
from chaos_commands import persons, rename
from chaos_proxy import ADD_OFFSETS, ADD_PARTITIONS, END_TXN, PRODUCE, TXN_OFFSET_COMMIT, Lie, Proxy
from chaos_records import home_of
from chaos_scenario import Scenario, assert_clean
from chaos_workers import eventually

from annals.workers.kafka.write.transaction import MARKERS_S

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PARTITIONS = 2
HERE = [number for number in range(100) if home_of(f"p-{number}".encode(), PARTITIONS) == 0][:6]

ALWAYS = 60.0
# The version of transactions, how soon behind one the next adds its partitions first, and what it asks for in all.
WAYS = (
    (1, 0.0, (ADD_PARTITIONS, ADD_OFFSETS, PRODUCE, TXN_OFFSET_COMMIT)),
    (2, 0.0, (PRODUCE, TXN_OFFSET_COMMIT)),
    (2, ALWAYS, (ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT)),
)
EACH_WAY = pytest.mark.parametrize(("transactions", "markers_s", "requests"), WAYS, indirect=["transactions"])
EACH_REQUEST = pytest.mark.parametrize(
    ("transactions", "markers_s", "api"),
    [(version, markers_s, api) for version, markers_s, requests in WAYS for api in requests],
    indirect=["transactions"],
)
PACE = threading.Event()  # never set: its wait is the weather's, nothing is synchronised by it


def transactional_id(scenario: Scenario) -> str:
    return f"annals-{scenario.prefix}events.person-0"


@pytest.fixture
def markers_s() -> float:
    return MARKERS_S


@pytest.fixture
def begun(people: Scenario, proxy: Proxy, markers_s: float) -> Scenario:
    """A worker behind the proxy that has committed something."""
    people.start(plan={"markers_s": markers_s}, BOOTSTRAP_SERVERS=proxy.bootstrap).until_ready()
    people.send(persons(20, 1))
    assert_clean(people.until_answered())
    return people


@EACH_WAY
def test_what_the_network_does_to_one_request_loses_and_doubles_nothing(
    begun: Scenario, proxy: Proxy, requests: tuple[int, ...]
) -> None:
    turn = 1
    for api in (*requests, END_TXN):
        for side in ("request", "answer"):
            turn += 1
            lie = proxy.tell(Lie(api, side, "cut"))
            begun.send(rename(number, turn) for number in HERE)
            lie.until_told()
            report = begun.until_answered()
            assert not report.found(), f"the {side} of API {api} was lost\n{report}"


@EACH_REQUEST
def test_a_stray_commit_in_mid_transaction_loses_and_doubles_nothing(begun: Scenario, proxy: Proxy, api: int) -> None:
    # of version 2 it has an epoch that is over, and is refused
    for turn in (2, 3, 4):
        lie = proxy.tell(Lie(api, "answer", "before", then=lambda: proxy.stray(transactional_id(begun))))
        # some that are refused leave no event, and would be lost without a trace
        begun.send(rename(number, turn, expected_version=turn if number % 2 else 1) for number in HERE)
        lie.until_told()
        assert_clean(begun.until_answered())


@EACH_WAY
def test_a_commit_that_arrives_much_later_ends_nothing(
    begun: Scenario, proxy: Proxy, requests: tuple[int, ...]
) -> None:
    late = proxy.tell(Lie(END_TXN, "request", "hold"))
    begun.send(rename(number, 2) for number in HERE)
    late.until_told()
    assert_clean(begun.until_answered())
    meanwhile = proxy.tell(Lie(PRODUCE, "answer", "before", then=late.release))
    begun.send(rename(number, 3) for number in HERE)
    meanwhile.until_told()
    assert_clean(begun.until_answered())


def test_a_broker_out_of_reach_is_named_and_forgotten_when_it_is_back(begun: Scenario, proxy: Proxy) -> None:
    worker = begun.workers[0]
    proxy.go_away()
    eventually(lambda: any(proxy.bootstrap in reason for reason in worker.reasons()), "not ready, naming the broker")
    assert worker.ask("/health/live")[0] == 200
    begun.send(rename(number, 2) for number in range(20))
    proxy.come_back()
    worker.until_ready()
    assert_clean(begun.until_answered())


def test_brokers_that_come_and_go_leave_no_shard_waiting_for_ever(begun: Scenario, proxy: Proxy) -> None:
    draw = random.Random(1)
    for turn in range(12):
        begun.send(rename(number, 2 + turn) for number in range(20))
        proxy.go_away()
        PACE.wait(draw.uniform(0.0, 1.0))
        proxy.come_back()
        PACE.wait(draw.uniform(0.0, 1.5))
    eventually(begun.workers[0].is_ready, "all shards open again", told=begun.told)
    assert_clean(begun.until_answered())


def test_a_worker_ends_in_order_while_the_brokers_are_out_of_reach(begun: Scenario, proxy: Proxy) -> None:
    worker = begun.workers[0]
    proxy.go_away()
    eventually(lambda: any(proxy.bootstrap in reason for reason in worker.reasons()), "not ready, naming the broker")
    assert worker.end() == 0
    waiting = begun.start(BOOTSTRAP_SERVERS=proxy.bootstrap)
    waiting.until_logged("waiting for the brokers")
    assert waiting.end() == 0


def test_a_worker_started_before_its_broker_waits_and_says_so(people: Scenario, proxy: Proxy) -> None:
    proxy.go_away()
    worker = people.start(BOOTSTRAP_SERVERS=proxy.bootstrap)
    worker.until_logged("waiting for the brokers")
    (reason,) = eventually(worker.reasons, "it says why it is not ready")
    assert proxy.bootstrap in reason
    proxy.come_back()
    worker.until_ready()
    people.send(persons(4, 1))
    assert_clean(people.until_answered())
