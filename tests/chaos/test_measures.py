"""Each safety measure has a scenario that is harmless with it and harmful without it.

The scenario runs twice, as it is and with the one measure taken out of the worker (chaos_measures.py): the first must
be clean, in the second the checker must find the harm that the measure is there to prevent.
"""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chaos_checker import Report
from chaos_commands import Ask, persons, register, rename
from chaos_journal import block, command_value, write
from chaos_measures import MEASURES, WITH_A_KILLED_BROKER
from chaos_proxy import END_TXN, Lie, Proxy
from chaos_records import home_of
from chaos_scenario import LASTS_MS, Scenario, delete_before
from chaos_workers import WITHIN_S, eventually

from annals.agents.ports import Changes, Position, Stored
from annals.workers.kafka.protocol.transactions_v2 import IMPLICIT_FROM
from annals.workers.stores.rocks import RocksStore, StoreBudget

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PARTITIONS = 2
EVERYTHING = -1  # as an offset to delete before: the end of the partition
UNANSWERED_AFTER_S = 8.0  # by then it is over four times with the measure
Without = dict[str, Any]


def keys_of(partition: int, count: int) -> list[int]:
    """Numbers of persons that live in a partition."""
    return [number for number in range(1000) if home_of(f"p-{number}".encode(), PARTITIONS) == partition][:count]


def heads(scenario: Scenario) -> dict[str, tuple[int, str]]:
    """Version and head of each person, as the newest outcomes say."""
    import json

    found = {}
    for _, outcomes in scenario.read().of("outcomes", "person"):
        for record in outcomes:
            said = json.loads(record.value or b"")
            if said["head"]:
                found[said["aggregate_id"]] = said["version"], said["head"]
    return found


# --- The scenarios: each leaves a report --------------------------------------------------------------------------


