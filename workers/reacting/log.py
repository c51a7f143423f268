"""The writer of one reaction in one journal partition (the `ReactionLog` port)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka.structs import TopicPartition

from annals.agents.ports import UnreachableError
from annals.agents.reacting.ports import BEGIN_ANEW, UnwritableError
from annals.schemas.progress import decode_progress, encode_progress, name_of, progress_key, reaction_name
from annals.schemas.reaction_rows import process_of
from annals.topics.catalog import COMMAND_TOPIC_BYTES, PROGRESS_TOPIC_BYTES, TIMER_TOPIC_BYTES
from annals.topics.keys import partition_of
from annals.topics.names import reactor_id
from annals.topics.wire import NO_TIMESTAMP, encode_headers
from annals.workers.kafka.connections import partitions_soon
from annals.workers.kafka.read.invalid_records import PASSED_OVER
from annals.workers.kafka.read.settled_ends import records_until, settled_end
from annals.workers.kafka.read.topic_ids import LOST_IT
from annals.workers.kafka.write.batches import PartitionBatches
from annals.workers.kafka.write.failures import reaching
from annals.workers.kafka.write.transaction import Offsets, TransactionalWriter
from annals.workers.publishing.reached import PartitionLostEndError, Reached, progress_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from annals.agents.reacting.ports import OutgoingCommand, ReactionWrites
    from annals.schemas.progress import Progress
    from annals.topics.names import TopicNames
    from annals.workers.kafka.read.invalid_records import InvalidRecords


NO_HEADERS: Final = encode_headers([])


class JournalOfAnother(NamedTuple):
    """Another deployment's journal that is reacted to: whose, and its topic there."""

    deployment: str
    topic: str


