"""Reading shards of many partitions in memory, for tests of what asks all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from annals.agents.aggregates import REGISTRY
from annals.agents.reading.following.shard import Shard
from annals.agents.reading.ports import Member, NotReadyError
from annals.schemas.chain import seal
from annals.topics.keys import partition_of
from annals.workers.stores.reading_memory import MemoryReadingStore
from chained import Sealed
from following import Clock, Damages, Journal

START = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def event(
    kind: str,
    aggregate_id: str,
    after: Sealed | None = None,
    second: int = 0,
    *,
    type_: str = "PersonRenamed",
    command_id: str = "c",
    correlation_id: str = "r",
    causation_id: str | None = None,
    actor: str | None = None,
) -> Sealed:
    """The next event of an aggregate, recorded at a second."""
    at = (START + timedelta(seconds=second)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    version = after.version + 1 if after else 1
    block, cid = seal(
        kind=kind,
        aggregate_id=aggregate_id,
        version=version,
        previous=after and after.cid,
        type=type_,
        schema_version=1,
        recorded_at=at,
        command_id=command_id,
        correlation_id=correlation_id,
        causation_id=causation_id,
        actor=actor,
        data={"name": "Ada"},
    )
    return Sealed(aggregate_id.encode(), block, [], version, cid)


def id_in(partition: int, partitions: int, number: int = 0) -> str:
    """The id of an aggregate whose key belongs to a partition."""
    found = (f"p-{n}" for n in range(1_000_000) if partition_of(f"p-{n}".encode(), partitions) == partition)
    for _ in range(number):
        next(found)
    return next(found)


class Stores:
    """A store in memory that outlives its shards."""

    def __init__(self) -> None:
        self.store = MemoryReadingStore()

    async def open(self) -> MemoryReadingStore:
        return self.store

    async def renew(self, store: Any) -> MemoryReadingStore:
        self.store = MemoryReadingStore()
        return self.store

    async def set_aside(self, damage: Any) -> None:
        self.store = MemoryReadingStore()

    async def close(self, store: Any) -> None:
        pass


@dataclass
class Deployment:
    """Journals of kinds, and workers that read some partitions each (the `Reading` and `Members` ports of each)."""

    partitions: dict[str, int]
    journals: dict[tuple[str, int], Journal] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journals = {(kind, n): Journal() for kind, count in self.partitions.items() for n in range(count)}

    def append(self, kind: str, events: list[Sealed]) -> None:
        """Write events to the partitions of their keys; who reads those hears of it."""
        for each in events:
            self.journals[kind, partition_of(each.key or b"", self.partitions[kind])].append([each])

    def worker(self, name: str, *keys: tuple[str, int]) -> Worker:
        """A worker that has partitions."""
        worker = Worker(self, name)
        self.workers.append(worker)
        for key in keys:
            worker.take(key)
        return worker

    async def close(self) -> None:
        for worker in self.workers:
            for key in list(worker.shards):
                await worker.lose(key)
            for key in list(worker.standing):
                await worker.leave(key)


class Worker:
    """One worker's shards, and what it knows of the others."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.deployment = deployment
        self.name = name
        self.url: str | None = None
        self.shards: dict[tuple[str, int], Shard] = {}
        self.standing: dict[tuple[str, int], Shard] = {}
        self.tasks: dict[Any, asyncio.Task[None]] = {}
        self.stores: dict[tuple[str, int], Stores] = {}
        self.believed: dict[tuple[str, int], Member] = {}

    def take(self, key: tuple[str, int]) -> Shard:
        journal = self.deployment.journals[key]
        shard = journal.shard = self.shards[key] = self._shard(key, journal)
        self.tasks[key] = asyncio.create_task(shard.run())
        return shard

    def follow(self, key: tuple[str, int]) -> Shard:
        """Be a standby of another worker's partition, which reads what there is now, and more when it is to go on."""
        journal = Journal()
        journal.records = self.deployment.journals[key].records
        shard = journal.shard = self.standing[key] = self._shard(key, journal)
        shard.stand_by()
        self.tasks["standby", key] = asyncio.create_task(shard.run())
        return shard

    def _shard(self, key: tuple[str, int], journal: Journal) -> Shard:
        kind, partition = key
        stores, count = self.stores.setdefault(key, Stores()), self.deployment.partitions[kind]
        return Shard(REGISTRY[kind], partition, count, stores, journal, journal, Clock(), Damages())

    async def leave(self, key: tuple[str, int]) -> None:
        """Be a standby no more."""
        await self._end(self.standing.pop(key), self.tasks.pop(("standby", key)))

    async def lose(self, key: tuple[str, int]) -> None:
        await self._end(self.shards.pop(key), self.tasks.pop(key))

    async def _end(self, shard: Shard, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task})
        await shard.close()

    async def read(self) -> None:
        """Wait until everything is read that is in the journals."""
        await self._read([*self.shards.items(), *self.standing.items()])

    async def read_owned(self) -> None:
        """Wait until everything is read by who has it; standbys may be behind."""
        await self._read(list(self.shards.items()))

    async def _read(self, shards: list[tuple[tuple[str, int], Shard]]) -> None:
        for key, shard in shards:
            end = len(self.deployment.journals[key].records)
            assert await shard.until_offset(end, asyncio.get_running_loop().time() + 30)

    # Reading
    def shard(self, kind: str, partition: int) -> Shard | None:
        return self.shards.get((kind, partition))

    def standby(self, kind: str, partition: int) -> Shard | None:
        return self.standing.get((kind, partition))

    def all(self) -> Any:
        return list(self.shards.values())

    def partitions(self, kind: str) -> int:
        return self.deployment.partitions[kind]

    # Members
    @property
    def me(self) -> Member:
        partitions: dict[str, list[int]] = {}
        for kind, partition in self.shards:
            partitions.setdefault(kind, []).append(partition)
        return Member(self.name, self.url, partitions, {})

    def owner(self, kind: str, partition: int) -> Member | None:
        if (kind, partition) in self.believed:
            return self.believed[kind, partition]
        return next((worker.me for worker in self.deployment.workers if (kind, partition) in worker.shards), None)

    def standbys(self, kind: str, partition: int) -> list[Member]:
        return [worker.me for worker in self.deployment.workers if (kind, partition) in worker.standing]


class InProcess:
    """Asks other workers without HTTP (the `Peers` port)."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.frozen: set[str] = set()
        """Workers that take questions and answer none."""
        self.asked: list[tuple[str, bool]] = []
        """Which workers were asked, and whether as standbys."""

    async def ask(
        self, member: Member, kind: str, partition: int, question: Any, deadline: float, *, standby: bool = False
    ) -> Any:
        from annals.agents.reading.gathering.replies import put

        self.asked.append((member.id, standby))
        if member.id in self.frozen:
            await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
            raise NotReadyError(f"{member.id} does not answer in time")
        (worker,) = (worker for worker in self.deployment.workers if worker.name == member.id)
        shard = worker.standby(kind, partition) if standby else worker.shard(kind, partition)
        if shard is None:
            raise NotReadyError("it has lost it")
        return shard.status(), await put(shard, question, deadline)
