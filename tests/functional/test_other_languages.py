"""The examples in JavaScript and Java: the test vectors, and commands and chains against a worker on a real broker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from annals.workers.tools.broker import Broker
from annals.workers.tools.broker.jars import locked_jars
from chained import chain
from languages import CODEC, ROOT, compile_java, java, node
from processes import annals, own_environment, worker_on_topics_of_its_own
from whole_topics import commands_of, until_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    Run = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.slow
LANGUAGES = ("javascript", "java")
PROGRAMS = {
    "javascript": ("producer.js", "consumer.js"),
    "java": ("annals.CommandProducer", "annals.VerifyingConsumer"),
}
PLACE = {"coordinates": {"latitude": 52.0, "longitude": -0.5}}
IDS = ("l-1", "l-2", "l-3", "l-4", "\u00c4", "A\u0308")  # in both partitions, in two normal forms


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_java(folder)
    return folder


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def produce(language: str, classes: Path) -> Run:
    return _runner(language, 0, classes)


@pytest.fixture
def consume(language: str, classes: Path) -> Run:
    return _runner(language, 1, classes)


def _runner(language: str, which: int, classes: Path) -> Run:
    program = PROGRAMS[language][which]

    def run(*arguments: str, environment: dict[str, str], **how: Any) -> CompletedProcess[str]:
        if language == "java":
            return java(program, *arguments, classes=classes, env=environment, **how)
        return node(program, *arguments, env=environment, **how)

    return run


@pytest.fixture(scope="module")
def obliging(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None, shared_classes: None) -> Iterator[str]:
    """A broker that makes every topic that somebody asks for: Kafka's default."""
    properties = {"auto.create.topics.enable": "true"}
    with Broker(tmp_path_factory.mktemp("obliging"), cache_dir=cache_dir, properties=properties) as broker:
        yield broker.bootstrap


