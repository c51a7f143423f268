"""Publishers of one journal partition on a cluster in memory, and subscriptions that a test changes."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import TopicPartition

from annals.agents.aggregates import REGISTRY
from annals.agents.publishing.delivering.making import DeliveryShards
from annals.agents.publishing.ports import Kept
from annals.agents.publishing.publisher import Publisher
from annals.agents.publishing.share import Share
from annals.agents.reading.following.shard import Shard
from annals.schemas.cid import cid_text
from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.schemas.subscription import Definition, Record
from annals.topics.encoded_headers import EncodedHeaders
from annals.topics.names import TopicNames
from annals.topics.wire import NO_TIMESTAMP, encode_headers, signed_at
from annals.workers.kafka.connections import CLUSTER, connect
from annals.workers.kafka.read.ranges import read_range
from annals.workers.kafka.write.batches import RecordBatch
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.memory.client import Cluster, Direct
from annals.workers.memory.cluster import MemoryCluster, Topic
from annals.workers.memory.partition import Rules
from annals.workers.publishing.delivery_log import KafkaDeliveryLogs
from following import Clock, Damages, Journal, running
from reading_stores import Stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from chained import Sealed

NAMES = TopicNames("")
EVENTS = ("events.person", 0)


class DyingError(BaseException):
    """The process is killed."""


class Mortal(Direct):
    """A network whose process dies at a request: before it is sent, or when it was carried out."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.is_carried_out = False
        self.died = asyncio.Event()
        self.asked = 0

    async def ask(self, request: Any, serve: Any) -> Any:
        self.asked += 1
        if self.died.is_set():
            await asyncio.Event().wait()
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                if self.is_carried_out:
                    serve(request)
                self.died.set()
                await asyncio.Event().wait()
        return await super().ask(request, serve)


class Topics:
    """Subscriptions that a test sets (the `Subscriptions` port)."""

    def __init__(self) -> None:
        self._all: Mapping[str, Kept] = {}
        self._changed = asyncio.Event()
        self._offset = 0
        self.paused: dict[str, str] = {}
        self.answered: list[Callable[[], None]] = []

    def all(self) -> Mapping[str, Kept]:
        return self._all

    async def until_changed(self, known: Mapping[str, Kept]) -> None:
        while self._all is known:
            await self._changed.wait()

    async def until_read(self) -> None:
        """They are there."""

    async def until_current(self) -> None:
        """Take the changes that were answered and that nobody has noticed."""
        for change in self.answered:
            change()
        self.answered.clear()

    async def pause(self, name: str, reason: str, partition: str | None = None, offset: int | None = None) -> None:
        if offset not in {None, self._all[name].offset}:
            return
        self.paused[name] = reason
        self.set(name, reason=reason, definition={"status": "paused"})

    def set(self, name: str, *, definition: Mapping[str, Any] | None = None, **changed: Any) -> None:
        known = self._all.get(name)
        record = known.record if known else Record(Definition(name), 1, {"person": [0]})
        if definition:
            record = msgspec.structs.replace(
                record, definition=msgspec.structs.replace(record.definition, **definition)
            )
        record = msgspec.structs.replace(record, **changed)
        self._offset += 1
        self._all = {**self._all, name: Kept(record, self._offset)}
        self._changed.set()
        self._changed = asyncio.Event()


