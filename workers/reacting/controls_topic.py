"""The topic `reactions`: followed by reactors (the `Controls` port), written by one administrator at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from annals.agents.ports import UnreachableError
from annals.agents.reacting.ports import Kept
from annals.schemas.progress import encode_progress, progress_key, reaction_name
from annals.schemas.reaction_rows import Control
from annals.topics.catalog import PROGRESS_TOPIC_BYTES, SUBSCRIPTION_TOPIC_BYTES
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import MissingTopicError, connect
from annals.workers.kafka.read.offsets import LAST, LAST_STABLE, list_offsets
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.progress_topic import records_until, settled_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.2
RETRY_S: Final = 1.0
NO_HEADERS: Final = encode_headers([])


async def read_controls(client: AIOKafkaClient, where: tuple[str, int], start: int, end: int) -> dict[str, Kept | None]:
    """Return the newest valid record of each reaction between two offsets; None for one that is gone."""
    found: dict[str, Kept | None] = {}
    async for offset, key, value, _ in records_until(client, where, start, end):
        name = (key or b"").decode(errors="replace")
        try:
            found[name] = None if value is None else Kept(msgspec.json.decode(value, type=Control), offset)
        except ValueError as error:  # others may be able to write here
            log.warning("a record of reactions is passed over", key=name, reason=str(error))
    return found


class FollowedControls:
    """Which reactions run, read again and again. problem: why that is not known; None while it is."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames) -> None:
        """Take aiokafka client options."""
        self._options = options
        self._where = (names.reactions, 0)
        self._all: dict[str, Kept] = {}
        self._changed = asyncio.Event()
        self._is_told = False
        self.problem: str | None = None

    def get(self, name: str) -> Kept | None:
        """Return what is known of a reaction."""
        return self._all.get(name)

    async def until_changed(self, name: str, known: Kept | None) -> None:
        """Wait until it is no longer what somebody knows."""
        while self._all.get(name) == known:
            await self._changed.wait()

    async def run(self) -> None:
        """Follow the topic until the task is cancelled."""
        while True:
            client: AIOKafkaClient | None = None
            try:
                client = await connect(self._options, [self._where[0]])
                await self._follow(client)
            except (MissingTopicError, TopicAuthorizationFailedError) as error:
                # A deployment whose topics or rights are of an earlier release: nobody can have resumed any.
                if not self._is_told:
                    log.warning("no reaction runs", reason=f"{type(error).__name__}: {error}")
                self._is_told, self.problem = True, None
                await asyncio.sleep(RETRY_S)
            except (KafkaError, OSError, TimeoutError, AssertionError, UnreachableError) as error:
                problem = f"{self._where[0]} cannot be read: {type(error).__name__}: {error}"
                if problem != self.problem:
                    log.warning("it is not known which reactions run", reason=problem)
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
                found = await read_controls(client, self._where, position, end)
                kept = {} if position < 0 else dict(self._all)
                kept |= {name: each for name, each in found.items() if each is not None}
                for name in [name for name, each in found.items() if each is None]:
                    kept.pop(name, None)
                self._all, position = kept, end
                self._changed.set()
                self._changed = asyncio.Event()
            self.problem = None
            await asyncio.sleep(LOOK_S)
            end = (await list_offsets(client, LAST_STABLE, LAST, [self._where]))[self._where]


class ControlsWriter:
    """One writing of the topic: fence, read to the end, write, commit."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, app_id: str, name: str) -> None:
        """Take aiokafka client options, and the reaction's name."""
        self._names = names
        self._name = name
        self._where = (names.reactions, 0)
        self._group = names.reacting_group(app_id, name)
        identity = topic_transactional_id(names.reactions)
        self._writer = TransactionalWriter(options, identity, [names.reactions, names.progress])

    async def begin(self) -> Kept | None:
        """Become the only writer, and return what is known of the reaction."""
        await self._writer.fence()
        client = await self._writer.connected()
        found = await read_controls(client, self._where, -1, await settled_end(client, self._where))
        return found.get(self._name)

    async def client(self) -> AIOKafkaClient:
        """Return the connected client."""
        return await self._writer.connected()

    async def commit(self, control: Control, begins: Mapping[int, Progress], events_topic: str) -> None:
        """Write whether it runs, and the progress of the partitions in which it begins, in one transaction."""
        controls = PartitionBatches(SUBSCRIPTION_TOPIC_BYTES)
        controls.add(self._name.encode(), msgspec.json.encode(control), NO_TIMESTAMP, NO_HEADERS)
        batches = {self._where: controls}
        client = await self._writer.connected()
        count = len(client.cluster.partitions_for_topic(self._names.progress) or ()) or 1
        for partition, progress in begins.items():
            where = (self._names.progress, partition % count)
            key = progress_key(reaction_name(self._name), events_topic, partition)
            records = batches.setdefault(where, PartitionBatches(PROGRESS_TOPIC_BYTES))
            records.add(key, encode_progress(progress), NO_TIMESTAMP, NO_HEADERS)
        offsets = Offsets(self._group, *self._where, 0, "")
        await self._writer.commit({where: each.batches for where, each in batches.items()}, offsets, {})

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()
