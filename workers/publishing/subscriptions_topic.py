"""The topic `subscriptions`: followed by every process that publishes, and written by one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka.errors import KafkaError

from annals.agents.ports import UnreachableError
from annals.agents.publishing.ports import Kept
from annals.schemas.progress import Progress, encode_progress, progress_key
from annals.schemas.subscription import Record, parse_record
from annals.topics.catalog import PROGRESS_TOPIC_BYTES, SUBSCRIPTION_TOPIC_BYTES
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import MissingTopicError, connect, partitions_of
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.progress_topic import records_until, settled_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.subscription import Positions
    from annals.topics.names import TopicNames

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.1
RETRY_S: Final = 1.0
NO_HEADERS: Final = encode_headers([])


def subscription_of(key: bytes | None, value: bytes) -> Record | None:
    """Return the subscription that a record says; None where it says none: others may be able to write here."""
    try:
        body = msgspec.json.decode(value)
        found = parse_record(body) if isinstance(body, dict) else [("", "must be an object")]
    except ValueError as error:
        found = [("", str(error))]
    if isinstance(found, Record) and found.definition.name.encode() != key:
        found = [("definition.name", "is not the record's key")]
    if isinstance(found, Record):
        return found
    log.warning("a record of subscriptions is passed over", key=(key or b"").decode(errors="replace"), problem=found[0])
    return None


async def read_all(client: AIOKafkaClient, where: tuple[str, int], start: int, end: int) -> dict[str, Kept | None]:
    """Return the newest valid record of each name between two offsets; None for one that is gone."""
    found: dict[str, Kept | None] = {}
    async for offset, key, value, _ in records_until(client, where, start, end):
        name = (key or b"").decode(errors="replace")
        if value is None:
            found[name] = None
        elif (record := subscription_of(key, value)) is not None:
            found[name] = Kept(record, offset)
    return found


class FollowedSubscriptions:
    """The subscriptions, read again and again (the `Subscriptions` port but for pausing)."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames) -> None:
        """Take aiokafka client options."""
        self._options = options
        self._where = (names.subscriptions, 0)
        self._all: Mapping[str, Kept] = {}
        self._changed = asyncio.Event()
        self._is_read = asyncio.Event()
        self.problem: str | None = "the subscriptions are not read yet"

    def all(self) -> Mapping[str, Kept]:
        """Return them by name; another mapping when something has changed."""
        return self._all

    async def until_changed(self, known: Mapping[str, Kept]) -> None:
        """Wait until they are no longer what somebody knows."""
        while self._all is known:
            await self._changed.wait()

    async def until_read(self) -> None:
        """Wait until all that there are were read once."""
        await self._is_read.wait()

    async def run(self) -> None:
        """Follow the topic until the task is cancelled."""
        while True:
            client: AIOKafkaClient | None = None
            try:
                client = await connect(self._options, [self._where[0]])
                await self._follow(client)
            except (MissingTopicError, KafkaError, OSError, TimeoutError, AssertionError, UnreachableError) as error:
                problem = f"{self._where[0]} cannot be read: {type(error).__name__}: {error}"
                if problem != self.problem:
                    log.warning("subscriptions cannot be read", reason=problem)
                self.problem = problem
                await asyncio.sleep(RETRY_S)
            finally:
                if client is not None:
                    await client.close()

    async def _follow(self, client: AIOKafkaClient) -> None:
        position = -1
        end = await settled_end(client, self._where)
        while True:
            if position < end:
                found = await read_all(client, self._where, position, end)
                kept = {} if position < 0 else dict(self._all)
                for name, each in found.items():
                    if each is None:
                        kept.pop(name, None)
                    else:
                        kept[name] = each
                if kept != self._all:
                    self._all = kept
                    self._changed.set()
                    self._changed = asyncio.Event()
                position = end
                self.problem = None
                self._is_read.set()
            await asyncio.sleep(LOOK_S)
            end = (await list_offsets(client, LAST_STABLE, LAST, [self._where]))[self._where]


class SubscriptionsWriter:
    """One writing of the topic: fence, read to the end, write, commit."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, group: str) -> None:
        """Take aiokafka client options, and the group that the transaction names."""
        self._names = names
        self._group = group
        self._where = (names.subscriptions, 0)
        self._writer = TransactionalWriter(
            options, topic_transactional_id(names.subscriptions), [names.subscriptions, names.progress]
        )

    async def begin(self) -> dict[str, Kept]:
        """Become the only writer, and return all subscriptions.

        Raises:
            MissingTopicError: there are no topics for them.
        """
        client = await self._writer.connected()
        for topic in (self._names.subscriptions, self._names.progress):
            partitions_of(client, topic)
        await self._writer.fence()
        found = await read_all(client, self._where, -1, await settled_end(client, self._where))
        return {name: kept for name, kept in found.items() if kept is not None}

    async def client(self) -> AIOKafkaClient:
        """Return the connected client."""
        return await self._writer.connected()

    async def commit(self, record: Record, begins: Positions) -> None:
        """Write a record, and the progress of what begins, in one transaction."""
        name = record.definition.name
        subscriptions = PartitionBatches(SUBSCRIPTION_TOPIC_BYTES)
        subscriptions.add(name.encode(), msgspec.json.encode(record), NO_TIMESTAMP, NO_HEADERS)
        batches = {self._where: subscriptions}
        client = await self._writer.connected()
        count = len(client.cluster.partitions_for_topic(self._names.progress) or ()) or 1
        for kind, offsets in begins.items():
            for partition, offset in enumerate(offsets):
                where = (self._names.progress, partition % count)
                progress = batches.setdefault(where, PartitionBatches(PROGRESS_TOPIC_BYTES))
                key = progress_key(name, self._names.events(kind), partition)
                value = encode_progress(Progress(offset, None, record.incarnation))
                progress.add(key, value, NO_TIMESTAMP, NO_HEADERS)
        offsets_of_group = Offsets(self._group, *self._where, 0, "")
        await self._writer.commit({where: each.batches for where, each in batches.items()}, offsets_of_group, {})

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()
