"""Where going on would be guessing the shard stops, names the place, is not ready; what changes nothing is counted."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aiokafka.structs import TopicPartition
from chaos_chain import cid_of
from chaos_commands import Ask, command, persons, rename
from chaos_journal import block, command_value, write
from chaos_records import home_of
from chaos_scenario import Scenario, assert_clean, delete_before
from chaos_workers import Worker, eventually
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as OfGroup
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

PARTITIONS = 2
COUNT = 6
SHARED = ("dead-letters", "schemas")


def heads(scenario: Scenario) -> dict[str, tuple[int, str]]:
    """Version and head of each person, as the newest outcomes say."""
    found = {}
    for _, outcomes in scenario.read().of("outcomes", "person"):
        for record in outcomes:
            said = json.loads(record.value or b"")
            if said["head"]:
                found[said["aggregate_id"]] = said["version"], said["head"]
    return found


@pytest.fixture
def begun(people: Scenario) -> Scenario:
    """A deployment that has decided something, and stands still."""
    people.start().until_ready()
    people.send(persons(COUNT, 1))
    assert_clean(people.until_answered())
    assert people.workers[-1].end() == 0
    return people


def answered(scenario: Scenario) -> set[int]:
    """The offsets of persons' commands in partition 0 that have an outcome."""
    return {
        int(each.headers["command-offset"]) for each in scenario.read().by_place[TopicPartition("outcomes.person", 0)]
    }


def stopped(worker: Worker, shard: str, *words: str) -> str:
    """The reason for which a shard has stopped, which names all of these; others may have stopped before it."""
    found = worker.until_first_reason(f"write: {shard} is stopped: ", *words)
    assert worker.ask("/health/ready")[0] == 503
    assert worker.ask("/health/live")[0] == 200
    return found


def test_a_gap_stops_the_shard_and_names_the_place_and_the_others_go_on(people: Scenario) -> None:
    lost = cid_of(b"an event that nobody has")
    events = [("p-1", block("p-1", 1, None, "c", "Before")), ("p-1", block("p-1", 9, lost, "c", "After the gap"))]
    write(people.bootstrap, people.prefix, events, PARTITIONS)
    worker = people.start()
    home = home_of(b"p-1", PARTITIONS)
    reason = stopped(worker, f"person-{home}", "'p-1'", f"partition {home}", "offset 1", "version 9")
    eventually(lambda: worker.reasons() == [reason], "the others are open", told=worker.told)
    others = [number for number in range(COUNT) if home_of(f"p-{number}".encode(), PARTITIONS) != home]
    people.send(rename(number, 7) for number in others)
    people.until_answered()


def test_void_and_foreign_records_are_passed_over_and_counted(begun: Scenario) -> None:
    version, head = heads(begun)["p-2"]
    loser = block("p-2", 1, None, "loser", "Loser")
    follower = block("p-2", 2, cid_of(loser), "follower", "Follower of the loser")
    far = block("p-2", 7, cid_of(follower), "far", "Far behind the loser")  # no gap: its chain is void already
    far_follower = block("p-2", 8, cid_of(far), "farther", "Farther")
    foreign = [
        b"no block at all",
        block("p-3", version + 1, head, "c", "Another key"),
        block("p-2", version + 1, head, "c", "Another kind", kind="wagon"),
        block("p-2", version + 1, head, "c", "One member more", more=1),
        block("p-2", version + 1, head, "c", "No text", actor=7),
        block("p-2", version + 1, head, "c", "Not canonical") + b"\x00",
    ]
    voids = [loser, follower, far, far_follower]
    write(begun.bootstrap, begun.prefix, [("p-2", value) for value in [*voids, *foreign]], PARTITIONS)
    home = home_of(b"p-2", PARTITIONS)
    elsewhere = block("p-2", version + 1, head, "c", "In the wrong partition")
    write(begun.bootstrap, begun.prefix, [("p-2", elsewhere)], PARTITIONS, partition=1 - home)
    worker = begun.start().until_ready()
    assert worker.metric("annals_void_events_total", kind="person") == len(voids)
    assert worker.metric("annals_foreign_records_total", kind="person") == len(foreign) + 1
    begun.send(rename(number, 3) for number in range(COUNT))
    report = begun.until_answered()
    assert report.found() == {"void", "forked", "foreign"}, str(report)
    assert (len(report.void), len(report.foreign)) == (len(voids), len(foreign) + 1)


def test_an_event_of_an_unknown_type_stops_the_shard(people: Scenario) -> None:
    unknown = block("p-4", 1, None, "c", "From the future", type="PersonTeleported", schema_version=3)
    write(people.bootstrap, people.prefix, [("p-4", unknown)], PARTITIONS)
    home = home_of(b"p-4", PARTITIONS)
    stopped(people.start(), f"person-{home}", "'p-4'", "PersonTeleported", "3")


