"""Publishers are killed, frozen and replaced while commands arrive; subscribers have each event once and in order."""

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from chaos_chain import Event, cid_of, read
from chaos_commands import persons, rename
from chaos_journal import block
from chaos_publishing import service_of, subscribe
from chaos_records import Record, home_of
from chaos_scenario import Scenario, assert_clean
from chaos_subscriber import Subscribers, check_subscriber, counted
from chaos_workers import Worker, eventually

PEOPLE = 20
SESSION_MS = 3_000
CLEAN = dict.fromkeys(("lost", "doubled", "disordered", "invented", "wrong"), 0)


class Newsroom:
    """Workers of all roles, subscriptions, and what subscribers have got."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.turn = 0
        self._service = service_of(scenario, partitions=2)
        self.topics = Subscribers(scenario.bootstrap, scenario.prefix, ())

    def start(self, name: str) -> Worker:
        plan = {"session_ms": SESSION_MS, "reads": True}
        return self.scenario.start(name, plan, ROLES="write,read", API_PORT="0")

    async def subscribe(self, *names: str) -> None:
        for name in names:
            await subscribe(self._service, name)

    def rename_all(self, times: int = 1) -> None:
        """Have every person renamed some times, without waiting for it."""
        for _ in range(times):
            self.turn += 1
            self.scenario.sender.send(rename(number, self.turn) for number in range(PEOPLE))

    def until_got(self, name: str, count: int) -> None:
        told = self.scenario.told
        eventually(lambda: self.topics.read().has(name) >= count, f"{name} has {count}", told=told)


def child_of(worker: Worker) -> psutil.Process:
    """The process that reads."""
    (child,) = eventually(psutil.Process(worker.process.pid).children, "the reading process is there", told=worker.told)
    return child


@pytest.fixture
def newsroom(people: Scenario) -> Iterator[Newsroom]:
    made = Newsroom(people)
    yield made
    made.topics.close()


@pytest.mark.broker
@pytest.mark.chaos
async def test_each_event_comes_once_and_in_order_whatever_befalls_its_publishers(newsroom: Newsroom) -> None:
    scenario = newsroom.scenario
    workers = [newsroom.start(name) for name in ("a", "b", "c")]
    for worker in workers:
        worker.until_ready()
    scenario.send(persons(PEOPLE, 0))
    await newsroom.subscribe("early")
    newsroom.topics.subscribe("early")
    newsroom.until_got("early", PEOPLE)

    child_of(workers[0]).kill()  # its parent starts another one
    newsroom.rename_all(5)
    workers[1].kill()  # and with it its child
    newsroom.rename_all(5)
    await newsroom.subscribe("late")  # catches up meanwhile
    workers[1] = newsroom.start("b").until_ready()  # a rebalance
    newsroom.rename_all(5)

    frozen = [child_of(worker) for worker in (workers[0], workers[2])]
    for child in frozen:
        child.send_signal(signal.SIGSTOP)
    newsroom.rename_all(5)
    newsroom.until_got("early", PEOPLE * (1 + newsroom.turn))  # by the one that is left, once their sessions are over
    for child in frozen:
        child.send_signal(signal.SIGCONT)  # and they go on with what they had under way
    newsroom.rename_all(5)
    child_of(workers[1]).kill()
    newsroom.rename_all(1)
    scenario.sender.flush()

    assert_clean(scenario.until_answered())
    chains = counted(scenario.read(), "person")
    count = sum(map(len, chains.values()))
    assert count == PEOPLE * (1 + newsroom.turn)
    newsroom.topics.subscribe("early", "late")
    newsroom.until_got("early", count)
    newsroom.until_got("late", count)
    for name in ("early", "late"):
        report = check_subscriber(chains, newsroom.topics.places(name))
        assert report.counts() == CLEAN, f"{name}: {report}"


def chained(count: int) -> list[Event]:
    """Events of one person."""
    events: list[Event] = []
    home = home_of(b"p-1", 1)
    for version in range(1, count + 1):
        value = block("p-1", version, events[-1].cid if events else None, f"c-{version}", f"Ada {version}")
        event = read("person", home, 1, Record(version, b"p-1", value, {}, 0))
        assert event is not None
        events.append(event)
    return events


def published(events: list[Event]) -> list[Record]:
    return [
        Record(
            offset,
            b"p-1",
            b'{"name": "%b"}' % event.block["data"]["name"].encode(),
            {"ce_id": event.cid.encode(), "ce_sequence": b"%020d" % event.block["version"]}
            | ({"ce_previous": events[offset - 1].cid.encode()} if event.block["version"] > 1 else {}),
            0,
        )
        for offset, event in enumerate(events)
    ]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ([0, 1, 2], {}),
        ([0, 2], {"lost": 1}),
        ([0, 1, 1, 2], {"doubled": 1}),
        ([0, 2, 1], {"disordered": 1}),
        ([0, 1, 2, 3], {"invented": 1}),
    ],
)
def test_the_checker_finds_each_sort_of_damage(order: list[int], found: dict[str, Any]) -> None:
    events = chained(4)
    records = published(events)
    report = check_subscriber({"p-1": events[:3]}, {0: [records[at] for at in order]})
    assert report.counts() == CLEAN | found, str(report)


def test_the_checker_finds_a_record_that_says_something_else() -> None:
    events = chained(2)
    first, second = published(events)
    for wrong in (
        second._replace(value=b'{"name": "Eve"}'),
        second._replace(key=b"p-2"),
        second._replace(headers=second.headers | {"ce_previous": cid_of(b"another").encode()}),
    ):
        assert check_subscriber({"p-1": events}, {0: [first, wrong]}).counts() == CLEAN | {"wrong": 1}
