"""Projections on the real broker: global ones in a store, two versions by their topic, folds without a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.reading.gathering.rows import LocalRows
from annals.agents.reading.jobs import Jobs
from annals.agents.reading.ports import Member
from annals.agents.reading.projecting.versions import rebuilt, turned_to
from annals.agents.reading.read_models.read_models import ReadModels
from annals.schemas.kinds import location, person
from annals.schemas.projection_record import encode_record
from annals.workers.kafka.admin.provisioning import create
from annals.workers.kafka.connections import connect
from annals.workers.projections.metrics import ProjectionMetrics
from annals.workers.projections.offline import fold_from_kafka
from annals.workers.projections.query import QueryError, Tables
from annals.workers.projections.topic import ProjectionTopic
from annals.workers.projections.wiring import ProjectionWiring
from annals.workers.registry import projections
from annals.workers.settings import Settings, client_options
from annals.workers.stores.rocks import StoreBudget
from following import Clock, Damages, until
from jobs_in_memory import JobRecordsInMemory, numbered
from projecting import BOTH, NEW, PARTITIONS, Group, Here, Journals, MemoryShards, rows_from_kafka

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker

NAME = "people_directory"


@pytest.fixture
async def settings(bootstrap: str, topic_prefix: str, tmp_path: Path) -> Settings:
    """Settings whose topics exist, three partitions each."""
    made = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=PARTITIONS, data_dir=tmp_path)
    await create(made)
    return made


async def record(settings: Settings, journals: Journals) -> None:
    """Write journals in memory to Kafka."""
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        for (kind, partition), records in journals.records_of.items():
            for each in records:
                await producer.send(f"{settings.topic_prefix}events.{kind}", each.value, each.key, partition)


def story() -> Journals:
    journals = Journals()
    for name in ("a", "b", "f"):
        journals.append("person", name, person.PersonRegistered(name=f"Ada {name}"), at="2026-01-01T00:00:00.000000Z")
        journals.append("person", name, person.EmailAdded("a@example.org"), at="2026-02-01T00:00:00.000000Z")
        parent = {} if name == "a" else {"parent_id": "a"}
        journals.append("location", name, location.LocationDefined(name="L", location_type="logical", **parent))
    return journals


async def test_two_versions_turn_by_one_record_and_a_stranger_turns_nothing(settings: Settings) -> None:
    options, name = client_options(settings), f"{settings.topic_prefix}projections"
    mine, other = ProjectionTopic(options, name), ProjectionTopic(options, name)
    tasks = [asyncio.create_task(each.run()) for each in (mine, other)]
    try:
        await until(lambda: mine.is_read and other.is_read)
        journals = story()
        shards = MemoryShards(journals, BOTH)
        sources = {"local": LocalRows(shards)}
        first = turned_to(NAME, 1, {"person": [0, 0, 0]}, None, 0)
        assert await mine.change(NAME, lambda _: first) == first
        group = Group(Member("a", None, {}, {NAME: 2}))
        models = ReadModels(NEW, DECIDERS, mine, group, Clock())
        models.apply(Here(shards))
        assert models.version_of(NAME) == 1
        assert await models.turn(sources) == [NAME]
        assert models.version_of(NAME) == 2
        await until(lambda: other.records.get(NAME) == mine.records[NAME])
        assert (other.records[NAME].previous, other.records[NAME].positions) == (1, {"person": [2, 2, 2]})
        # Both change it at once: each sees what the other has written, or is refused and tries again.
        await asyncio.gather(*(each.change(NAME, rebuilt) for each in (mine, other)))
        await until(lambda: mine.records[NAME].rebuilds == other.records[NAME].rebuilds == 2)
        before = mine.invalid
        async with AIOKafkaProducer(**options) as producer:
            strange = encode_record(replaced(mine.records[NAME], version=9)).replace(b'"version":9', b'"version":-9')
            for value in (b"not JSON", strange, b'{"name":"another","version":1,"switched_ms":0}'):
                await producer.send_and_wait(name, value, key=NAME.encode(), partition=0)
        await until(lambda: mine.invalid == before + 3)
        assert mine.records[NAME].version == 2
    finally:
        await ended(tasks)


async def test_a_global_projection_outlives_its_process_and_rows_are_folded_without_one(settings: Settings) -> None:
    journals = story()
    await record(settings, journals)
    metrics = ProjectionMetrics(CollectorRegistry())
    for _ in range(2):  # begun, and gone on with
        client = await connect(client_options(settings), [])
        wiring = ProjectionWiring(
            settings, client, DECIDERS, Group(), Clock(), StoreBudget(8 << 20, 8 << 20), Damages(), metrics
        )
        reader = wiring.global_reader
        tasks = [asyncio.create_task(reader.run()), asyncio.create_task(wiring.topic.run())]
        try:
            await until(lambda reader=reader: sum(reader.positions.read_until.values()) == 3)
            await until(lambda topic=wiring.topic: topic.is_read)
            answers = wiring.answers(MemoryShards(journals))
            found = await answers.ask("locations", {"under": "a"})
            assert ([row["aggregate_id"] for row in found.rows], found.positions) == (
                ["b", "f"],
                {"location": [1, 1, 1]},
            )
            service = wiring.service(MemoryShards(journals))
            jobs = Jobs(JobRecordsInMemory(), Group(Member("me", None, {}, {})), service.works(), Clock(), numbered())
            job = await jobs.start("verify", "locations", service.verification("locations"))
            while job.status == "running":
                await asyncio.sleep(0)
                job = await jobs.get(job.id)
            assert (job.status, job.result["differences"], job.result["rows"]) == ("done", [], 3)
        finally:
            await ended(tasks)
            await reader.close()
            await client.close()
    newest = [versions[-1] for name, versions in projections().items() if name in {NAME, "locations"}]
    then = await rows_from_kafka(settings, newest, "2026-01-15T00:00:00.000000Z")
    assert [row["emails"] for row in then[NAME]] == [[], [], []]
    tables = Tables()
    await fold_from_kafka(settings, newest, tables.load)
    tables.lock()
    found = tables.query(
        "SELECT p.aggregate_id, p.emails ->> 0 AS email FROM people_directory p JOIN locations USING (aggregate_id) "
        "WHERE parent_id = 'a' ORDER BY 1"
    )
    assert list(found) == [
        {"aggregate_id": "b", "email": "a@example.org"},
        {"aggregate_id": "f", "email": "a@example.org"},
    ]
    for forbidden in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "SET enable_external_access = true",
        "COPY locations TO 'x'",
    ):
        with pytest.raises(QueryError):
            list(tables.query(forbidden))
    tables.close()


def replaced(record: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(record, **changes)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