def test_commands_that_expired_undecided_stop_the_shard_until_that_is_accepted(people: Scenario) -> None:
    here = [number for number in range(50) if home_of(f"p-{number}".encode(), PARTITIONS) == 0][:5]
    people.send(rename(number, 5) for number in here)
    first = people.sender.sent[-len(here)].offset
    delete_before(people, f"{people.prefix}commands.person", first + 3)
    worker = people.start()
    stopped(worker, "person-0", "3 offsets", f"from {first} on", "--accept-expired")
    worker.end()
    people.start(ACCEPT_EXPIRED="1").until_ready()
    eventually(lambda: {first + 3, first + 4} <= answered(people), "what did not expire is answered", told=people.told)
    assert not {first, first + 1, first + 2} & answered(people)


def ends(scenario: Scenario) -> list[int]:
    """Where the partitions of persons' commands end."""
    topic = f"{scenario.prefix}commands.person"
    consumer = Consumer({"bootstrap.servers": scenario.bootstrap, "group.id": "nobody", "log_level": 0})
    try:
        return [consumer.get_watermark_offsets(OfGroup(topic, number), 30)[1] for number in range(PARTITIONS)]
    finally:
        consumer.close()


def committed(scenario: Scenario) -> list[int]:
    """The group's offsets of these partitions."""
    group, topic = f"{scenario.prefix}annals", f"{scenario.prefix}commands.person"
    asked = [ConsumerGroupTopicPartitions(group, [OfGroup(topic, number) for number in range(PARTITIONS)])]
    found = scenario.admin.list_consumer_group_offsets(asked)[group].result(30)
    return [each.offset for each in found.topic_partitions]


def send_by_crc32(scenario: Scenario, turn: int) -> None:
    """Send forty commands as librdkafka spreads them: about half are forwarded, and leave a marker where they end."""
    producer = Producer({"bootstrap.servers": scenario.bootstrap, "log_level": 0})
    for number in range(40):
        name = f"p-{number}"
        type_ = "RegisterPerson" if turn == 1 else "RenamePerson"
        ask = command("person", name, f"{name}-{turn}", type_, {"name": f"Turn {turn}"})
        producer.produce(f"{scenario.prefix}commands.person", key=ask.key, value=ask.value)
    assert producer.flush(30) == 0


def test_a_quiet_partition_whose_commands_expired_goes_on_where_they_were_decided(people: Scenario) -> None:
    worker = people.start().until_ready()
    send_by_crc32(people, 1)
    assert_clean(people.until_answered())
    outsider = people.outsider()
    for number in range(PARTITIONS):
        outsider.produce(f"{people.prefix}commands.person", key=b"p-1", value=b"taken back", partition=number)
    assert outsider.flush(30) == 0
    outsider.abort_transaction(30)
    eventually(lambda: committed(people) == ends(people), "the position is committed", told=worker.told)
    assert worker.end() == 0
    people.read()  # behind the markers of what was aborted: else what is read next is deleted
    for number, end in enumerate(ends(people)):
        delete_before(people, f"{people.prefix}commands.person", end, number)
    worker = people.start().until_ready()
    send_by_crc32(people, 2)
    eventually(lambda: accepted(people) == 80, "all are answered", told=worker.told)


def accepted(scenario: Scenario) -> int:
    """How many commands were accepted."""
    outcomes = [record for _, records in scenario.read().of("outcomes", "person") for record in records]
    return sum(json.loads(record.value or b"")["status"] == "accepted" for record in outcomes)


def test_commands_from_before_the_brokers_clock_stepped_back_are_answered(people: Scenario) -> None:
    # Topics that somebody else made, which take what the broker stamps itself, or what is of this minute.
    bounds = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms")
    strict, lifted = dict.fromkeys(bounds, "60000"), dict.fromkeys(bounds, str(1 << 62))
    names = {"commands.person": lifted, **dict.fromkeys(("outcomes.person", "snapshots.person", *SHARED), strict)}
    for name, config in names.items():
        alter(people, name, {"message.timestamp.type": "CreateTime", **config})
    producer = Producer({"bootstrap.servers": people.bootstrap, "partitioner": "murmur2_random", "log_level": 0})
    later = int(time.time() * 1000) + 2 * 3_600_000
    failed = []
    unreadable = Ask("person", b"p-1", b"no command")
    for ask in [*persons(COUNT, 1), *(rename(number, 2, partition=0) for number in range(COUNT)), unreadable]:
        placed = {} if ask.partition is None else {"partition": ask.partition}
        producer.produce(
            f"{people.prefix}commands.person",
            key=ask.key,
            value=ask.value,
            timestamp=later,
            on_delivery=lambda error, _: failed.append(error) if error else None,
            **placed,
        )
    assert producer.flush(30) == 0
    assert failed == []
    worker = people.start(SNAPSHOT_EVERY="1")
    assert_clean(people.until_answered())
    assert worker.metric("annals_transactions_uncertain_total") == 0
    worker.until_logged("schemas published")


