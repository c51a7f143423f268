"""What a worker keeps beside the journal can be lost, aged or doubled: it changes no answer."""

import json
import shutil
import signal
from collections import defaultdict
from itertools import islice
from typing import Any

import pytest
from chaos_chain import cid_of
from chaos_checker import Report
from chaos_commands import command, mix, persons, rename
from chaos_records import home_of
from chaos_scenario import Scenario, assert_clean
from chaos_sender import Sent
from chaos_workers import eventually
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


def goes_on(scenario: Scenario, turn: int) -> Report:
    """Every shard has something to do, and all that was ever asked is answered once."""
    wagons = [command("wagon", f"w-{n}", f"w-{n}-{turn}", "OpenWagon", {"label": f"{turn}"}) for n in range(8)]
    scenario.send([*(rename(number, turn) for number in range(10)), *wagons])
    return scenario.until_answered()


@pytest.fixture
def begun(scenario: Scenario) -> Scenario:
    """A deployment that has decided a mix, and stands still."""
    scenario.start().until_ready()
    scenario.send([*persons(10, 1), *islice(mix(seed=3, partitions=2), 400)])
    assert_clean(goes_on(scenario, 100))
    assert scenario.workers[-1].end() == 0
    return scenario


def test_a_data_directory_that_is_old_or_gone_changes_no_answer(begun: Scenario) -> None:
    kept, copy = begun.data_dir("a"), begun.folder / "copy"
    shutil.copytree(kept, copy)
    begun.start(INSTANCE_ID="one").until_ready()
    assert_clean(goes_on(begun, 101))
    begun.workers[-1].end()
    shutil.rmtree(kept)
    shutil.copytree(copy, kept)
    begun.start(INSTANCE_ID="one").until_ready()
    assert_clean(goes_on(begun, 102))
    begun.workers[-1].kill()
    shutil.rmtree(kept)
    begun.start(INSTANCE_ID="one").until_ready()
    assert_clean(goes_on(begun, 103))


def test_offsets_that_are_reset_or_deleted_make_no_new_event_and_no_new_outcome(begun: Scenario) -> None:
    group = f"{begun.prefix}annals"
    first = [
        TopicPartition(f"{begun.prefix}commands.{kind}", partition, 0) for kind in begun.kinds for partition in range(2)
    ]
    for future in begun.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, first)]).values():
        future.result(30)
    begun.start().until_ready()
    assert_clean(goes_on(begun, 101))
    begun.workers[-1].end()
    for future in begun.admin.delete_consumer_groups([group]).values():
        future.result(30)
    begun.start().until_ready()
    assert_clean(goes_on(begun, 102))


def stranger_answers(scenario: Scenario, asked: Sent, **said: Any) -> None:
    """Write what could be the outcome of this command, and of none that any worker knows of."""
    body = json.loads(asked.ask.value or b"")
    outcome = {
        "command_id": body["id"],
        "kind": "person",
        "aggregate_id": body["aggregate_id"],
        "status": "accepted",
        "version": 103,
        "head": cid_of(b"an event that nobody has"),
        "events": [],
        "error": None,
    }
    producer = Producer({"bootstrap.servers": scenario.bootstrap, "log_level": 0})
    producer.produce(
        f"{scenario.prefix}outcomes.person",
        key=asked.ask.key,
        value=json.dumps(outcome | said).encode(),
        partition=asked.partition,
        headers=[("command-id", body["id"]), ("command-offset", str(asked.offset)), ("journal-offset", "1000000")],
    )
    assert producer.flush(30) == 0


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "lowered"])
def test_a_strangers_outcome_has_no_command_passed_over(people: Scenario, *, is_deleted: bool) -> None:
    people.start().until_ready()
    people.send(persons(10, 1))
    assert_clean(people.until_answered())
    assert people.workers[-1].end() == 0
    waiting = people.send(rename(number, 101) for number in range(10))
    strangers = {asked.partition: asked for asked in waiting}  # the last of each partition
    for asked in strangers.values():
        stranger_answers(people, asked)
        event = {"version": 103, "type": "PersonRenamed", "cid": cid_of(b"an event that nobody has")}
        stranger_answers(people, asked, events=[event])
        stranger_answers(people, asked, version=0, head=None, status="rejected")
    group = f"{people.prefix}annals"
    if is_deleted:
        people.admin.delete_consumer_groups([group])[group].result(30)
    else:
        low = [TopicPartition(f"{people.prefix}commands.person", partition, 1) for partition in strangers]
        people.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, low)])[group].result(30)
    people.start().until_ready()

    def answers() -> dict[str, list[str]]:
        """What was answered to those that waited, but for what the strangers said."""
        found = defaultdict(list)
        for _, records in people.read().of("outcomes", "person"):
            for record in records:
                if record.headers["journal-offset"] != b"1000000":
                    said = json.loads(record.value or b"")
                    found[said["command_id"]].append(said["status"])
        return found

    asked_for = {json.loads(asked.ask.value or b"")["id"] for asked in waiting}
    eventually(lambda: asked_for <= answers().keys(), "every command is answered", told=people.told)
    assert {tuple(statuses) for statuses in answers().values()} == {("accepted",)}