def two_owners(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A zombie with a batch of refusals in hand comes back when another worker has answered them."""
    freeze = {"faults": [{"point": "before send", "action": "stop"}]}
    frozen = scenario.start("first", plan | freeze).until_ready()
    scenario.send(rename(number, 0) for number in range(20))
    frozen.until_stopped()
    scenario.start("second", plan).until_ready()
    scenario.until_answered()
    frozen.signal(signal.SIGCONT).until_ready()
    scenario.send(rename(number, 1) for number in range(20))
    return scenario.until_answered()


def foreign_store(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A store that is no fold of this journal: restored from somewhere else, or written by a defect."""
    scenario.start().until_ready()
    scenario.send(persons(6, 2))
    scenario.until_answered()
    scenario.workers[0].end()
    for partition in range(PARTITIONS):
        _falsify(scenario.data_dir("a") / f"{scenario.prefix}annals" / "person" / str(partition))
    scenario.start(plan=plan).until_ready()
    scenario.send(rename(number, 3) for number in range(6))
    return scenario.until_answered()


def _falsify(folder: Path) -> None:
    store = RocksStore(folder, StoreBudget(1 << 20, 1 << 20).options("lz4"))
    offset, last_offset, _ = store.position()
    wrong = b"\x01\x71\x1e\x20" + bytes(32)
    known = {key: store.aggregate(key) for key in (f"p-{number}".encode() for number in range(6))}
    changed = {key: Stored(1, wrong, of.recorded_at, of.state) for key, of in known.items() if of is not None}
    store.apply(Changes(changed, {}, {}, Position(offset, last_offset, wrong)))
    store.close()


def restart_after_what_has_no_outcome(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """Dead letters leave no outcome: once they are deleted themselves, only the offset says that they are done."""
    scenario.start(plan=plan).until_ready()
    moved = keys_of(1, 5)
    bad = [Ask("person", b"p-1", b"no JSON", partition=0)] * 5
    # behind what was forwarded: of that, the copies tell
    scenario.send([*(rename(number, 0, partition=0) for number in moved), *bad])
    scenario.until_answered()
    scenario.workers[0].end()
    delete_before(scenario, f"{scenario.prefix}dead-letters", EVERYTHING)  # by retention, or an administrator
    scenario.start(plan=plan).until_ready()
    scenario.send(rename(number, 1) for number in [*keys_of(0, 3), *keys_of(1, 3)])
    return scenario.until_answered()


def sent_again(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A producer that does not know sends its command again."""
    scenario.start(plan=plan).until_ready()
    asks = [register(1), rename(1, 1), rename(1, 2)]
    scenario.send(asks)
    scenario.until_answered()
    scenario.send(asks[1:])
    return scenario.until_answered()


def misplaced(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A producer partitions differently than Java does."""
    scenario.start(plan=plan).until_ready()
    asks = persons(10, 2)
    scenario.send(Ask(ask.kind, ask.key, ask.value, partition=number % 2) for number, ask in enumerate(asks))
    return scenario.until_answered()


def losers_event(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A second writer has got an event into the journal that the chain had passed already."""
    scenario.start().until_ready()
    scenario.send(persons(4, 1))
    scenario.until_answered()
    scenario.workers[0].end()
    write(scenario.bootstrap, scenario.prefix, [("p-1", block("p-1", 1, None, "loser", "Loser"))], PARTITIONS)
    scenario.start(plan=plan).until_ready()
    scenario.send(rename(number, 3) for number in range(4))
    return scenario.until_answered()


def aborted_by_its_producer(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A producer sends commands in a transaction, and aborts it."""
    worker = scenario.start(plan=plan).until_ready()
    scenario.send(persons(4, 1))
    scenario.until_answered()
    producer = scenario.outsider()
    for number in range(4):
        producer.produce(
            f"{scenario.prefix}commands.person",
            key=f"p-{number}".encode(),
            value=command_value(f"aborted-{number}", f"p-{number}", "Never"),
            partition=home_of(f"p-{number}".encode(), PARTITIONS),
        )
    assert producer.flush(30) == 0
    # the worker sees it, or it sees that there is something which it may not read yet
    eventually(
        lambda: (
            worker.metric("annals_commands_total", kind="person") > 8
            or worker.metric("annals_commands_blocked_seconds", kind="person") > 0
        ),
        "the worker has met the open transaction",
    )
    producer.abort_transaction(30)
    # else what is sent now may not be in the log yet when everything in the log is answered
    eventually(lambda: not scenario.read().has_open_transactions("commands.person"), "the abort's markers are written")
    scenario.send(rename(number, 5) for number in range(4))
    return scenario.until_answered()


def refused_in_mid_transaction(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """The broker refuses the events of a transaction, and takes the rest of it."""
    worker = scenario.start(plan=plan).until_ready()
    scenario.send(persons(4, 1))
    scenario.until_answered()
    scenario.limit_events(200)
    scenario.send(rename(number, 5) for number in range(4))
    eventually(
        lambda: worker.metric("annals_transactions_uncertain_total", kind="person") or scenario.answered(),
        "the worker has met the refusal",
    )
    scenario.limit_events(4_194_304)
    return scenario.until_answered()


def answer_of_the_commit_lost(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """The connection breaks between a commit and its answer."""
    scenario.start(plan=plan, BOOTSTRAP_SERVERS=proxy.bootstrap).until_ready()
    scenario.send(persons(4, 1))
    scenario.until_answered()
    before = len(proxy.sent_again)
    lie = proxy.tell(Lie(END_TXN, "answer", "cut"))
    scenario.send(rename(number, 5) for number in keys_of(0, 4))
    lie.until_told()
    # what was committed is answered at once: only who decides the next ones is done with that transaction
    scenario.send(rename(number, 6) for number in keys_of(0, 4))
    report = scenario.until_answered()
    # the second one may end another transaction than the one that is meant
    report.torn += [f"{end} was sent again" for end in proxy.sent_again[before:]]
    return report


def another_writer(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """Somebody else appends to a chain while its shard is open."""
    scenario.start(plan=plan).until_ready()
    scenario.send([register(1), rename(1, 1)])
    scenario.until_answered()
    version, head = heads(scenario)["p-1"]
    theirs = block("p-1", version + 1, head, "theirs", "Theirs")
    write(scenario.bootstrap, scenario.prefix, [("p-1", theirs)], PARTITIONS)
    scenario.send([rename(1, 2), rename(1, 3)])
    return scenario.until_answered()


def commit_never_arrived(scenario: Scenario, plan: Without, proxy: Proxy) -> Report:
    """A commit is lost on its way: the transaction is open, and only another producer can end it soon."""
    # without the measure the broker would end the transaction itself, as it does for a worker that died
    plan = plan and plan | {"transaction_timeout_ms": LASTS_MS}
    scenario.start(plan=plan, BOOTSTRAP_SERVERS=proxy.bootstrap).until_ready()
    scenario.send(persons(4, 1))
    scenario.until_answered()
    lie = proxy.tell(Lie(END_TXN, "request", "cut"))
    scenario.send(rename(number, 5) for number in range(4))
    lie.until_told()
    try:
        return scenario.until_answered(UNANSWERED_AFTER_S if plan else WITHIN_S)
    except AssertionError:
        return scenario.check()


class Case(NamedTuple):
    """A scenario, what it leaves in the report in any case, and what only without the measure."""

    run: Callable[[Scenario, Without, Proxy], Report]
    harm: set[str]
    by_itself: frozenset[str] = frozenset()
    transactions: int = IMPLICIT_FROM


CASES = {
    "fence": Case(two_owners, {"duplicated"}),
    "fold proven": Case(foreign_store, {"void", "lost"}),
    "transactional offset": Case(restart_after_what_has_no_outcome, {"duplicated"}),
    "deduplication": Case(sent_again, {"duplicated", "wrong"}),
    "routing": Case(misplaced, {"foreign"}),
    "reader's rule": Case(losers_event, {"lost"}, frozenset({"void", "forked"})),
    "read_committed": Case(aborted_by_its_producer, {"invented"}),
    "await of every answer": Case(refused_in_mid_transaction, {"lost"}),
    # of version 2 a second one has an epoch that is over, and ends nothing
    "EndTxn sent once": Case(answer_of_the_commit_lost, {"torn"}, transactions=1),
    # the stranger's event counts, and no command explains it: that the journal is written by workers alone is a matter
    # of ACLs, that no answer is lost over it is the measure's
    "contiguous offsets": Case(another_writer, {"lost", "void"}, frozenset({"invented", "wrong"})),
    "new producer after an unknown outcome": Case(commit_never_arrived, {"unanswered"}),
}


def test_a_shard_that_meets_void_events_decides_their_commands_again(people: Scenario, proxy: Proxy) -> None:
    harmed = another_writer(people, {"without": ["contiguous offsets"]}, proxy)
    assert harmed.lost, str(harmed)
    people.workers[-1].end()
    worker = people.start().until_ready()
    eventually(lambda: not people.check().lost, "what was lost is answered again", told=people.told)
    assert worker.metric("annals_void_events_total", kind="person") == len(harmed.void)
    # and only once: the next owner finds it answered
    events = people.check().events
    worker.end()
    people.start().until_ready()
    people.send([rename(1, 7)])
    eventually(people.answered, "it goes on", told=people.told)
    report = people.check()
    assert (report.events, report.lost, report.torn) == (events + 1, [], []), str(report)


EACH = pytest.mark.parametrize(
    ("transactions", "measure"),
    [(case.transactions, measure) for measure, case in CASES.items()],
    indirect=["transactions"],
)


def test_every_measure_has_its_scenario() -> None:
    assert CASES.keys() | WITH_A_KILLED_BROKER == MEASURES.keys()


@EACH
def test_with_the_measure_the_scenario_is_harmless(people: Scenario, proxy: Proxy, measure: str) -> None:
    case = CASES[measure]
    report = case.run(people, {}, proxy)
    assert report.found() == case.by_itself, str(report)


@EACH
def test_without_the_measure_the_checker_finds_the_harm(people: Scenario, proxy: Proxy, measure: str) -> None:
    case = CASES[measure]
    report = case.run(people, {"without": [measure]}, proxy)
    assert report.found() >= case.harm, str(report)
