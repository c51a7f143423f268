"""`annals journal accept` over several partitions and kinds: each is judged by itself, and only some are written."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition
from click.testing import CliRunner

from annals.schemas.cid import cid_of, cid_text
from annals.topics.group_metadata import EventAt, GroupMetadata, decode_metadata
from annals.topics.keys import partition_of
from annals.workers.audit import acceptance
from annals.workers.cli.journal import journal
from annals.workers.kafka.admin.provisioning import create
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.offsets import committed
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.settings import Settings, client_options
from chained import Sealed, chain, write

pytestmark = pytest.mark.broker

PARTITIONS = 3
WHOLE, RESTORED, CUT = range(PARTITIONS)
GONE = cid_of(b"an event that was acknowledged")


def ids(partition: int) -> str:
    return next(name for number in range(99) if partition_of((name := f"p-{number}").encode(), PARTITIONS) == partition)


async def commit(settings: Settings, kind: str, partition: int, metadata: GroupMetadata) -> None:
    """Commit for the group, as a worker did before the journal lost something."""
    topic = f"{settings.topic_prefix}commands.{kind}"
    writer = TransactionalWriter(client_options(settings), f"{topic}-{partition}-before", [topic])
    try:
        await writer.fence()
        group = f"{settings.topic_prefix}annals"
        await writer.commit({}, Offsets(group, topic, partition, 0, metadata.encode()), {})
        await writer.fence()  # answered once the marker is written, by which the offset is there
    finally:
        await writer.close()


async def known(settings: Settings, kind: str) -> list[GroupMetadata]:
    topic = f"{settings.topic_prefix}commands.{kind}"
    client = await connect(client_options(settings), [topic])
    try:
        group = f"{settings.topic_prefix}annals"
        found = [await committed(client, group, TopicPartition(topic, partition)) for partition in range(PARTITIONS)]
        return [decode_metadata(each[1]) for each in found if each is not None]
    finally:
        await client.close()


@pytest.fixture
def settings(bootstrap: str, topic_prefix: str) -> Settings:
    """Two kinds with a whole partition, one of which only offsets were known, and one that lost its last event."""
    made = Settings(bootstrap_servers=bootstrap, topic_prefix=topic_prefix, partitions=PARTITIONS)

    async def prepare() -> None:
        await create(made)
        for kind in ("person", "agent"):
            for partition in range(PARTITIONS):
                events = chain(ids(partition), 2, kind=kind)
                await write(bootstrap, f"{topic_prefix}events.{kind}", events, partition)
                metadata = {
                    WHOLE: GroupMetadata(2, EventAt(1, events[-1].cid)),
                    RESTORED: GroupMetadata(4),
                    CUT: GroupMetadata(6, EventAt(4, GONE)),
                }[partition]
                await commit(made, kind, partition, metadata)

    asyncio.run(prepare())
    return made


def accept(settings: Settings, kind: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
    own = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    result = CliRunner().invoke(
        journal, ["accept", kind, "--json", *options, *own], standalone_mode=False, catch_exceptions=False
    )
    return result.return_value, json.loads(result.stdout)["partitions"]


def heads(tmp_path: Path, events: list[Sealed], aggregate_id: str) -> Path:
    file = tmp_path / "kept.jsonl"
    file.write_text(
        "\n".join(json.dumps({"aggregate_id": aggregate_id, "head": cid_text(each.cid)}) for each in events)
    )
    return file


def test_each_partition_of_each_kind_is_accepted_by_itself(settings: Settings, tmp_path: Path) -> None:
    before = {kind: asyncio.run(known(settings, kind)) for kind in ("person", "agent")}
    lost = heads(tmp_path, chain(ids(CUT), 3)[2:], ids(CUT))
    status, said = accept(settings, "person", "--heads", str(lost))
    assert (status, [each["accepted"] for each in said]) == (1, [False, True, False])
    assert [bool(each["lost"]) for each in said] == [False, True, True]
    assert [each["said_by"] for each in said[CUT]["missing"]] == ["a kept head"]
    after = asyncio.run(known(settings, "person"))
    assert (after[WHOLE], after[CUT]) == (before["person"][WHOLE], before["person"][CUT])
    assert (after[RESTORED].journal_end, after[RESTORED].accepted_until) == (2, 4)
    status, said = accept(settings, "person", "--heads", str(lost), "--give-up")
    assert (status, [each["accepted"] for each in said]) == (0, [False, False, True])
    assert asyncio.run(known(settings, "person"))[CUT].accepted_until == 6
    assert asyncio.run(known(settings, "agent")) == before["agent"]
    assert [bool(each["lost"]) for each in accept(settings, "agent", "--dry-run")[1]] == [False, True, True]


async def test_a_journal_is_not_compared_again_where_no_broker_answers() -> None:
    """Goes red where connecting is tried again, too: with silent brokers it said nothing for minutes."""
    taken = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        settings = Settings(bootstrap_servers=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(KafkaConnectionError):
            await connect(client_options(settings), [])
        once = taken
        with pytest.raises(KafkaConnectionError):
            await acceptance.compare(acceptance.deployment_of(settings), "person", [])
    assert taken == 2 * once