def true_outcome(scenario: Scenario, asked: Sent) -> None:
    """Write a rejection with the version and head at which the command's aggregate stands: the journal bears it out."""
    name = json.loads(asked.ask.value or b"")["aggregate_id"]
    said = [
        json.loads(record.value or b"")
        for _, records in scenario.read().of("outcomes", "person")
        for record in records
        if record.key == asked.ask.key
    ]
    newest = max(said, key=lambda each: each["version"])
    assert newest["aggregate_id"] == name
    stranger_answers(scenario, asked, status="rejected", version=newest["version"], head=newest["head"])


def genuine(scenario: Scenario) -> dict[str, list[str]]:
    """What was answered to each command, but for what the strangers said."""
    found = defaultdict(list)
    for _, records in scenario.read().of("outcomes", "person"):
        for record in records:
            if record.headers["journal-offset"] != b"1000000":
                said = json.loads(record.value or b"")
                found[said["command_id"]].append(said["status"])
    return found


def test_an_outcome_that_the_journal_bears_out_has_no_command_passed_over(people: Scenario) -> None:
    people.start().until_ready()
    people.send(persons(10, 1))
    assert_clean(people.until_answered())
    assert people.workers[-1].end() == 0
    waiting = people.send(rename(number, turn) for turn in range(101, 111) for number in range(10))
    for asked in {asked.partition: asked for asked in waiting}.values():  # the last of each partition
        true_outcome(people, asked)
    worker = people.start().until_ready()
    asked_for = {json.loads(asked.ask.value or b"")["id"] for asked in waiting}
    eventually(lambda: asked_for <= genuine(people).keys(), "every command is answered", told=people.told)
    assert {tuple(statuses) for statuses in genuine(people).values()} == {("accepted",)}
    assert "outcomes beyond the group's offset" in worker.log.read_text()


def test_a_copy_that_somebody_made_up_has_no_command_passed_over(people: Scenario) -> None:
    people.start().until_ready()
    people.send(persons(10, 1))
    assert_clean(people.until_answered())
    assert people.workers[-1].end() == 0
    here = [number for number in range(10) if home_of(f"p-{number}".encode(), 2) == 0]
    there = next(number for number in range(10) if number not in here)
    waiting = people.send(rename(number, 101, partition=0) for number in here)
    (last,) = people.send([rename(there, 101, partition=0)])
    producer = Producer({"bootstrap.servers": people.bootstrap, "log_level": 0})
    for asked in (waiting[-1], last):  # one that is where it belongs, and one that is not
        producer.produce(
            f"{people.prefix}commands.person",
            key=asked.ask.key,
            value=asked.ask.value,
            partition=1,
            headers=[("origin-partition", "0"), ("origin-offset", str(asked.offset))],
        )
    assert producer.flush(30) == 0
    group = f"{people.prefix}annals"
    people.admin.delete_consumer_groups([group])[group].result(30)
    people.start().until_ready()
    asked_for = {json.loads(asked.ask.value or b"")["id"] for asked in [*waiting, last]}
    eventually(lambda: asked_for <= genuine(people).keys(), "every command is answered", told=people.told)
    assert {tuple(statuses) for statuses in genuine(people).values()} == {("accepted",)}


def test_copies_behind_a_producers_open_transaction_are_made_once(people: Scenario) -> None:
    worker = people.start().until_ready()
    people.send(persons(10, 1))
    assert_clean(people.until_answered())
    outsider = people.outsider()
    here = next(number for number in range(10) if home_of(f"p-{number}".encode(), 2) == 1)
    outsider.produce(f"{people.prefix}commands.person", key=b"p-1", value=b"never committed", partition=1)
    assert outsider.flush(30) == 0
    people.send([rename(here, 101, partition=0)])
    eventually(lambda: worker.metric("annals_commands_forwarded_total", kind="person") == 1, "it is forwarded")
    assert worker.end() == 0
    group = f"{people.prefix}annals"
    people.admin.delete_consumer_groups([group])[group].result(30)
    worker = people.start()
    waits = f"open on {people.prefix}commands.person-1 since offset"
    eventually(lambda: any(waits in reason for reason in worker.reasons()), "it waits", told=worker.told)
    outsider.abort_transaction(30)
    worker.until_ready()
    assert_clean(people.until_answered())
    assert worker.metric("annals_commands_forwarded_total", kind="person") == 0


def test_a_data_directory_has_one_worker_also_while_that_is_frozen(begun: Scenario) -> None:
    first = begun.start().until_ready()
    assert begun.start().until_over() == 2
    assert_clean(goes_on(begun, 101))
    first.signal(signal.SIGSTOP)
    assert begun.start().until_over() == 2
    first.signal(signal.SIGCONT)
    assert_clean(goes_on(begun, 102))
    eventually(first.is_ready, "it goes on", told=begun.told)


def test_of_two_deployments_on_one_journal_one_stops_and_says_so(scenario: Scenario) -> None:
    plan = {"fenced_patience_s": 3.0}
    ours = scenario.start("ours", plan).until_ready()
    scenario.send(persons(10, 1))
    assert_clean(scenario.until_answered())
    theirs = scenario.start("theirs", plan, APP_ID="theirs").until_ready()
    said = "another deployment writes this journal"
    turn = 0

    def one_stopped() -> bool:
        nonlocal turn
        turn += 1
        goes_on(scenario, turn)
        return any(said in reason for worker in (ours, theirs) for reason in worker.reasons())

    eventually(one_stopped, "one of them stops", told=scenario.told)
    assert_clean(goes_on(scenario, 1000))