class Counts:
    """What a publisher counts (the `PublishTelemetry` port)."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.lags: dict[str, int] = {}
        self.results: Counter[str] = Counter()
        self.numbers: dict[str, tuple[int, ...]] = {}
        self.since: dict[str, int | None] = {}
        self.deliveries = self.redeliveries = 0

    def published(self, name: str, events: int) -> None:
        self.deliveries += events

    def failed(self, name: str, expressions: int) -> None:
        self.failures[name] = self.failures.get(name, 0) + expressions

    def lag(self, name: str, events: int) -> None:
        self.lags[name] = events

    def publishing(self, *, is_so: bool) -> None:
        """Its phase says so."""

    def uncertain(self) -> None:
        """Seen in what was written."""

    def defect(self, error: Exception) -> None:
        """The subscription is tried again, and says so."""

    def fenced(self) -> None:
        """As above."""

    def deleted(self, name: str) -> None:
        """Nothing is kept."""

    def closed(self) -> None:
        """Nothing is kept."""

    def answers(self, name: str, results: Mapping[str, int]) -> None:
        self.results.update(results)

    def redelivered(self, name: str, deliveries: int) -> None:
        self.redeliveries += deliveries

    def parked(self, name: str, events: int) -> None:
        """As above."""

    def unsettled(self, name: str, numbers: Any) -> None:
        self.numbers[name] = tuple(numbers)

    def parked_since(self, name: str, milliseconds: int | None) -> None:
        self.since[name] = milliseconds


class World:
    """One partition's journal, its reading store and the cluster that subscribers read."""

    def __init__(self, *names: str, version: int = 2) -> None:
        topics = {
            f"{role}.{name}": Topic(1, Rules())
            for name in names
            for role in ("subscribers", "acks", "parked", "deliveries")
        }
        self.model = MemoryCluster(
            {"progress": Topic(1), "events.person": Topic(1), "dead-letters": Topic(1), **topics},
            transaction_version=version,
        )
        self.journal = Journal()
        self.stores = Stores()
        self.subscriptions = Topics()
        self.network = Mortal()
        self.counts = Counts()

    def options(self, network: Direct | None = None) -> dict[str, Any]:
        return {CLUSTER: Cluster(self.model, network or Direct()), "bootstrap_servers": "memory"}

    def die_at(self, step: int, *, is_carried_out: bool) -> None:
        """Kill the process at one of its requests from now on: before it is sent, or when it was carried out."""
        self.network.left, self.network.is_carried_out = step, is_carried_out

    def next_process(self) -> bool:
        """Have the process that begins next live; return whether the one before it has died."""
        has_died = self.network.died.is_set()
        self.network = Mortal()
        return has_died

    async def subscribe(self, name: str, begin: int = 0, **definition: Any) -> None:
        """As a subscription is put: its progress and its record, in this order."""
        await self.write_progress(name, Progress(begin, None, 1))
        self.subscriptions.set(name, definition=definition, begin={"person": [begin]})

    async def write_progress(self, name: str, progress: Progress, journal: tuple[str, int] = EVENTS) -> None:
        writer = TransactionalWriter(self.options(), "annals-subscriptions", ["progress"])
        await writer.fence()
        batch = RecordBatch()
        record = progress_key(name, *journal), encode_progress(progress), NO_TIMESTAMP, encode_headers([])
        batch.fill([record], 0, 1 << 20)
        await writer.commit({TopicPartition("progress", 0): [batch]}, Offsets("g", "progress", 0, 0, ""), {})
        await writer.close()

    async def leave_open(self, name: str, progress: Progress, journal: tuple[str, int] = EVENTS) -> None:
        """Write progress in a transaction that nobody ends, as a process that is killed leaves it."""
        writer = TransactionalWriter(self.options(), "annals-killed", ["progress"])
        await writer.fence()

        class Killed(Exception):  # noqa: N818 - no error of the writer's
            """Raised in the place of the commit."""

        def kill(_: object) -> str:
            raise Killed

        batch = RecordBatch()
        record = progress_key(name, *journal), encode_progress(progress), NO_TIMESTAMP, encode_headers([])
        batch.fill([record], 0, 1 << 20)
        with suppress(Killed):
            await writer.commit({TopicPartition("progress", 0): [batch]}, Offsets("g", "progress", 0, 0, kill), {})

    async def end_what_is_open(self) -> None:
        """End what `leave_open` left, as the next process does."""
        writer = TransactionalWriter(self.options(), "annals-killed", ["progress"])
        await writer.fence()
        await writer.close()

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[Shard]:
        shard = Shard(REGISTRY["person"], 0, 1, self.stores, self.journal, self.journal, Clock(), Damages())
        async with running(shard, self.journal):
            yield shard

    @asynccontextmanager
    async def publisher(
        self, shard: Shard, poster: Any = lambda _: None, draw: Any = random.random
    ) -> AsyncIterator[Publisher]:
        """A publisher in a process of its own: what it has open at its end stays open."""
        logs, share = self.logs(self.network), Share(Clock())
        publisher = Publisher(
            shard,
            self.journal,
            REGISTRY["person"],
            logs,
            self.subscriptions,
            Clock(),
            share,
            self.counts,
            DeliveryShards(
                shard,
                REGISTRY["person"],
                logs.delivering,
                Clock(),
                Clock(),
                self.counts,
                ("person", "workflow"),
                1,
                share,
                draw,
                poster,
            ),
        )
        task = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for each in publisher._catching.tasks():
                each.cancel()
            await asyncio.gather(*publisher._catching.tasks(), return_exceptions=True)
            await publisher.close()

    def logs(self, network: Direct | None = None) -> KafkaDeliveryLogs:
        return KafkaDeliveryLogs(self.options(network), NAMES, "annals", "person", 0, 1, "none")

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Any = ()) -> None:
        writer = TransactionalWriter(self.options(), f"annals-test-{topic}", [topic])
        await writer.fence()
        batch = RecordBatch()
        batch.fill([(key, value, NO_TIMESTAMP, encode_headers(headers))], 0, 1 << 20)
        await writer.commit({TopicPartition(topic, 0): [batch]}, Offsets("g", topic, 0, 0, ""), {})
        await writer.close()

    async def received(self, name: str, role: str = "subscribers") -> list[tuple[bytes, bytes, dict[str, bytes]]]:
        """What a subscriber reads that takes committed records alone: key, value, headers."""
        where = TopicPartition(f"{role}.{name}" if name else role, 0)
        client = await connect(self.options(), [where[0]])
        end = self.model.logs[where].stable
        found: list[tuple[bytes, bytes, dict[str, bytes]]] = []
        async for records in read_range(client, where, 0, end):
            found += [(key or b"", value or b"", headers_of(section)) for _, key, value, section in records]
        return found

    async def cids(self, name: str) -> list[str]:
        return [headers["ce_id"].decode() for _, _, headers in await self.received(name)]