class KafkaReactionLog:
    """One transactional writer, of its reaction's rows and progress, and of commands."""

    def __init__(
        self,
        options: Mapping[str, Any],
        names: TopicNames,
        reaction: str,
        kind: str,
        partition: int,
        partitions: int,
        app_id: str,
        invalid: InvalidRecords = PASSED_OVER,
        other: JournalOfAnother | None = None,
        *,
        is_rekeyed: bool = False,
        codec: str = "none",
        begin_anew: str = BEGIN_ANEW,
    ) -> None:
        """Take aiokafka client options, the reaction, which partition of how many of its kind this is, and so on.

        other: whose journal it is, if it is not this deployment's; partition and their number are of that one.
        is_rekeyed: what is reacted to is the reaction's re-keyed stream; partition and their number are of that.
        codec: how what is written is compressed. begin_anew: what to do where something is gone for good.
        """
        self._names = names
        self._reaction = reaction
        self._progress_name = self._name_of_progress(None if other is None else other.deployment)
        here = names.rekeyed(reaction) if is_rekeyed else names.events(kind)
        self._journal = TopicPartition(here if other is None else other.topic, partition)
        self._is_here = other is None
        self._partitions = partitions
        self._invalid = invalid
        self._group = names.reacting_group(app_id, reaction)
        # Of this deployment's topic: others may react to the same journal, in the same cluster.
        identity = self._identity(names.events(kind), partition)
        self._writer = TransactionalWriter(options, identity, [names.progress, self._kept_in()])
        self._codec = codec
        self._begin_anew = begin_anew
        self._reached = Reached()
        self._named: dict[str, TopicPartition] = {}

    async def fence(self) -> None:
        """Become the only writer under this id."""
        with reaching("the transaction coordinator"):
            await self._writer.fence()

    async def progress(self) -> Progress | None:
        """Return the newest progress, once no transaction is open."""
        found: Progress | None = None
        known = await self._require_reached()
        async for place, key, value in self._settled(self._names.progress):
            if name_of(key, *self._journal) != self._progress_name:
                continue
            try:
                found = None if value is None else decode_progress(value)
            except ValueError as error:  # whoever wrote it: nothing is known by it
                self._invalid.note(*place, str(error))
        if known is not None and (found is None or found.position < known):
            where = self._named["progress"]
            there = "none" if found is None else found.position
            raise PartitionLostEndError(
                f"{where.topic}-{where.partition} has the progress {there} of {self._reaction}, and it was {known} "
                f"before: {LOST_IT}. Restore it; {self._begin_anew}", 0, where,
            )  # fmt: skip
        return found

    async def _require_reached(self) -> int | None:
        """See that rows and progress have what the group's offset names; return that offset.

        None where it says nothing: of another's journals several partitions go with one of the progress here.

        Raises:
            StoppedError: they have not.
        """
        with reaching("the group's offset"):
            client = await self._writer.connected()
            self._named |= {"progress": await self._where(self._names.progress), **await self._written()}
            place = self._journal if self._is_here else self._named["progress"]
            try:
                told = {"progress": progress_of(self._progress_name, self._journal, at_offset=True)}
                ours = told if self._is_here else None
                known = await self._reached.require(client, self._group, place, self._named, ours=ours)
            except PartitionLostEndError as error:
                raise self._explained(error) from error
        return known if self._is_here else None

    def _name_of_progress(self, deployment: str | None) -> str:
        return reaction_name(self._reaction, deployment)

    def _identity(self, events_topic: str, partition: int) -> str:
        return reactor_id(events_topic, partition, self._reaction)

    def _kept_in(self) -> str:
        """Return the topic that is written beside the progress."""
        return self._names.timers(self._reaction)

    async def _written(self) -> dict[str, TopicPartition]:
        """Return what is written beside the progress and must still be there, by the words of the group's offset."""
        return {"rows": await self._where(self._kept_in())}

    def _explained(self, error: PartitionLostEndError) -> PartitionLostEndError:
        return PartitionLostEndError(
            f"{error}: {LOST_IT} (so the group {self._group} says). Restore it; {self._begin_anew}",
            error.end,
            error.where,
        )

    async def rows(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """Yield the rows' records of this partition, once no transaction is open."""
        async for place, key, value in self._settled(self._names.timers(self._reaction)):
            try:
                process = process_of(key, value)
            except ValueError as error:
                self._invalid.note(*place, str(error))
                continue
            is_here = partition_of(process.aggregate_id.encode(), self._partitions) == self._journal.partition
            if key is not None and is_here:
                yield key, value

    async def commit(self, writes: ReactionWrites) -> None:
        """Write it all in one transaction."""
        batches: dict[TopicPartition, PartitionBatches] = {}
        with reaching("the brokers"):
            for each in writes.commands:
                where, limit = await self._target(each)
                headers = encode_headers(list(each.headers))
                self._add(batches, where, limit, (each.key, each.value, NO_TIMESTAMP, headers))
            for key, value in writes.rows.items():
                rows = await self._where(self._kept_in())
                self._add(batches, rows, TIMER_TOPIC_BYTES, (key, value, NO_TIMESTAMP, NO_HEADERS))
            key = progress_key(self._progress_name, *self._journal)
            progress = encode_progress(writes.progress)
            where = await self._where(self._names.progress)
            self._add(batches, where, PROGRESS_TOPIC_BYTES, (key, progress, NO_TIMESTAMP, NO_HEADERS))
        written = {where: each.batches for where, each in batches.items()}
        kept = {where: each for where, each in written.items() if where in self._named.values()}
        check = self._reached.checked(kept, self._named)

        def checked(produced: Mapping[TopicPartition, Sequence[int]]) -> str:
            return check({where: bases for where, bases in produced.items() if where in kept})

        try:
            # Another's journal may be in another cluster: no tool for lags could make anything of its offset.
            hint = (*self._journal, writes.progress.position) if self._is_here else (*where, 0)
            offsets = Offsets(self._group, *hint, checked)
            await self._writer.commit(written, offsets, {})
        except PartitionLostEndError as error:
            await self.fence()  # takes the transaction back
            raise self._explained(error) from error

    def throttled_s(self) -> float:
        """Return for how many seconds the brokers ask for nothing more to be written."""
        return self._writer.throttled_s

    async def close(self) -> None:
        """Close the connections."""
        await self._writer.close()

    async def _target(self, command: OutgoingCommand) -> tuple[TopicPartition, int]:
        """Return where a command belongs, and how large a record may be there.

        Raises:
            UnwritableError: its topic is not there.
        """
        topic = self._names.commands(command.kind)
        count = await self._count(topic)
        if not count:
            raise UnwritableError(f"a command of {command.kind} cannot be sent: there is no topic {topic}")
        return TopicPartition(topic, partition_of(command.key, count)), COMMAND_TOPIC_BYTES

    def _add(
        self, batches: dict[TopicPartition, PartitionBatches], where: TopicPartition, limit: int, record: Any
    ) -> None:
        if needed := batches.setdefault(where, PartitionBatches(limit, self._codec)).add(*record):
            raise UnwritableError(f"a record of {needed:,} bytes is more than {where.topic} takes: {limit:,} bytes")

    async def _settled(
        self, topic: str
    ) -> AsyncIterator[tuple[tuple[TopicPartition, int], bytes | None, bytes | None]]:
        """Yield the records of a topic's partition that goes with the journal's: partition and offset, key, value."""
        with reaching(topic):
            client = await self._writer.connected()
            where = await self._where(topic)
            end = await settled_end(client, where)
            async for offset, key, value, _ in records_until(client, where, -1, end):
                yield (where, offset), key, value

    async def _where(self, topic: str) -> TopicPartition:
        count = await self._count(topic)
        if not count:
            raise UnreachableError(f"there is no topic {topic}: create it with `annals topics create`")
        return TopicPartition(topic, self._journal.partition % count)

    async def _count(self, topic: str) -> int:
        """Return how many partitions a topic has; 0 if it is not there."""
        return await partitions_soon(await self._writer.connected(), topic)
