"""A reading shard on the real broker follows what a worker wrote, from its start and from where its store stands."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.found import EventFilter
from annals.schemas.journal_reader import Counted, RememberingReader
from annals.workers.kafka.connections import connect
from annals.workers.kafka.read.journal_partition import KafkaJournalPartition
from annals.workers.kafka.read.ranges import bounds, read_range
from annals.workers.stores.reading import ReadingStoreFolder, reading_identity
from annals.workers.stores.rocks import StoreBudget
from following import Clock, Damages, soon, until
from journal_ranges import Ranges
from processes import ENTRY_POINT, free_port, own_environment
from processes import running as process_running
from processes import until as process_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


pytestmark = pytest.mark.broker

PERSONS = 200


class Deployment:
    """One worker on one partition of each kind."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.folder = bootstrap, folder
        self.where = TopicPartition(f"{prefix}events.person", 0)
        self.source: Ranges
        self.environment = own_environment(
            ANNALS_BOOTSTRAP_SERVERS=bootstrap,
            ANNALS_TOPIC_PREFIX=prefix,
            ANNALS_PARTITIONS="1",
            ANNALS_CREATE_TOPICS="1",
            ANNALS_DATA_DIR=str(folder / "data"),
            ANNALS_WEB_PORT=str(free_port()),
        )

    def send(self, type_name: str, name: str, run: int = 1) -> None:
        lines = self.folder / "commands.jsonl"
        with lines.open("w") as file:
            for number in range(PERSONS):
                command = {"kind": "person", "type": type_name, "aggregate_id": f"p-{number}", "data": {"name": name}}
                file.write(json.dumps({**command, "id": f"{type_name}-{run}-{number}"}) + "\n")
        sent = subprocess.run(
            [ENTRY_POINT, "send", str(lines), "--timeout", "60"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert sent.returncode == 0, sent.stderr

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[Shard]:
        client = await connect({"bootstrap_servers": self.bootstrap}, [self.where[0]])
        stores = ReadingStoreFolder(
            self.folder / "reading",
            reading_identity("person", 0, 1, self.where[0]),
            StoreBudget(8 << 20, 4 << 20),
            "lz4",
        )
        source = self.source = Ranges(client, self.where)
        journal = KafkaJournalPartition(client, *self.where)
        shard = Shard(REGISTRY["person"], 0, 1, stores, journal, source, Clock(), Damages())
        tasks = [asyncio.create_task(shard.run()), asyncio.create_task(source.run(shard))]
        try:
            yield shard
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await shard.close()
            await client.close()

    async def counted(self) -> list[tuple[int, bytes]]:
        """What counts in the journal, read anew with nothing of the shard's."""
        client = await connect({"bootstrap_servers": self.bootstrap}, [self.where[0]])
        try:
            start, end = (await bounds(client, [self.where]))[self.where]
            reader = RememberingReader("person", lambda _: True)
            found = []
            async for records in read_range(client, self.where, start, end):
                for offset, key, value, _ in records:
                    record = reader.read(offset, key, value)
                    if isinstance(record, Counted):
                        found.append((record.offset, record.cid))
            return found
        finally:
            await client.close()


async def everything(shard: Shard) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    start: int | None = None
    while True:
        page = await shard.find(EventFilter(), start=start, descending=False, limit=77)
        found += [(each.offset, each.cid) for each in page.events]
        if page.is_end:
            return found
        start = page.next_offset


async def test_a_reading_shard_follows_what_a_worker_writes(bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    deployment = Deployment(bootstrap, topic_prefix, tmp_path)
    log = tmp_path / "worker.log"
    with process_running([ENTRY_POINT, "worker"], deployment.environment, log) as process:
        process_until(lambda: "shard open" in log.read_text(), process, log, "open")
        await asyncio.to_thread(deployment.send, "RegisterPerson", "Ada")
        async with deployment.shard() as shard:
            assert await shard.until_version(f"p-{PERSONS - 1}", 1, soon())
            await asyncio.to_thread(deployment.send, "RenamePerson", "Grace")
            assert await shard.until_version("p-0", 2, soon())
            await shard.look()
            # The last record of the partition is a transaction's marker: a position that knows events alone hangs here.
            assert await shard.until_offset(shard.status().end, soon())
            await until(lambda: shard.status().reached)
            assert await everything(shard) == await deployment.counted()
            state = await shard.state("p-7")
            assert state is not None
            assert (state.version, state.state["name"]) == (2, "Grace")
            position = shard.status().offset
        await asyncio.to_thread(deployment.send, "RenamePerson", "Joan", 2)
        async with deployment.shard() as shard:  # from its store on
            await until(lambda: shard.status().phase == "reading")
            assert 0 < (deployment.source.asked_from or 0) <= position
            assert await shard.until_offset(shard.status().end, soon())
            assert await everything(shard) == await deployment.counted()
