"""The rights that the reference lists are enough, and each is needed: Kafka's StandardAuthorizer, users by SCRAM."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from acl_cluster import APP_ID, PARTITIONS, PREFIX, PROPERTIES, Cluster
from annals.agents.ports import UnreachableError, UnreachableNotPermittedError
from annals.topics.keys import partition_of
from annals.topics.names import TopicNames
from annals.topics.rights import (
    DEAD_LETTERS,
    MIGRATE,
    PUBLISHING,
    REACTING,
    READERS,
    SEND,
    TOPICS_CHECK,
    TOPICS_CREATE,
    WORKER,
    Resource,
    rights,
)
from annals.workers.kafka.connections import connect
from annals.workers.reading.restore_point import KafkaRestorePoint
from annals.workers.registry import deciders, reactions
from annals.workers.settings import Settings, client_options
from annals.workers.settings.values import Secret
from annals.workers.tools.broker import Broker
from processes import ENTRY_POINT, LOOK_S, WITHIN_S, free_port, page_of, running, until

pytestmark = pytest.mark.broker

LATER = tuple(
    f"{PREFIX}{name}"
    for name in (
        "restore.",
        "audit",
        "projections",
        "subscriptions",
        "progress",
        "jobs",
        "reactions",
        "timers.",
        "rekeyed.",
    )
)
ALL = rights(PREFIX, APP_ID, tuple(deciders()), tuple(reactions()))
PERSON = rights(PREFIX, APP_ID, ("person",))
CONNECTING = [
    f"ANNALS_{name}" for name in ("BOOTSTRAP_SERVERS", "SECURITY_PROTOCOL", "SASL_MECHANISM", "SASL_USERNAME")
]
OF_BOTH = {"ANNALS_ROLES": "write,read"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("rights")
    with Broker(folder / "broker", cache_dir=cache_dir, properties=PROPERTIES) as broker:
        cluster = Cluster(broker.bootstrap, folder)
        # by the user who may do that and nothing else
        created = cluster.run(cluster.user("creator", ALL[TOPICS_CREATE]), "topics", "create", "--json")
        assert (created.returncode, created.stderr) == (0, "")
        assert len(json.loads(created.stdout)["created"]) == 5 * len(deciders()) + 8 + len(reactions())
        again = cluster.run(cluster.user("creator", ALL[TOPICS_CREATE]), "topics", "create")
        assert (again.returncode, again.stdout) == (0, "nothing to create: all topics exist\n")
        yield cluster


def _are_published(cluster: Cluster) -> bool:
    """Whether the schemas are there: a worker of another test may have published them, and nobody says so then."""
    consumer = Consumer({**cluster.root, "group.id": "any"})
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(f"{PREFIX}schemas", 0), timeout=30)
    finally:
        consumer.close()
    return bool(end > 0)


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Iterator[int]:
    """A worker with the rights of one, and the port of its health."""
    port, log = free_port(), cluster.folder / "worker"
    environment = cluster.user("worker", [*ALL[WORKER], *ALL[PUBLISHING], *ALL[REACTING], *ALL[DEAD_LETTERS]]) | {
        "ANNALS_DATA_DIR": str(cluster.folder / "data"),
        "ANNALS_WEB_PORT": str(port),
        "ANNALS_SNAPSHOT_EVERY": "1",
        "ANNALS_ROLES": "write,read",
        "ANNALS_API_PORT": "0",
    }
    with running([ENTRY_POINT, "worker"], environment, log) as process:
        until(lambda: page_of(port, "/health/ready"), process, log, "the worker is ready")
        yield port
        until(lambda: _are_published(cluster), process, log, "schemas are published")
        assert process.poll() is None, log.read_text()[-4000:]
        said = log.read_text()
        assert "uthoriz" not in said, said[-4000:]


def _command(name: str, aggregate_id: str = "p-1", type_: str = "RegisterPerson") -> dict[str, object]:
    return {"id": name, "type": type_, "aggregate_id": aggregate_id, "data": {"name": "Ada"}}


def _line(name: str, aggregate_id: str = "p-1") -> str:
    return json.dumps({"kind": "person", **_command(name, aggregate_id)}) + "\n"


def _count(port: int, series: str) -> float:
    return sum(float(line.split()[-1]) for line in page_of(port, "/metrics").splitlines() if line.startswith(series))


def test_a_worker_decides_forwards_buries_and_publishes_with_its_rights(cluster: Cluster, worker: int) -> None:
    """Events, outcomes, a snapshot for each event, a copy, a dead letter: each topic is written to."""
    series = (
        'annals_commands_forwarded_total{kind="person"}',
        'annals_dead_letters_total{kind="person",reason="not_json"}',
        'annals_events_total{kind="person"}',
    )
    before = [_count(worker, each) for each in series]
    sent = cluster.run(cluster.user("sender", PERSON[SEND]), "send", said=_line("c-9", "p-9"))
    assert (sent.returncode, json.loads(sent.stdout)["status"]) == (0, "accepted"), sent.stderr
    producer = Producer(cluster.root)
    topic, home = f"{PREFIX}commands.person", partition_of(b"p-2", PARTITIONS)
    producer.produce(topic, json.dumps(_command("c-2", "p-2")).encode(), b"p-2", partition=1 - home)
    producer.produce(topic, b"not JSON", b"p-3", partition=home)
    assert producer.flush(30) == 0
    deadline = time.monotonic() + WITHIN_S
    wanted = [count + more for count, more in zip(before, (1, 1, 2), strict=True)]
    while (found := [_count(worker, each) for each in series]) != wanted or not page_of(worker, "/health/ready"):
        assert time.monotonic() < deadline, (found, wanted)


READ_WORDS = [
    ("events", "person", "p-1"),
    ("verify", "person"),
    ("verify", "person", "p-1"),
    ("schemas", "usage", "person"),
]


@pytest.mark.usefixtures("worker")
def test_what_is_stored_is_read_and_verified_with_the_rights_of_a_reader(cluster: Cluster) -> None:
    environment = cluster.user("reader", PERSON[READERS])
    cluster.run(cluster.user("sender", PERSON[SEND]), "send", said=_line("c-1"))
    for words in READ_WORDS:
        found = cluster.run(environment, *words)
        assert (found.returncode, found.stderr) == (0, ""), words
    migrated = cluster.run(cluster.user("migrator", PERSON[MIGRATE]), "schemas", "migrate", "person")
    assert (migrated.returncode, migrated.stderr) == (0, "")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (SEND, ("send", "--timeout", "5")),
        *((READERS, words) for words in READ_WORDS),
        (TOPICS_CREATE, ("topics", "create")),
    ],
)
def test_each_of_these_rights_is_needed(cluster: Cluster, command: str, words: Sequence[str]) -> None:
    granted = PERSON[command] if command != TOPICS_CREATE else ALL[command]
    for left_out in granted[:2]:
        for operation in left_out.operations:
            if operation == "Create":
                continue  # the topics are there
            rest = tuple(each for each in left_out.operations if each != operation)
            fewer = [each for each in granted if each is not left_out] + [left_out._replace(operations=rest)]
            result = cluster.run(cluster.user("fewer", fewer), *words, said=_line("c-1"))
            assert result.returncode == 2, (left_out, operation, result.stdout)
            assert "Traceback" not in result.stderr


def test_a_worker_that_lacks_a_right_on_a_topics_settings_says_which(cluster: Cluster) -> None:
    """As the documentation once had it: 'read and write on all topics'."""
    fewer = [
        right._replace(operations=tuple(each for each in right.operations if each != "DescribeConfigs"))
        for right in ALL[WORKER]
    ]
    environment = cluster.user("fewer", fewer) | {
        "ANNALS_DATA_DIR": str(cluster.folder / "none"),
        "ANNALS_WEB_PORT": "0",
    }
    result = cluster.run(environment, "worker")
    assert result.returncode == 2
    assert "its settings cannot be read" in result.stderr
    assert "the user needs DescribeConfigs on it" in result.stderr


def test_a_worker_with_the_rights_of_deciding_alone_decides(cluster: Cluster) -> None:
    """As after an upgrade: the topics of later features are hidden from it."""
    journal_and_queues = [right for right in ALL[WORKER] if not right.name.startswith(LATER)]
    port, log = free_port(), cluster.folder / "decides"
    environment = cluster.user("decides", journal_and_queues) | {
        "ANNALS_DATA_DIR": str(cluster.folder / "deciding"),
        "ANNALS_WEB_PORT": str(port),
        "ANNALS_ROLES": "write",
    }
    told = cluster.run(environment, "topics", "check")
    assert (told.returncode, "missing" in told.stdout) == (0, False), told.stderr
    assert "unknown  acl.restore.person: the user may not see whether it exists; a worker starts" in told.stdout
    created = cluster.run(environment, "topics", "check", "--create-topics")
    assert (created.returncode, "may not see whether they exist" in created.stderr) == (2, True)
    with running([ENTRY_POINT, "worker"], environment, log) as process:
        until(lambda: page_of(port, "/health/ready"), process, log, "the worker is ready")


def test_a_worker_with_the_rights_of_reading_alone_reads_as_the_check_says(cluster: Cluster) -> None:
    """Goes red when the check says that it may not start, since it may not see what is decided by."""
    journals = [right for right in ALL[WORKER] if right.name.startswith(f"{PREFIX}events.")]
    kept = [right for right in ALL[WORKER] if right.name.startswith((f"{PREFIX}projections", f"{PREFIX}jobs"))]
    groups = [right for right in ALL[WORKER] if right.name == f"{PREFIX}{APP_ID}.read"]
    port, log = free_port(), cluster.folder / "reads"
    environment = cluster.user("reads", [*journals, *kept, *groups, *ALL[PUBLISHING], *ALL[REACTING]]) | {
        "ANNALS_DATA_DIR": str(cluster.folder / "reading"),
        "ANNALS_WEB_PORT": str(port),
        "ANNALS_API_PORT": "0",
        "ANNALS_ROLES": "read",
    }
    found = json.loads(cluster.run(environment, "topics", "check", "--json").stdout)
    assert (found["ok"], found["missing"], found["hidden"], found["refusals"]) == (True, [], [], [])
    assert found["probes"]["group of readers"] == "ok"
    with running([ENTRY_POINT, "worker"], environment, log) as process:
        until(lambda: page_of(port, "/health/ready"), process, log, "the worker is ready")


@pytest.mark.parametrize(
    ("name", "operation", "told"),
    [
        (f"{PREFIX}restore.person", "Read", f"the user needs Read on the topic: {PREFIX}restore.person-0"),
        (f"{PREFIX}{APP_ID}", "Describe", f"the user needs Read on the group: {PREFIX}{APP_ID}"),
    ],
)
async def test_a_restore_point_that_a_reader_may_not_read_is_named(
    cluster: Cluster, name: str, operation: str, told: str
) -> None:
    """Goes red when it is read from the beginning of the journal, and nobody says why."""
    right = next(each for each in ALL[PUBLISHING] if each.name == name and operation in each.operations)
    environment = cluster.user("restores", ALL[PUBLISHING])
    said = {key.removeprefix("ANNALS_").lower(): environment[key] for key in CONNECTING}
    options = client_options(Settings(**said, sasl_password=Secret(environment["ANNALS_SASL_PASSWORD"])))
    client = await connect(options, [f"{PREFIX}events.person"])
    try:
        point = KafkaRestorePoint(client, options, TopicNames(PREFIX), APP_ID, "person", 0, is_used=True)

        async def read() -> list[Any]:
            return [await point.named(), *[part async for part in point.restore_parts()]]

        for _ in range(2):
            async with asyncio.timeout(WITHIN_S):
                while True:  # the group's coordinator is there with the first question for it, or the right again
                    try:
                        assert await read() == [None]
                        break
                    except UnreachableError:
                        await asyncio.sleep(LOOK_S)
            with cluster.without("restores", right, operation), pytest.raises(UnreachableNotPermittedError, match=told):
                await read()
    finally:
        await client.close()


def test_topics_are_checked_with_the_rights_of_a_check(cluster: Cluster) -> None:
    result = cluster.run(cluster.user("checker", ALL[TOPICS_CHECK]) | OF_BOTH, "topics", "check", "--json")
    found = json.loads(result.stdout)
    assert (result.returncode, found["ok"], found["missing"], found["refusals"]) == (0, True, [], [])
    assert set(found["probes"].values()) == {"ok"}
    assert not any(warning["setting"] == "deleted" for warning in found["warnings"])


def test_what_a_worker_may_not_try_is_not_tried_and_a_worker_starts(cluster: Cluster) -> None:
    """Goes red when what the user may not do is taken for what the brokers cannot do."""
    environment = cluster.user("worker-too", [*ALL[WORKER], *ALL[PUBLISHING], *ALL[REACTING]]) | OF_BOTH
    result = cluster.run(environment, "topics", "check", "--json")
    found = json.loads(result.stdout)
    assert (result.returncode, found["ok"], found["refusals"]) == (0, True, [])
    tried = {name for name, said in found["probes"].items() if not said.startswith("not tried")}
    assert tried == {"consumer group", "group of readers"}
    assert {found["probes"][name] for name in tried} == {"ok"}
    text = cluster.run(environment, "topics", "check").stdout
    assert "unknown  compaction: not tried: the user may not create the topic acl.annals-probe-" in text
    assert text.endswith("Nothing keeps a worker from starting.\n")


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        (Resource.TRANSACTIONAL_ID, {"compaction": "ok", "transactions": "not tried", "record size": "ok"}),
        ("Write", {"compaction": "ok", "transactions": "not tried", "record size": "not tried"}),
        ("Read", {"compaction": "ok", "transactions": "not tried", "record size": "ok"}),
    ],
)
def test_a_probe_without_its_right_is_not_tried(cluster: Cluster, left_out: str, expected: dict[str, str]) -> None:
    granted = [
        right
        if right.resource is Resource.GROUP
        else right._replace(operations=tuple(each for each in right.operations if each != left_out))
        for right in ALL[TOPICS_CHECK]
        if right.resource != left_out
    ]
    found = json.loads(cluster.run(cluster.user("prober", granted) | OF_BOTH, "topics", "check", "--json").stdout)
    groups = {"consumer group": "ok", "group of readers": "ok"}
    assert {name: said.partition(":")[0] for name, said in found["probes"].items()} == expected | groups
    assert (found["ok"], found["refusals"]) == (True, [])


def test_to_join_the_group_is_not_tried_without_its_right(cluster: Cluster) -> None:
    """Who checks topics need not be a worker's user."""
    granted = [right for right in ALL[TOPICS_CHECK] if right.resource is not Resource.GROUP]
    result = cluster.run(cluster.user("outsider", granted) | OF_BOTH, "topics", "check", "--json")
    found = json.loads(result.stdout)
    assert (result.returncode, found["ok"], found["refusals"]) == (0, True, [])
    for name, group in (("consumer group", APP_ID), ("group of readers", f"{APP_ID}.read")):
        said = f"not tried: the user may not do it (the user needs Read on the group: {PREFIX}{group}, "
        assert found["probes"][name].startswith(said)


def test_a_topic_that_could_not_be_deleted_is_named(cluster: Cluster) -> None:
    granted = [
        right._replace(operations=tuple(each for each in right.operations if each != "Delete"))
        for right in ALL[TOPICS_CHECK]
    ]
    result = cluster.run(cluster.user("keeper", granted), "topics", "check")
    assert result.returncode == 0
    assert "warning  acl.annals-probe-" in result.stdout


def test_what_one_may_not_see_is_not_called_missing(cluster: Cluster) -> None:
    """Goes red when the answer is to create what is there. A worker that decides needs fewer than are created."""
    for words, told in (("check", "acl.commands.agent and 28"), ("create", "acl.audit and 46")):
        result = cluster.run(cluster.user("nobody", []), "topics", words)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"{told} more topics: the user may not see whether they exist" in result.stderr
