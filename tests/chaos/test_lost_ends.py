"""What was acknowledged and is gone is a lost journal: the shard stops before anything hides it, and stays stopped."""

import asyncio
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from chaos_chain import cid_of
from chaos_commands import persons, rename
from chaos_measures import ENDS_LOOKED_AT, LOST_END
from chaos_records import Record
from chaos_scenario import Scenario, assert_clean, cut_under, delete_before
from chaos_sender import Sender
from chaos_workers import Worker, eventually
from confluent_kafka import Producer

from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.tools.broker import Broker
from processes import ENTRY_POINT, own_environment

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

COUNT = 20
LOOKED_AT_S = 2.0


@pytest.fixture
def alone(chaos_broker: Broker, tmp_path: Path) -> Iterator[Scenario]:
    """One partition with 20 persons, registered one by one: the journal ends at 40, with a marker behind each."""
    prefix = f"l{tmp_path.name[-12:].replace('_', '-')}{time.time_ns() % 10**9}."
    with Scenario(chaos_broker.bootstrap, prefix, tmp_path, kinds=("person",)) as made:
        made.make_topics(partitions=1)
        made.start().until_ready()
        made.send_one_by_one(persons(COUNT, 0))
        assert_clean(made.check())
        yield made


def last_of(scenario: Scenario, role: str) -> int:
    return scenario.read().by_place[TopicPartition(f"{role}.person", 0)][-1].offset


def stops(worker: Worker, *words: str) -> str:
    found = worker.until_first_reason("write: person-0 is stopped: ", *words)
    is_closed(worker)
    return found


def is_closed(worker: Worker) -> None:
    """The gauge follows with the next look at the brokers."""
    eventually(lambda: not worker.metric("annals_shard_open", kind="person", partition="0"), "the gauge")


def committed_events(scenario: Scenario) -> int:
    scenario.read_anew()
    return len(scenario.read().by_place[TopicPartition("events.person", 0)])


@pytest.mark.parametrize("burst", [0, 5, 30])
def test_a_journal_that_lost_its_end_under_a_running_worker_stops_for_good(
    alone: Scenario, chaos_broker: Broker, burst: int
) -> None:
    (worker,) = alone.workers
    cut_under(alone, chaos_broker, "events.person", 30)
    if burst:
        alone.send(rename(number % COUNT, number) for number in range(burst))
    stops(worker, "ends at offset 30", "40", "offset 38")
    assert committed_events(alone) == 15
    # the same process, another owner, and one that starts with nothing
    alone.send([rename(1, 99)])
    stops(worker, "offset 38")
    other = alone.start("b")
    worker.end()
    stops(other, "offset 38")
    other.end()
    stops(alone.start("a"), "offset 38")
    assert committed_events(alone) == 15


@pytest.mark.parametrize(("without", "ends"), [([], {30}), ([LOST_END], range(32, 62))])
def test_a_burst_that_meets_the_lost_end_hides_it_by_no_fence(
    alone: Scenario, chaos_broker: Broker, without: list[str], ends: Container[int]
) -> None:
    alone.workers[0].end()
    worker = alone.start("a", {"without": [ENDS_LOOKED_AT, *without]}).until_ready()  # the batch itself must notice it
    cut_under(alone, chaos_broker, "events.person", 30)
    alone.send(rename(number % COUNT, number) for number in range(30))
    reason = stops(worker, "40", "offset 38")
    # without the measure behind what the first batch had, one or all of them, and the marker of the fence
    (end,) = re.findall(r"ends at offset (\d+)", reason)
    assert int(end) in ends, reason


def delete(scenario: Scenario, *roles: str) -> list[str]:
    return scenario.delete_topics(*(f"{role}.person" for role in roles))


def is_gone(worker: Worker, topic: str) -> bool:
    return any("are gone" in reason and topic in reason for reason in worker.reasons())


def series(worker: Worker) -> set[str]:
    text = worker.ask("/metrics")[1]
    return {name for name in ("annals_shard_open", "annals_lag") if f'{name}{{kind="person",partition="0"}}' in text}


def test_a_journal_whose_front_is_deleted_under_a_running_worker_stops(alone: Scenario) -> None:
    (worker,) = alone.workers
    delete_before(alone, f"{alone.prefix}events.person", 10)
    stops(worker, "begins at offset 10 instead of 0")


