"""What is stored is counted by type and version, read through upcasters, and cached anew; events stay as they are."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import TopicPartition
from click.testing import CliRunner

from annals.schemas.chain import seal
from annals.schemas.cid import cid_text
from annals.schemas.snapshot import Snapshot, decode_snapshot, encode_snapshot
from annals.workers.cli.schemas import schemas
from annals.workers.kafka.admin.provisioning import create
from annals.workers.maintenance import snapshots as written
from annals.workers.maintenance.walk import connected
from annals.workers.settings import Settings, client_options
from chained import Sealed, write
from whole_topics import until_set

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.broker
DEPLOYED = {"name": "a", "agent_type": "analyst", "owner_id": "p-1", "capacity": 1}


def chain(*events: tuple[str, int, dict[str, Any]]) -> list[Sealed]:
    """An agent's events, as blocks in a chain."""
    made: list[Sealed] = []
    for version, (name, schema_version, data) in enumerate(events, 1):
        previous = made[-1].cid if made else None
        at = "2026-11-21T09:30:00.123456Z"
        block, cid = seal(
            kind="agent",
            aggregate_id="a-1",
            version=version,
            previous=previous,
            type=name,
            schema_version=schema_version,
            recorded_at=at,
            command_id=f"c-{version}",
            correlation_id="c",
            causation_id=None,
            actor=None,
            data=data,
        )
        made.append(Sealed(b"a-1", block, [], version, cid))
    return made


OLD_AND_NEW = chain(
    ("AgentDeployed", 1, DEPLOYED),
    ("ModelConfigured", 1, {"model": "anthropic/claude"}),
    ("ModelConfigured", 2, {"provider": "anthropic", "model": "claude-2"}),
)


@pytest.fixture
def settings(bootstrap: str, topic_prefix: str) -> Iterator[Settings]:
    made = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=1)
    asyncio.run(create(made))
    return made


def store(settings: Settings, events: list[Sealed]) -> None:
    asyncio.run(write(settings.bootstrap_servers, f"{settings.topic_prefix}events.agent", events))


def run(settings: Settings, *arguments: str) -> Any:
    own = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    return CliRunner().invoke(schemas, [*arguments, *own], standalone_mode=False, catch_exceptions=False)


async def contents(settings: Settings, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    from annals.workers.kafka.read.ranges import bounds, read_range

    where = TopicPartition(settings.topic_prefix + topic, 0)
    async with connected(settings, [where[0]]) as client:
        start, end = (await bounds(client, [where]))[where]
        return [(key, value) async for part in read_range(client, where, start, end) for _, key, value, _ in part]


async def put(settings: Settings, key: bytes, value: bytes) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        await producer.send_and_wait(f"{settings.topic_prefix}snapshots.agent", value, key=key)


def test_usage_counts_events_by_type_and_version(settings: Settings) -> None:
    store(settings, [*OLD_AND_NEW, Sealed(b"a-1", b"no event", [], 0, b"")])
    result = run(settings, "usage", "--json")
    assert result.return_value == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"kind": "agent", "type": name, "version": version, "events": 1, "known": True}
        for name, version in (("AgentDeployed", 1), ("ModelConfigured", 1), ("ModelConfigured", 2))
    ]


def test_usage_passes_over_what_is_no_event_in_its_place_and_counts_what_is_void(settings: Settings) -> None:
    first, second, _ = OLD_AND_NEW
    store(settings, [first, second.but(key=b"a-2"), second.but(key=None), first, second])
    result = run(settings, "usage", "agent", "--json")
    counted = {json.loads(line)["type"]: json.loads(line)["events"] for line in result.stdout.splitlines()}
    assert counted == {"AgentDeployed": 2, "ModelConfigured": 1}


def test_usage_says_which_types_this_release_does_not_know(settings: Settings) -> None:
    store(settings, chain(("AgentDeployed", 1, DEPLOYED), ("AgentCloned", 4, {})))
    result = run(settings, "usage", "agent")
    assert result.return_value == 1
    assert "agent AgentCloned 4  unknown to this release" in result.stdout