@pytest.fixture
def environment(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    with worker_on_topics_of_its_own(bootstrap, topic_prefix, tmp_path) as environment:
        yield environment


def command(command_id: str, type_name: str, aggregate_id: str, data: dict[str, Any], **more: Any) -> str:
    return json.dumps({"id": command_id, "type": type_name, "aggregate_id": aggregate_id, "data": data, **more})


def lines_of(result: CompletedProcess[str]) -> list[str]:
    assert result.stderr == "", result.stderr
    return result.stdout.splitlines()


def test_javascript_says_what_the_vectors_say() -> None:
    result = node("--test", "vectors.test.js")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    passed = re.search(r"pass (\d+)", result.stdout)
    assert passed is not None
    assert int(passed[1]) > 100


def test_ajv_in_strict_mode_takes_every_schema_and_its_examples() -> None:
    result = node("--test", "schemas.test.js")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr
    files = len(list((ROOT / "schemas/json").glob("*/*.json")))
    assert f"pass {files}" in result.stdout


def test_java_says_what_the_vectors_say(classes: Path) -> None:
    result = java("annals.Vectors", ROOT / "docs/reference/vectors.json", classes=classes)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith(" passed, 0 failed\n")


def test_maven_takes_the_jars_that_the_tests_took() -> None:
    """Who builds with Maven runs what runs here."""
    pom = ET.parse(ROOT / "examples/java/pom.xml").getroot()
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    named = {
        tuple(dependency.findtext(f"m:{name}", namespaces=space) for name in ("groupId", "artifactId", "version"))
        for dependency in pom.findall("m:dependencies/m:dependency", space)
    }
    assert named <= {(jar.group, jar.artifact, jar.version) for jar in (*locked_jars(), CODEC)}


def test_the_page_on_clients_names_the_versions_that_run_here() -> None:
    page = (ROOT / "docs/reference/clients.md").read_text()
    java_client = next(jar.version for jar in locked_jars() if jar.artifact == "kafka-clients")
    packages = json.loads((ROOT / "examples/javascript/package.json").read_text())["dependencies"]
    assert f"kafka-clients {java_client} |" in page
    assert f"`@platformatic/kafka` {packages['@platformatic/kafka']}:" in page


@pytest.mark.broker
def test_each_command_has_its_outcome_and_each_chain_is_proven(
    produce: Run,
    consume: Run,
    environment: dict[str, str],
) -> None:
    define = {"name": "Berlin", "location_type": "physical", **PLACE}
    commands = [command(f"c-{number}", "DefineLocation", name, define) for number, name in enumerate(IDS)]
    commands += [command("again", "RenameLocation", "l-1", {"name": "Potsdam"})] * 2
    commands += [command("late", "RenameLocation", "l-1", {"name": "Spandau"}, expected_version=1)]
    produced = produce("location", environment=environment, input="\n".join(commands) + "\n")
    assert produced.returncode == 1, produced.stdout + produced.stderr  # one is rejected
    outcomes = [json.loads(line) for line in lines_of(produced)]
    assert [outcome["status"] for outcome in outcomes] == ["accepted"] * 7 + ["duplicate", "rejected"]
    assert outcomes[-1]["error"]["code"] == "version_conflict"
    head, others = outcomes[6]["head"], outcomes[0]["head"]

    consumed = consume("location", "l-1", head, "l-1", others, environment=environment)
    assert consumed.returncode == 0, consumed.stdout + consumed.stderr
    *events, summary = lines_of(consumed)
    assert summary == "7 events count; 0 records do not, 0 after a gap; 2 of 2 kept heads found"
    assert f"l-1 version 2: LocationRenamed {head}" in events
    assert {line.split(" version ")[0] for line in events} == set(IDS)

    stranger = consume("location", "l-2", head, environment=environment)
    assert stranger.returncode == 1
    assert f"l-2: the head {head} that you kept is not in its chain" in stranger.stdout
    verified = annals("verify", "location", "--json", environment=environment)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # A whole float is a whole float, in the command as in the event.
    told = json.loads(annals("events", "location", "l-1", environment=environment).stdout.splitlines()[0])
    assert '"latitude": 52.0' in json.dumps(told["data"])


@pytest.mark.broker
def test_a_new_wish_has_an_id_and_is_for_what_was_seen(produce: Run, environment: dict[str, str]) -> None:
    def wish(type_name: str, name: str, **more: Any) -> str:
        data = {"name": name, "location_type": "physical", **PLACE} if type_name == "DefineLocation" else {"name": name}
        return json.dumps({"type": type_name, "aggregate_id": "l-1", "data": data, **more})

    lines = [
        wish("DefineLocation", "Berlin", expected_version=0),
        wish("RenameLocation", "Potsdam"),
        wish("RenameLocation", "Spandau", expected_version=1),
        wish("RenameLocation", "Teltow"),
    ]
    produced = produce("location", environment=environment, input="\n".join(lines) + "\n")
    assert produced.returncode == 1, produced.stdout + produced.stderr
    outcomes = [json.loads(line) for line in lines_of(produced)]
    assert [outcome["status"] for outcome in outcomes] == ["accepted", "accepted", "rejected", "accepted"]
    assert outcomes[2]["error"]["code"] == "version_conflict"
    sent = commands_of("location", environment)
    assert [each["id"] for each in sent] == [outcome["command_id"] for outcome in outcomes]
    expected = [(each["expected_version"], each.get("expected_head")) for each in sent]
    assert expected == [(0, None), (1, outcomes[0]["head"]), (1, None), (2, outcomes[1]["head"])]


@pytest.mark.broker
def test_a_journal_that_is_not_there_is_not_made(consume: Run, language: str, obliging: str) -> None:
    prefix = f"{language}."
    result = consume(
        "person", environment=own_environment(ANNALS_BOOTSTRAP_SERVERS=obliging, ANNALS_TOPIC_PREFIX=prefix)
    )
    topics = AdminClient({"bootstrap.servers": obliging}).list_topics(timeout=60).topics
    assert [name for name in topics if name.startswith(prefix)] == []
    assert result.returncode != 0
    assert f"{prefix}events.person" in result.stderr


@pytest.mark.broker
def test_what_was_aborted_is_not_read(consume: Run, bootstrap: str, topic_prefix: str) -> None:
    """Three transactions of one producer, in one fetch: a client that keeps one range for each shows the first."""
    environment = {**os.environ, "ANNALS_BOOTSTRAP_SERVERS": bootstrap, "ANNALS_TOPIC_PREFIX": topic_prefix}
    own = {**environment, "ANNALS_PARTITIONS": "1"}
    created = annals("topics", "create", environment=own)
    assert created.returncode == 0, created.stderr
    first, second = chain("p-1", 2)
    lost = chain("p-1", 1, after=first, command_id="zombie")
    transactions = [([first], True), (lost, False), ([second], True), (chain("p-9", 1), False), (chain("p-2", 2), True)]
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic_prefix}aborting", "linger.ms": 0})
    producer.init_transactions(60)
    for events, is_committed in transactions:
        producer.begin_transaction()
        for event in events:
            producer.produce(f"{topic_prefix}events.person", event.value, event.key, 0)
        assert producer.flush(60) == 0
        (producer.commit_transaction if is_committed else producer.abort_transaction)(60)
    asyncio.run(until_settled(bootstrap, f"{topic_prefix}events.person"))
    consumed = consume("person", environment=environment)
    assert consumed.returncode == 0, consumed.stdout + consumed.stderr
    assert lines_of(consumed)[-1] == "4 events count; 0 records do not, 0 after a gap; 0 of 0 kept heads found"


@pytest.mark.broker
def test_what_does_not_count_is_said(consume: Run, bootstrap: str, topic_prefix: str) -> None:
    environment = {**os.environ, "ANNALS_BOOTSTRAP_SERVERS": bootstrap, "ANNALS_TOPIC_PREFIX": topic_prefix}
    assert annals("topics", "create", environment={**environment, "ANNALS_PARTITIONS": "1"}).returncode == 0
    first, second, _, fourth = chain("p-1", 4)
    lost = chain("p-1", 2, after=first, command_id="zombie")
    producer = Producer({"bootstrap.servers": bootstrap})
    for event in (first, lost[0].but(value=b"?"), second, *lost, fourth, chain("p-2", 1)[0]):
        producer.produce(f"{topic_prefix}events.person", event.value, event.key, 0)
    assert producer.flush(60) == 0
    consumed = consume("person", environment=environment)
    assert consumed.returncode == 1
    assert [line.split(": ")[1] for line in lines_of(consumed)[:-1]][1:2] == ["foreign"]
    assert lines_of(consumed)[-2:] == [
        "partition 0 offset 5: gap",
        "2 events count; 3 records do not, 1 after a gap; 0 of 0 kept heads found",
    ]
