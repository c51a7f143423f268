"""`annals replay` on journals of a real broker: killed and gone on with, to a handler that fails, to a topic."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from annals.schemas.cid import cid_text
from annals.topics.keys import partition_of
from chained import Sealed, chain, make_topics, write
from processes import ENTRY_POINT, annals, own_environment, running, until
from replays import copied, registered

pytestmark = pytest.mark.broker

PARTITIONS = 2
NAMES = ("p-1", "p-2", "p-3", "p-4")
EACH = 40


def stored(bootstrap: str, prefix: str) -> dict[int, list[Sealed]]:
    """Two partitions with the events of four aggregates in turns, and what is void and foreign."""
    made: dict[int, list[Sealed]] = {partition: [] for partition in range(PARTITIONS)}
    chains = {name: chain(name, EACH) for name in NAMES}
    for version in range(EACH):
        for name in NAMES:
            made[partition_of(name.encode(), PARTITIONS)].append(chains[name][version])
    for events in made.values():
        events.insert(2, events[0])
        events.append(events[0].but(value=b"{}"))
        asyncio.run(write(bootstrap, f"{prefix}events.person", events, partition_of(events[0].key or b"", PARTITIONS)))
    return made


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> dict[str, str]:
    """What leads to a journal with events, and to the handlers."""
    asyncio.run(make_topics(bootstrap, [f"{topic_prefix}events.person"], PARTITIONS))
    stored(bootstrap, topic_prefix)
    return own_environment(
        ANNALS_BOOTSTRAP_SERVERS=bootstrap,
        ANNALS_TOPIC_PREFIX=topic_prefix,
        PYTHONPATH=registered(tmp_path),
        SEEN=str(tmp_path / "seen"),
    )


def has_recorded(state: Path) -> bool:
    """Whether a replay has written how far it has come; the file is claimed, and empty, before that."""
    text = state.read_text() if state.exists() else ""
    return bool(text and json.loads(text)["length"])


def test_a_replay_to_a_file_is_killed_and_gone_on_with(environment: dict[str, str], tmp_path: Path) -> None:
    printed = {
        name: annals("events", "person", name, environment=environment).stdout.splitlines() for name in NAMES[:2]
    }

    # To a file, slowly, until some of it is recorded; then killed, and gone on with by two processes.
    file, state = tmp_path / "lines", tmp_path / "state"
    to_file = ["replay", "--kind", "person", "--file", str(file), "--state", str(state), "--json"]
    log = tmp_path / "log"
    with running([ENTRY_POINT, *to_file, "--rate", "10"], environment, log) as process:
        until(lambda: has_recorded(state), process, log, "the first step")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    recorded = json.loads(state.read_text())
    with file.open("ab") as torn:
        torn.write(b'{"what a kill left": ')
    done = annals(*to_file, "--processes", "2", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    kept = file.read_bytes()[: recorded["length"]].count(b"\n")
    assert 0 < kept < len(NAMES) * EACH
    assert told["events"] == len(NAMES) * EACH - kept
    assert (told["foreign"], told["failures"]) == (2, 0)
    assert told["positions"] == json.loads(state.read_text())["positions"]
    lines = file.read_text().splitlines()
    assert len(lines) == len(NAMES) * EACH
    for name, wanted in printed.items():
        assert [line for line in lines if json.loads(line)["aggregate_id"] == name] == wanted

    # Once more there is nothing to do, and nothing is doubled. Without the positions the file is left alone.
    again = annals(*to_file, environment=environment)
    assert (again.returncode, json.loads(again.stdout)["events"]) == (0, 0)
    refused = annals("replay", "--kind", "person", "--file", str(file), environment=environment)
    assert (refused.returncode, "has something in it" in refused.stderr) == (2, True)
    assert file.read_text().splitlines() == lines


async def publish(bootstrap: str, topic: str, key: str) -> None:
    """Write to the topic of schemas as a worker of some release."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"{}", key.encode())
    finally:
        await producer.stop()


def test_a_misspelt_type_is_refused_and_one_of_another_release_is_not(
    environment: dict[str, str], bootstrap: str, topic_prefix: str
) -> None:
    """Goes red when nothing is counted and said to be done."""
    words = ["replay", "--kind", "person", "--dry-run", "--json", "--type", "PersonForgotten"]
    said = "--type: person has no event 'PersonForgotten'."
    for has_topic in (False, True):  # without the topic of schemas, and with one that has nothing of it
        refused = annals(*words, "--type", "PersonRegistred", environment=environment)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
        assert "--type: person has no event 'PersonRegistred'. Is PersonRegistered meant?" in refused.stderr
        if not has_topic:
            asyncio.run(make_topics(bootstrap, [f"{topic_prefix}schemas"], 1))
    asyncio.run(publish(bootstrap, f"{topic_prefix}schemas", "annals.person.PersonForgotten.v1"))
    done = annals(*words, environment=environment)
    assert (done.returncode, json.loads(done.stdout)["events"]) == (0, 0), done.stderr


def test_a_replay_reaches_a_handler_and_a_topic_and_stops_at_a_gap(
    environment: dict[str, str], bootstrap: str, topic_prefix: str
) -> None:
    asyncio.run(make_topics(bootstrap, [f"{topic_prefix}replays.copy"], 3))

    # To a handler that fails on every event once.
    handled = annals(
        "replay", "--aggregate", "person/p-1", "--handler", "once", "--retries", "1", "--json", environment=environment
    )
    assert handled.returncode == 0, handled.stderr
    assert {name: json.loads(handled.stdout)[name] for name in ("events", "failures")} == {
        "events": EACH,
        "failures": EACH,
    }
    assert Path(environment["SEEN"]).read_text().split() == [cid_text(each.cid) for each in chain("p-1", EACH)]
    never = annals(
        "replay",
        "--kind",
        "person",
        "--handler",
        "never",
        "--retries",
        "0",
        "--processes",
        "2",
        environment=environment,
    )
    assert never.returncode == 1
    assert "the handler failed 1 times on person" in never.stderr

    # To a topic: as subscribers get them, in order per aggregate.
    to_topic = annals("replay", "--kind", "person", "--topic", "replays.copy", environment=environment)
    assert to_topic.returncode == 0, to_topic.stderr
    records = copied(bootstrap, f"{topic_prefix}replays.copy", len(NAMES) * EACH)
    assert len(records) == len(NAMES) * EACH
    for name in NAMES:
        events = chain(name, EACH)
        own = [each for each in records if each.key == name.encode()]
        assert {each.partition for each in own} == {partition_of(name.encode(), 3)}
        assert [dict(each.headers)["ce_id"].decode() for each in own] == [cid_text(each.cid) for each in events]
        assert json.loads(own[0].value) == {"name": "Ada 1"}

    # A gap ends it with its place; a position that the journal does not have is no replay of it.
    first, _, third = chain("p-9", 3)
    at = partition_of(b"p-9", PARTITIONS)
    asyncio.run(write(bootstrap, f"{topic_prefix}events.person", [first, third], at))
    gap = annals("replay", "--kind", "person", "--dry-run", environment=environment)
    assert gap.returncode == 1
    assert "gap in the chain of person 'p-9'" in gap.stderr
    for first, said in (
        ([99999, None], "--from: person[0] must not be behind the end of"),
        ([None], "--from: person must have 2 offsets"),
        ([0, 0, 0], "--from: person must have 2 offsets"),
    ):
        given = json.dumps({"person": first})
        refused = annals("replay", "--kind", "person", "--dry-run", "--from", given, environment=environment)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
