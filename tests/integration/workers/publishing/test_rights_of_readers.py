"""The role `read` with the rights that the reference lists and no others, and without one of them at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from confluent_kafka import Consumer, Producer

from acl_cluster import APP_ID, PARTITIONS, PREFIX, PROPERTIES, Cluster
from annals.topics.keys import partition_of
from annals.topics.rights import (
    DEAD_LETTERS,
    PARKED,
    PUBLISHING,
    REACTING,
    REACTIONS,
    REPLAYS,
    SUBSCRIPTIONS,
    TOPICS_CREATE,
    WORKER,
    rights,
)
from annals.workers.registry import deciders, reactions
from annals.workers.tools.broker import Broker
from grouped import GroupWorker
from processes import ENTRY_POINT, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.broker

GATHER = """
from annals.agents.reactions.reaction import Reacted, Reaction
from annals.schemas.commands import command
from annals.schemas.kinds import person as say
from msgspec import Struct


class Seen(Struct, frozen=True):
    count: int = 0


def react(state, event):
    return Reacted(Seen(state.count + 1), [command("person", event.aggregate_id, say.AddEmail("a@example.org"))])


GATHER = Reaction(
    "gather", 1, "person", frozenset({say.PersonRegistered}), Seen, react, key="correlation_id", rekeyed=True
)
"""
REACTING_NAMES = (*reactions(), "gather")
ALL = rights(PREFIX, APP_ID, tuple(deciders()), REACTING_NAMES, ("gather",))
GRANTED = [
    right
    for part in (WORKER, PUBLISHING, SUBSCRIPTIONS, REACTING, REACTIONS, PARKED, DEAD_LETTERS, REPLAYS)
    for right in ALL[part]
]
# What is taken away, and what is then said: in readiness, by the name of the topic or id, and the right. Not what is
# read when a publisher opens alone (`progress`): one that publishes lacks nothing without it.
MISSING = [
    ("subscribers.", "Write", "the user needs Write on the topic: acl.subscribers."),
    ("progress", "Write", "the user needs Write on the topic: acl.progress-"),
    ("deliveries.", "Write", "the user needs Write on the topic: acl.deliveries.answered-"),
    ("acks.", "Read", "the user needs Read on the topic: acl.acks.answered-"),
    ("rekeyed.", "Write", "the user needs Write on the topic: acl.rekeyed.gather-"),
    ("timers.", "Write", "the user needs Write on the topic: acl.timers.gather-"),
    ("rekeyed.", "Read", "the user needs Read on the topic: acl.rekeyed.gather-"),
    (f"{APP_ID}.publish", "Read", f"the user needs Read on the group: acl.{APP_ID}.publish"),
    (f"{APP_ID}.react.", "Read", f"the user needs Read on the group: acl.{APP_ID}.react."),
]
# What is asked for without a right, and what the answer names.
ASKED = [
    ("audit", "Write", "POST", "/v1/subscriptions/streamed/pause", None),
    ("subscriptions", "Write", "POST", "/v1/subscriptions/streamed/pause", None),
    ("annals-acl.subscriptions", "Write", "POST", "/v1/subscriptions/streamed/pause", None),
    ("reactions", "Write", "POST", "/v1/reactions/gather/resume", None),
    ("annals-acl.reactions", "Write", "POST", "/v1/reactions/gather/resume", None),
    ("jobs", "Write", "POST", "/v1/replays", {"dry_run": True}),
    ("annals-acl.jobs", "Write", "POST", "/v1/replays", {"dry_run": True}),
    ("projections", "Write", "POST", "/v1/projections/people_directory/rebuild", None),
    ("annals-acl.projections", "Write", "POST", "/v1/projections/people_directory/rebuild", None),
    ("deliveries.", "Read", "GET", "/v1/subscriptions/answered/parked", None),
    ("acks.", "Write", "POST", "/v1/subscriptions/answered/acks", {"cid": "…", "verdict": "ack"}),
    ("dead-letters", "Read", "GET", "/v1/dead-letters", None),
    ("commands.person", "Write", "POST", "/v1/commands", {
        "kind": "person", "aggregate_id": "asked", "type": "RegisterPerson", "data": {"name": "Ada"},
    }),
]  # fmt: skip
# Of which a worker keeps in memory what they say.
KEPT = ["subscriptions", "projections", "jobs", "reactions"]


class Readers:
    """A worker of both roles under the rights of its user."""

    def __init__(self, cluster: Cluster, worker: GroupWorker) -> None:
        self.cluster = cluster
        self.worker = worker
        self.sent = 0

    def register(self) -> str:
        """Have a person decided that was not there; its id."""
        self.sent += 1
        name = f"p-{self.sent}"
        command = {"kind": "person", "aggregate_id": name, "type": "RegisterPerson", "data": {"name": "Ada"}}
        done = self.cluster.run(self.cluster.environment(), "send", said=json.dumps(command) + "\n")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["events"], done.stdout
        return name

    def asked(self, method: str, path: str, body: Any = None) -> Any:
        status, found = self.worker.asked(method, path, body)
        assert status < 300, (method, path, status, found)
        return found

    def job(self, method: str, path: str, body: Any = None) -> None:
        """Begin a job and wait until it is done."""
        job = self.asked(method, path, body)["id"]

        def status() -> str:
            found = self.asked("GET", "/v1/jobs")["jobs"]
            return str(next(each["status"] for each in found if each["id"] == job))

        self.worker.until(lambda: status() == "done", f"{path} is done")

    def in_flight(self) -> int:
        return int(self.asked("GET", "/v1/subscriptions/answered")["deliveries"]["unsettled"])


class Used(NamedTuple):
    """Readers that have done all that they may; reasons, said: of readiness, and in the log, when they had."""

    readers: Readers
    reasons: list[str]
    said: str


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path | None) -> Iterator[Readers]:
    folder = tmp_path_factory.mktemp("readers")
    info = folder / "site/annals_gather-1.dist-info"
    info.mkdir(parents=True)
    (folder / "site/gather.py").write_text(GATHER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: annals-gather\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[annals.reactions]\ngather = gather:GATHER\n")
    with Broker(folder / "broker", cache_dir=cache_dir, properties=PROPERTIES) as broker:
        cluster = Cluster(broker.bootstrap, folder)
        site = {"PYTHONPATH": str(folder / "site")}
        created = cluster.run(cluster.user("creator", ALL[TOPICS_CREATE]) | site, "topics", "create")
        assert created.returncode == 0, created.stderr
        port, log = free_port(), folder / "worker.log"
        environment = cluster.user("reader", GRANTED) | {
            **site,
            "ANNALS_DATA_DIR": str(folder / "data"),
            "ANNALS_WEB_PORT": str(port),
            "ANNALS_ROLES": "write,read",
            "ANNALS_API_PORT": "0",
            "ANNALS_LOG_FORMAT": "json",
            "ANNALS_SNAPSHOT_EVERY": "1",
        }
        checked = cluster.run(environment, "topics", "check", "--json")
        assert json.loads(checked.stdout)["ok"], checked.stdout
        with running([ENTRY_POINT, "worker"], environment, log) as process:
            yield Readers(cluster, GroupWorker(process, port, log).until_ready())
            assert process.poll() is None, log.read_text()[-4000:]


@pytest.fixture(scope="module")
def used(readers: Readers) -> Used:
    """All that a reader does, done once, before any right is taken away: tests come in any order."""
    for name, delivery in (("streamed", "stream"), ("answered", "acknowledged")):
        readers.worker.subscribe(name, kinds=["person"], delivery=delivery)
    for name in REACTING_NAMES:
        readers.asked("POST", f"/v1/reactions/{name}/resume")
    person = readers.register()
    readers.worker.until(lambda: readers.in_flight() == 1, "the first of its events is in flight")
    (event, *_) = readers.asked("GET", f"/v1/aggregates/person/{person}/events")["events"]
    park = {"kind": "person", "cid": event["cid"], "attempt": 1, "verdict": "park", "reason": "no"}
    readers.asked("POST", "/v1/subscriptions/answered/acks", park)
    readers.worker.until(lambda: readers.asked("GET", "/v1/subscriptions/answered/parked")["parked"], "it is parked")
    readers.asked("POST", "/v1/subscriptions/answered/parked/replay", {"all": True})
    producer = Producer(readers.cluster.root)
    producer.produce(f"{PREFIX}commands.person", b"no JSON", b"p", partition=partition_of(b"p", PARTITIONS))
    assert producer.flush(30) == 0
    readers.worker.until(lambda: readers.asked("GET", "/v1/dead-letters")["dead_letters"], "a dead letter")
    readers.asked("POST", "/v1/dead-letters/discard", {"all": True, "reason": "a test"})
    for path in ("rebuild", "verify"):
        readers.job("POST", f"/v1/projections/people_directory/{path}")
    readers.job("POST", "/v1/replays", {"target": {"topic": "replays.again"}})
    readers.asked("POST", f"/v1/aggregates/person/{person}/snapshots")

    def greeted() -> bool:
        found = readers.asked("GET", f"/v1/aggregates/person/{person}/events")["events"]
        return [each["type"] for each in found] == ["PersonRegistered", "EmailAdded"]

    readers.worker.until(greeted, "the re-keyed reaction has reacted")
    consumer = Consumer({**readers.cluster.root, "group.id": "x", "auto.offset.reset": "earliest"})
    consumer.subscribe([f"{PREFIX}subscribers.streamed", f"{PREFIX}replays.again"])
    seen: set[str] = set()

    def published() -> bool:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            seen.add(str(message.topic()))
        return len(seen) == 2

    readers.worker.until(published, "what is published and replayed is there")
    consumer.close()
    return Used(readers, readers.worker.health(), readers.worker.log.read_text())


def test_all_that_a_reader_does_it_does_with_these_rights(used: Used) -> None:
    assert used.reasons == []
    assert "uthoriz" not in used.said, [line for line in used.said.splitlines() if "uthoriz" in line][:5]
    assert "the user needs" not in used.said


@pytest.mark.parametrize(("name", "operation", "told"), MISSING)
def test_one_right_less_is_named_and_deciding_goes_on(used: Used, name: str, operation: str, told: str) -> None:
    readers = used.readers
    (right, *_) = [each for each in GRANTED if each.name == f"{PREFIX}{name}" and operation in each.operations]
    with readers.cluster.without("reader", right, operation):
        readers.register()  # decided
        reason = readers.worker.until_told(told)
        assert reason.startswith("read: ")
        assert readers.worker.asked("GET", "/v1/aggregates/person/p-1")[0] == 200
    readers.worker.until_ready()


@pytest.mark.parametrize("name", KEPT)
def test_a_topic_that_may_not_be_read_any_more_is_named(used: Used, name: str) -> None:
    """Goes red when a worker is ready that no longer hears of rebuilt projections, of jobs, or of paused reactions."""
    readers, topic = used.readers, f"{PREFIX}{name}"
    (right, *_) = [each for each in GRANTED if each.name == topic and "Read" in each.operations]
    with readers.cluster.without("reader", right, "Read"):
        producer = Producer(readers.cluster.root)
        producer.produce(topic, b"no record", b"a key", partition=0)
        assert producer.flush(30) == 0
        told = f"read: {topic} cannot be read: the user needs Read on the topic: {topic}-0"
        assert readers.worker.until_told(told) == told
        assert readers.worker.asked("GET", "/v1/aggregates/person/p-1")[0] == 200
    readers.worker.until_ready()


@pytest.mark.parametrize(("name", "operation", "method", "path", "body"), ASKED)
def test_what_is_asked_for_without_a_right_is_refused_by_the_name_of_what_is_lacking(
    used: Used, name: str, operation: str, method: str, path: str, body: Any
) -> None:
    readers = used.readers
    (right, *_) = [each for each in GRANTED if each.name in {name, f"{PREFIX}{name}"} and operation in each.operations]
    if body is not None and "cid" in body:
        person = readers.register()
        (event, *_) = readers.asked("GET", f"/v1/aggregates/person/{person}/events")["events"]
        body = {**body, "cid": event["cid"]}
    with readers.cluster.without("reader", right, operation):
        status, found = readers.worker.call(method, path, body)
        assert status in {403, 503}, found
        needs, _, what = found["detail"].partition("the user needs ")[2].partition(" on the ")
        assert operation in needs, found
        assert what.startswith(f"{right.resource}: {right.name}"), found
    readers.asked(method, path, body)
    if path.endswith("/pause"):
        readers.asked("POST", path.replace("/pause", "/resume"))
    readers.worker.until_ready()