def test_a_journal_made_anew_under_a_running_worker_stops_for_good(alone: Scenario) -> None:
    (worker,) = alone.workers
    (topic,) = delete(alone, "events")
    eventually(lambda: is_gone(worker, topic), "the worker says what is gone", told=worker.told)
    alone.make_topics(1, only=("events.person",))
    stops(worker, "ends at offset 0", "40")
    worker.end()
    stops(alone.start("b"), "ends at offset 0", "40")


def test_topics_that_are_deleted_are_told_and_those_made_again_are_noticed(alone: Scenario) -> None:
    (worker,) = alone.workers
    seen = []
    topics = delete(alone, "commands", "events", "outcomes", "snapshots")

    def told() -> bool:
        seen.append(series(worker))
        return all(is_gone(worker, topic) for topic in topics)

    eventually(told, "the worker says what is gone", told=worker.told)
    began = time.monotonic()
    while time.monotonic() - began < LOOKED_AT_S:  # through the rebalance that takes the partition away
        seen.append(series(worker))
        assert not worker.is_ready()
    assert all(len(each) == 2 for each in seen)
    is_closed(worker)
    alone.make_topics(1, only=tuple(f"{role}.person" for role in ("commands", "events", "outcomes", "snapshots")))
    stops(worker, "ends at offset 0", "40")


def test_commands_made_again_under_a_running_worker_are_decided_soon(alone: Scenario) -> None:
    (worker,) = alone.workers
    (topic,) = delete(alone, "commands")
    eventually(lambda: is_gone(worker, topic), "the worker says what is gone", told=worker.told)
    alone.make_topics(1, only=("commands.person",))
    eventually(worker.is_ready, "the worker is ready", told=worker.told)
    alone.read_anew()
    alone.send([rename(1, 7)])
    eventually(
        lambda: len(alone.read().by_place[TopicPartition("outcomes.person", 0)]) == COUNT + 1,
        "it is answered",
        told=alone.told,
    )


@pytest.mark.parametrize("role", ["commands", "outcomes"])
@pytest.mark.parametrize("burst", [0, 30])
def test_commands_and_outcomes_that_lost_their_end_stop_the_shard_for_good(
    alone: Scenario, chaos_broker: Broker, role: str, burst: int
) -> None:
    (worker,) = alone.workers
    known = f"offset {last_of(alone, role)}"
    cut_under(alone, chaos_broker, f"{role}.person", 10)
    alone.sender = Sender(alone.bootstrap, alone.prefix, 120_000)  # the other one knows how many were acknowledged
    alone.send(rename(number % COUNT, number) for number in range(burst))
    reason = stops(worker, role, known)
    # of what was sent anew, some may be there before the shard looks at the end
    (end,) = re.findall(r"end at offset (\d+) ", reason)
    assert 10 <= int(end) <= 10 + burst
    other = alone.start("b")
    worker.end()
    stops(other, role, known)
    assert committed_events(alone) == COUNT


def restore(scenario: Scenario, records: list[Record]) -> None:
    """Make the journal anew from a copy of its records."""
    delete(scenario, "events")
    scenario.make_topics(1, only=("events.person",))
    producer = Producer({"bootstrap.servers": scenario.bootstrap, "log_level": 0})
    for record in records:
        producer.produce(
            f"{scenario.prefix}events.person", key=record.key, value=record.value, partition=0,
            headers=list(record.headers.items()), timestamp=record.timestamp,
        )  # fmt: skip
    assert producer.flush(30) == 0


@pytest.mark.parametrize("name", ["a", "b"])  # with the store that knows the old offsets, and with none
def test_a_journal_restored_from_a_copy_of_its_records_is_taken_as_it_was(alone: Scenario, name: str) -> None:
    alone.workers[0].end()
    restore(alone, alone.read().by_place[TopicPartition("events.person", 0)])
    alone.start(name).until_ready()
    alone.read_anew()
    alone.send(rename(number, 3) for number in range(COUNT))
    assert_clean(alone.until_answered())
    alone.workers[-1].end()
    alone.start("c").until_ready()


def test_a_journal_restored_in_part_stays_stopped(alone: Scenario) -> None:
    alone.workers[0].end()
    restore(alone, alone.read().by_place[TopicPartition("events.person", 0)][:-1])
    stops(alone.start("b"), "ends at offset 19", "40", "offset 38")