def test_usage_keeps_so_many_types_and_no_more(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.workers.maintenance.usage.MOST_TYPES", 2)
    store(settings, chain(*((f"{number}" * 1_000, 1, {}) for number in range(4)), ("AgentDeployed", 1, DEPLOYED)))
    result = run(settings, "usage", "agent", "--json")
    counted = {json.loads(line)["type"]: json.loads(line)["events"] for line in result.stdout.splitlines()}
    assert counted == {"0" * 256: 1, "1" * 256: 1, "…": 2, "AgentDeployed": 1}


def test_migrate_lists_so_many_events_and_counts_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annals.workers.maintenance.migration.MOST_LISTED", 2)
    store(settings, chain(*(("AgentCloned", 4, {}) for _ in range(5))))
    result = run(settings, "migrate", "agent", "--json")
    said = json.loads(result.stdout)
    assert (result.return_value, len(said["failures"]), said["more"]) == (1, 2, 3)


def test_migrate_reads_every_event_and_touches_none(settings: Settings) -> None:
    store(settings, OLD_AND_NEW)
    before = asyncio.run(contents(settings, "events.agent"))
    for arguments in (["--dry-run"], []):
        result = run(settings, "migrate", *arguments, "--json")
        assert result.return_value == 0
        assert json.loads(result.stdout) == {"events": 3, "upcast": 1, "failures": [], "outdated": 0, "rewritten": 0}
    assert asyncio.run(contents(settings, "events.agent")) == before


def test_migrate_names_each_event_that_cannot_be_read_by_its_cid(settings: Settings) -> None:
    events = chain(("AgentDeployed", 1, DEPLOYED), ("ModelConfigured", 1, {"modell": "x"}), ("ModelConfigured", 3, {}))
    store(settings, events)
    result = run(settings, "migrate", "agent", "--dry-run")
    assert result.return_value == 1
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == [cid_text(event.cid) for event in events[1:]]
    assert "its data do not fit" in lines[0]
    assert "reads the versions 1 to 2" in lines[1]


def test_migrate_makes_snapshots_of_a_former_state_version_anew(settings: Settings) -> None:
    store(settings, OLD_AND_NEW)
    old = Snapshot("agent", "a-1", 1, OLD_AND_NEW[0].cid, 999, b"as it was")
    asyncio.run(put(settings, b"a-1", encode_snapshot(old)))
    asyncio.run(put(settings, b"a-9", b"of no aggregate"))
    dry = json.loads(run(settings, "migrate", "--dry-run", "--json").stdout)
    assert (dry["outdated"], dry["rewritten"]) == (2, 0)
    assert len(asyncio.run(contents(settings, "snapshots.agent"))) == 2
    done = json.loads(run(settings, "migrate", "--json").stdout)
    assert (done["outdated"], done["rewritten"]) == (2, 1)
    key, value = asyncio.run(contents(settings, "snapshots.agent"))[-1]
    snapshot = decode_snapshot(value or b"")
    assert (key, snapshot.version, snapshot.head, snapshot.state_version) == (b"a-1", 3, OLD_AND_NEW[-1].cid, 1)
    from annals.agents.aggregates import REGISTRY

    assert (snapshot.recorded_at, snapshot.offset) == ("2026-11-21T09:30:00.123456Z", 2)
    state = REGISTRY["agent"].decode_state(snapshot.state)
    assert (state.provider, state.model) == ("anthropic", "claude-2")


def test_migrate_makes_a_snapshot_without_its_time_or_offset_anew(settings: Settings) -> None:
    store(settings, OLD_AND_NEW)
    last = OLD_AND_NEW[-1].cid
    for more in ({}, {"recorded_at": "2026-11-21T09:30:00.123456Z"}, {"offset": 2}):
        asyncio.run(put(settings, b"a-1", encode_snapshot(Snapshot("agent", "a-1", 3, last, 1, b"\x81", **more))))
        assert json.loads(run(settings, "migrate", "--json").stdout)["rewritten"] == 1
        assert json.loads(run(settings, "migrate", "--json").stdout)["outdated"] == 0


def test_migrate_puts_no_older_snapshot_over_one_that_a_worker_writes_meanwhile(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(settings, OLD_AND_NEW)
    asyncio.run(put(settings, b"a-1", b"out of date"))
    newer = [Snapshot("agent", "a-1", version, OLD_AND_NEW[-1].cid, 1, b"newer") for version in (7, 8)]
    topic = f"{settings.topic_prefix}snapshots.agent"
    original = written._write

    async def beside_a_worker(options: Any, where: Any, snapshots: Any) -> int:
        if not newer:
            return await original(options, where, snapshots)
        async with AIOKafkaProducer(**options, transactional_id=f"{topic}-worker") as worker:
            await worker.begin_transaction()
            await worker.send_and_wait(topic, encode_snapshot(newer.pop(0)), key=b"a-1", partition=0)
            last = await original(options, where, snapshots)
            await worker.commit_transaction()
        return last

    monkeypatch.setattr(written, "_write", beside_a_worker)
    assert run(settings, "migrate", "--json").return_value == 0
    _, value = asyncio.run(contents(settings, "snapshots.agent"))[-1]
    assert decode_snapshot(value or b"").version == 8


def test_migrate_names_the_snapshots_that_are_too_large(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.workers.maintenance.snapshots.SNAPSHOT_TOPIC_BYTES", 150)
    store(settings, OLD_AND_NEW)
    asyncio.run(put(settings, b"a-1", b"out of date"))
    assert "the snapshot of agent a-1 is larger than its topic takes" in run(settings, "migrate").stdout
    done = json.loads(run(settings, "migrate", "--json").stdout)
    assert (done["outdated"], done["rewritten"], done["too_large"]) == (1, 0, ["agent a-1"])


def test_migrate_writes_no_snapshot_while_an_event_cannot_be_read(settings: Settings) -> None:
    store(settings, chain(("AgentDeployed", 1, DEPLOYED), ("AgentCloned", 1, {})))
    asyncio.run(put(settings, b"a-1", b"out of date"))
    result = run(settings, "migrate", "--json")
    assert result.return_value == 1
    assert json.loads(result.stdout)["rewritten"] == 0
    assert len(asyncio.run(contents(settings, "snapshots.agent"))) == 1


def test_migrate_does_not_count_what_the_broker_refused(settings: Settings) -> None:
    store(settings, OLD_AND_NEW)
    asyncio.run(put(settings, b"a-1", b"x"))
    asyncio.run(set_limit(settings, "snapshots.agent", 80))
    with pytest.raises(MessageSizeTooLargeError):
        run(settings, "migrate", "agent")
    assert len(asyncio.run(contents(settings, "snapshots.agent"))) == 1


async def set_limit(settings: Settings, topic: str, limit_bytes: int) -> None:
    """The largest batch that the topic takes: of an empty value and a short key it is some 70 bytes."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        name, configs = settings.topic_prefix + topic, {"max.message.bytes": str(limit_bytes)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])
    finally:
        await admin.close()
    await asyncio.to_thread(until_set, settings.bootstrap_servers, name, "max.message.bytes", str(limit_bytes))


def test_without_topics_it_is_said_what_to_do(bootstrap: str, topic_prefix: str) -> None:
    from annals.workers.cli.failures import CannotAskError

    nowhere = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix)
    with pytest.raises(CannotAskError, match="annals topics create"):
        run(nowhere, "usage")
