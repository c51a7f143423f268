"""Settling dead letters: the commands that are sent again, and the record that says so, in one transaction.

1. Fence: no other administrator settles any longer.
2. Read the settlements to their end: what is settled is passed over.
3. Read the letters that are meant; after BATCH of them, or BATCH_BYTES, commit them with their settlement.

Whoever is fenced, or does not know what became of a transaction, begins at 1 again, at the first letter that is not
known to be settled. So a letter is settled once, by however many administrators and through whatever kills.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from aiokafka.structs import TopicPartition

from annals.agents.backoff import Backoff
from annals.agents.dead_letters.letter import send_again
from annals.agents.dead_letters.settled import Spans
from annals.agents.ports import FencedError, UncertainError, UnreachableError
from annals.schemas.settlement import REPLAY, SETTLEMENT_KEY, Settlement
from annals.schemas.values.moments import recorded_at
from annals.topics.catalog import COMMAND_TOPIC_BYTES
from annals.topics.names import topic_transactional_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.clock import SystemClock
from annals.workers.dead_letters.reading import SettledTopic, letter_bounds, read_letters
from annals.workers.kafka.connections import partitions_of
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.client import AIOKafkaClient

    from annals.agents.dead_letters.letter import Again, DeadLetterRecord
    from annals.agents.dead_letters.selection import Selection
    from annals.agents.dead_letters.settled import Settled
    from annals.schemas.settlement import Action
    from annals.topics.names import TopicNames


BATCH: Final = 1_000  # letters of one transaction
BATCH_BYTES: Final = 4 << 20
SETTLEMENT_BYTES: Final = 1 << 20
ATTEMPTS: Final = 20  # in a row that settle nothing
FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0


class Asked(NamedTuple):
    """What somebody asks for. path: of the API, or the command."""

    action: Action
    selection: Selection
    principal: str
    request_id: str
    path: str
    reason: str | None = None


class Done(NamedTuple):
    """How many letters were settled by this request, and how many cannot be sent again."""

    accepted: int
    refused: int


class _Batch:
    """What one transaction takes."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.spans = Spans()
        self.commands: dict[TopicPartition, PartitionBatches] = {}
        self.size = 0

    def add(self, offset: int, command: Again | None) -> bool:
        """Take a letter, and the command that is sent for it; say whether its topic can take that."""
        if command is not None:
            where = TopicPartition(command.topic, command.partition)
            batches = self.commands.setdefault(where, PartitionBatches(COMMAND_TOPIC_BYTES))
            if batches.add(command.key, command.value, NO_TIMESTAMP, encode_headers(command.headers)):
                return False
            self.size += len(command.value or b"") + len(command.key or b"")
        self.spans.take(offset)
        return True

    def is_full(self) -> bool:
        return self.spans.count >= BATCH or self.size >= BATCH_BYTES


class Settling:
    """Settles what one request asks for."""

    def __init__(self, options: Mapping[str, Any], names: TopicNames, app_id: str, kinds: Mapping[str, str]) -> None:
        """Take aiokafka client options, and the kinds of aggregates by the topic of their commands."""
        self._names = names
        self._group = names.dead_letters_group(app_id)
        self._kinds = kinds
        self._writer = TransactionalWriter(options, topic_transactional_id(names.dead_letters), [])
        self._next: dict[int, int] = {}  # by partition, the first letter that is not known to be settled
        self._refused: set[tuple[int, int]] = set()
        # Its own, and not what somebody keeps: only what was read behind the fence decides what is sent.
        self._settled = SettledTopic(names.audit)

    async def run(self, asked: Asked) -> Done:
        """Settle it all; what comes meanwhile is not taken along.

        Raises:
            MissingTopicError: a topic is missing.
            JournalError, KafkaError: it cannot be done now; what was settled by then stays so.
        """
        backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        try:
            client = await self._writer.connected()
            ends = await self._ends(client, asked.selection)
            attempts = 0
            while True:
                before = dict(self._next)
                try:
                    return await self._attempt(client, ends, asked)
                except (FencedError, UncertainError) as error:
                    attempts += 1
                    if before != self._next:
                        attempts = 0
                        backoff.reset()
                    if attempts == ATTEMPTS:
                        raise UnreachableError(f"others settle dead letters all the time: {error}") from error
                await backoff.wait()
        finally:
            await self._writer.close()

    async def _ends(self, client: AIOKafkaClient, selection: Selection) -> dict[int, int]:
        ends = {}
        found = await letter_bounds(client, self._names.dead_letters)
        partitions_of(client, self._names.audit)
        for partition, (first, end) in found.items():
            self._next[partition], ends[partition] = selection.bounds(partition, first, end)
        return ends

    async def _attempt(self, client: AIOKafkaClient, ends: Mapping[int, int], asked: Asked) -> Done:
        await self._writer.fence()
        settled = await self._settled.read(client)
        counts = {topic: partitions_of(client, topic) for topic in self._kinds if _is_there(client, topic)}
        accepted = settled.count_of(asked.request_id)
        for partition, end in ends.items():
            batch = _Batch(partition)
            where = TopicPartition(self._names.dead_letters, partition)
            async with aclosing(read_letters(client, where, self._next[partition], end)) as letters:
                async for record in letters:
                    self._take(batch, record, settled, counts, asked)
                    if batch.is_full():
                        accepted += await self._commit(batch, asked, record.offset + 1)
                        batch = _Batch(partition)
            accepted += await self._commit(batch, asked, end)
        return Done(accepted, len(self._refused))

    def _take(
        self, batch: _Batch, record: DeadLetterRecord, settled: Settled, counts: Mapping[str, int], asked: Asked
    ) -> None:
        letter = asked.selection.open_letter(record, settled, self._kinds)
        if letter is None:
            batch.spans.part()
            return
        command = send_again(record, letter, counts) if asked.action == REPLAY else None
        is_refused = (asked.action == REPLAY and command is None) or not batch.add(record.offset, command)
        if is_refused:
            self._refused.add((record.partition, record.offset))
            batch.spans.part()

    async def _commit(self, batch: _Batch, asked: Asked, until: int) -> int:
        """Commit a batch, and return how many letters it has settled."""
        if batch.spans.count:
            audit = PartitionBatches(SETTLEMENT_BYTES)
            audit.add(SETTLEMENT_KEY, _settlement(batch, asked), NO_TIMESTAMP, encode_headers([]))
            every = {TopicPartition(self._names.audit, 0): audit, **batch.commands}
            offsets = Offsets(self._group, self._names.dead_letters, batch.partition, until, "")
            await self._writer.commit({where: each.batches for where, each in every.items()}, offsets, {})
        self._next[batch.partition] = until
        return batch.spans.count


def _is_there(client: AIOKafkaClient, topic: str) -> bool:
    return bool(client.cluster.partitions_for_topic(topic))


def _settlement(batch: _Batch, asked: Asked) -> bytes:
    return msgspec.json.encode(
        Settlement(
            asked.request_id,
            asked.principal,
            "POST",
            asked.path,
            recorded_at(SystemClock().now()),
            202,
            None,
            asked.action,
            batch.partition,
            batch.spans.spans,
            batch.spans.count,
            asked.reason,
        )
    )