def accept(scenario: Scenario, *options: str) -> tuple[int, dict[str, Any]]:
    """Run `annals journal accept person`; its exit status, and what it says of the partition."""
    environment = own_environment(
        ANNALS_BOOTSTRAP_SERVERS=scenario.bootstrap, ANNALS_TOPIC_PREFIX=scenario.prefix, ANNALS_DATA_DIR="/nowhere"
    )
    command = [ENTRY_POINT, "journal", "accept", "person", "--json", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["partitions"][0]


def kept(scenario: Scenario) -> Path:
    """The outcomes of all commands, kept in a file."""
    file = scenario.folder / "kept.jsonl"
    file.write_bytes(
        b"\n".join(record.value or b"" for record in scenario.read().by_place[TopicPartition("outcomes.person", 0)])
    )
    return file


def test_a_restored_journal_of_which_only_offsets_were_known_is_accepted_by_kept_heads(alone: Scenario) -> None:
    alone.workers[0].end()
    heads = kept(alone)
    restore(alone, alone.read().by_place[TopicPartition("events.person", 0)])

    async def commit() -> None:
        """Commit for the group as the release before did."""
        topic = f"{alone.prefix}commands.person"
        writer = TransactionalWriter({"bootstrap_servers": alone.bootstrap}, f"{topic}-before", [topic])
        try:
            await writer.fence()
            await writer.commit({}, Offsets(f"{alone.prefix}annals", topic, 0, COUNT, "journal=40"), {})
        finally:
            await writer.close()

    asyncio.run(commit())
    worker = alone.start("b")
    stops(worker, "ends at offset 20", "40", "annals journal accept person")
    worker.end()
    assert accept(alone, "--dry-run")[0] == 1
    status, said = accept(alone, "--heads", str(heads))
    assert (status, said["accepted"], said["kept_heads"], said["missing"]) == (0, True, COUNT, [])
    alone.start("a").until_ready()
    alone.read_anew()
    alone.send(rename(number, 3) for number in range(COUNT))
    assert_clean(alone.until_answered())
    status, said = accept(alone)
    assert (status, said["accepted"], said["lost"]) == (0, False, [])


def test_a_journal_that_cannot_be_restored_is_accepted_only_with_its_loss(
    alone: Scenario, chaos_broker: Broker
) -> None:
    (worker,) = alone.workers
    heads = kept(alone)
    cut_under(alone, chaos_broker, "events.person", 30)
    alone.send(rename(number, 3) for number in range(COUNT))
    stops(worker, "offset 38")
    worker.end()
    status, said = accept(alone, "--heads", str(heads))
    assert (status, said["accepted"]) == (1, False)
    assert {each["aggregate_id"] for each in said["missing"]} == {f"p-{number}" for number in range(15, 20)}
    assert "offset 38" in said["lost"][0]
    status, said = accept(alone, "--give-up")
    assert (status, said["accepted"]) == (0, True)
    alone.start("a").until_ready()  # whose store knows what was given up
    statuses = {"accepted": 15, "rejected": 5}

    def answers() -> Counter[str]:
        alone.read_anew()
        records = alone.read().by_place[TopicPartition("outcomes.person", 0)][COUNT:]
        return Counter(json.loads(record.value or b"")["status"] for record in records)

    eventually(lambda: answers().total() == COUNT, "all that waited is answered", told=alone.told)
    assert answers() == statuses
    alone.workers[-1].end()
    alone.start("c").until_ready()


def test_a_loss_that_only_a_data_directory_knows_is_accepted_without_emptying_that(
    alone: Scenario, chaos_broker: Broker
) -> None:
    alone.workers[0].end()
    group = f"{alone.prefix}annals"
    alone.admin.delete_consumer_groups([group])[group].result(30)
    cut_under(alone, chaos_broker, "events.person", 30)
    worker = alone.start("a")
    stops(worker, "the store in the data directory says", "offset 38")
    worker.end()
    status, said = accept(alone)
    assert (status, said["accepted"], len(said["missing"])) == (1, False, 5)
    status, said = accept(alone, "--give-up")
    assert (status, said["accepted"]) == (0, True)
    alone.start("a").until_ready()
    assert accept(alone, "--give-up")[1]["accepted"] is False


def test_a_kept_head_that_is_missing_is_told(alone: Scenario) -> None:
    file = alone.folder / "kept.jsonl"
    file.write_text(json.dumps({"aggregate_id": "p-1", "head": cid_of(b"an event that nobody has")}))
    status, said = accept(alone, "--heads", str(file))
    assert status == 1
    assert [each["said_by"] for each in said["missing"]] == ["a kept head"]