def alter(scenario: Scenario, name: str, config: dict[str, str]) -> None:
    """Change some of a topic's settings."""
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, scenario.prefix + name, incremental_configs=entries)
    scenario.admin.incremental_alter_configs([resource])[resource].result(30)


def test_a_journal_that_does_not_begin_at_its_beginning_is_refused(people: Scenario) -> None:
    write(people.bootstrap, people.prefix, [("p-1", block("p-1", 1, None, "c", "First"))] * 3, PARTITIONS, partition=0)
    delete_before(people, f"{people.prefix}events.person", 2)
    worker = people.start()
    assert worker.until_over() == 2, worker.told()
    assert f"{people.prefix}events.person" in worker.log.read_text()


def test_a_journal_whose_end_was_cut_off_stops_the_shard(begun: Scenario) -> None:
    begun.delete_topics("events.person")
    stopped(begun.start(CREATE_TOPICS="1"), "person-0", "ends at offset 0", "cut off")


def test_commands_made_anew_are_decided_from_their_beginning(begun: Scenario) -> None:
    begun.delete_topics("commands.person")
    begun.start(CREATE_TOPICS="1", PARTITIONS="2").until_ready()
    begun.read_anew()
    # sent again by those who do not know, and new ones
    begun.send([*persons(COUNT, 1), *(rename(number, 3) for number in range(COUNT))])

    def statuses() -> Counter[str]:
        outcomes = [record for _, records in begun.read().of("outcomes", "person") for record in records]
        return Counter(json.loads(record.value or b"")["status"] for record in outcomes)

    eventually(lambda: statuses().total() == 5 * COUNT, "all are answered", told=begun.told)
    assert statuses() == {"accepted": 3 * COUNT, "duplicate": 2 * COUNT}


def test_an_offset_behind_the_commands_end_stops_the_shard(begun: Scenario) -> None:
    group = f"{begun.prefix}annals"
    far = [ConsumerGroupTopicPartitions(group, [OfGroup(f"{begun.prefix}commands.person", 0, 1_000)])]
    begun.admin.alter_consumer_group_offsets(far)[group].result(30)
    worker = begun.start()
    stopped(worker, "person-0", "1000", "delete the group's offsets")
    worker.end()
    begun.admin.delete_consumer_groups([group])[group].result(30)
    begun.start().until_ready()
    begun.send(rename(number, 3) for number in range(COUNT))
    assert_clean(begun.until_answered())


@pytest.mark.parametrize("roles", [("commands",), ("commands", "events", "outcomes", "snapshots", "restore")])
def test_partitions_that_were_added_are_refused(begun: Scenario, roles: tuple[str, ...]) -> None:
    added = [NewPartitions(f"{begun.prefix}{role}.person", PARTITIONS + 1) for role in roles]
    for future in begun.admin.create_partitions(added).values():
        future.result(30)
    worker = begun.start()
    if len(roles) == 1:
        assert worker.until_over() == 2
        assert f"{begun.prefix}commands.person" in worker.log.read_text()
    else:
        stopped(worker, "person-0", "2 partitions", "3")


def test_partitions_that_are_added_to_a_running_worker_make_it_not_ready(people: Scenario) -> None:
    worker = people.start().until_ready()
    topic = f"{people.prefix}commands.person"
    people.admin.create_partitions([NewPartitions(topic, PARTITIONS + 1)])[topic].result(30)
    reason = eventually(lambda: next((r for r in worker.reasons() if topic in r), ""), "a reason", told=worker.told)
    assert f"has {PARTITIONS + 1} partitions, at the start it had {PARTITIONS}" in reason
    assert worker.end() == 0


def test_a_partition_held_by_a_producers_open_transaction_says_for_how_long(people: Scenario) -> None:
    worker = people.start().until_ready()
    producer = people.outsider()
    producer.produce(
        f"{people.prefix}commands.person", key=b"p-1", value=command_value("c-open", "p-1", "Open"), partition=0
    )
    assert producer.flush(30) == 0
    people.send(rename(number, 8) for number in range(COUNT))

    def blocked() -> float:
        return worker.metric("annals_commands_blocked_seconds", kind="person", partition="0")

    is_held = lambda: blocked() > 1.0 and worker.is_ready()  # noqa: E731
    eventually(is_held, "it is seen that the partition is held up, and nothing is wrong", told=worker.told)
    producer.commit_transaction(30)
    eventually(lambda: blocked() == 0.0, "it is seen that the partition is free", told=worker.told)
    assert_clean(people.until_answered())


def test_a_worker_without_its_topics_says_how_to_make_them(people: Scenario) -> None:
    worker = people.start(TOPIC_PREFIX="nowhere.")
    assert worker.until_over() == 2, worker.told()
    assert "annals topics create" in worker.log.read_text()


def test_an_entry_point_that_registers_nothing_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "broken_plugin-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[annals.aggregates]\nghost = nowhere:GHOST\n")
    code = "from annals.workers.registry import deciders\ndeciders()"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "entry point ghost = nowhere:GHOST" in result.stderr