async def progress_of(world: World) -> dict[str, dict[str, Any]]:
    """The newest progress that is written, by name."""
    found = {key.split(b"/")[0].decode(): value for key, value, _ in await world.received("", "progress")}
    return {name: msgspec.json.decode(value) for name, value in found.items() if value}


async def answer(
    world: World, record: tuple[bytes, bytes, dict[str, bytes]], verdict: str = "ack", **more: Any
) -> None:
    """Answer what the subscriber `all` received."""
    key, _, headers = record
    body = {"cid": headers["ce_id"].decode(), "attempt": int(headers.get("ce_redelivery", b"1")), "verdict": verdict}
    await world.send("acks.all", key, json.dumps({**body, **more}).encode())


class Taker:
    """The subscriber `all`, which acknowledges each record once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.taken = 0

    async def take(self) -> int:
        """Acknowledge what has come; return how many records there have been."""
        records = await self.world.received("all")
        for record in records[self.taken :]:
            await answer(self.world, record)
        self.taken = len(records)
        return self.taken


def headers_of(section: bytes) -> dict[str, bytes]:
    """The headers of a record as they stand in it."""
    count, at = signed_at(section, 0)
    return {name: value or b"" for name, value in EncodedHeaders(count, section[at:])}


async def at_each_step(killed_at: Any, *, is_carried_out: bool, every: int = 1, more_than: int = 20) -> None:
    """Kill a process at its first request, at a later one, and so on, until it ends before it comes so far.

    killed_at: kills it at a step, and returns whether it had come so far. more_than: there are more steps than these.
    """
    step = 0
    while await killed_at(step, is_carried_out=is_carried_out):
        step += every
    assert step > more_than


async def eventually(is_so: Any) -> None:
    """Wait for a coroutine function to return true."""
    async with asyncio.timeout(30):
        while not await is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def shown(events: Sequence[Sealed]) -> list[str]:
    return [cid_text(event.cid) for event in events]
