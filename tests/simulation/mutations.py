"""The measures of the write path, each taken out: what a mutation changes, for a test that must go red with it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from annals.agents.folding.working_set import AggregateCache, WorkingSet
from annals.agents.writing.batches.batch import Batch
from annals.agents.writing.recovery import acknowledged, opening
from annals.agents.writing.recovery.acknowledged import Acknowledged
from annals.agents.writing.recovery.opening import Opening
from annals.agents.writing.shards.command_queue import CommandQueue
from annals.agents.writing.shards.shard import Phase, Shard
from annals.workers.kafka.write import recovery, transaction
from annals.workers.kafka.write.journal import KafkaShardLog
from annals.workers.kafka.write.recovery import KafkaRecovery
from annals.workers.kafka.write.transaction import TransactionalWriter
from annals.workers.memory.codes import Code
from annals.workers.memory.coordinator import Coordinator

Patch = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: Any) -> None:
    """Do nothing, whatever is asked."""


def fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever opens a shard writes in the epoch of the owner before."""
    init = Coordinator.init

    def shared(self: Any, transactional_id: str, timeout_s: float) -> Any:
        found = self._transactions.get(transactional_id)
        return init(self, transactional_id, timeout_s) if found is None else (Code.NONE, found.identity)

    patch.setattr(Coordinator, "init", shared)


def deduplication(patch: pytest.MonkeyPatch) -> None:
    """No command is known to have been decided."""
    patch.setattr(WorkingSet, "commands", lambda self, commands: {})


def proof_of_the_fold(patch: pytest.MonkeyPatch) -> None:
    """A store is taken for a fold of this journal, whatever it is."""

    async def yes(*_: Any) -> bool:
        return True

    patch.setattr(opening, "is_a_fold_of", yes)


def committed_offset(patch: pytest.MonkeyPatch) -> None:
    """The offset that is committed is one too high."""
    commit = KafkaShardLog.commit

    async def ahead(self: Any, writes: Any, next_offset: int, *rest: Any) -> Any:
        return await commit(self, writes, next_offset + 1, *rest)

    patch.setattr(KafkaShardLog, "commit", ahead)


def flush_before_bulk(patch: pytest.MonkeyPatch) -> None:
    """The events of a command with several are written before earlier ones."""
    flush = Batch._flush
    patch.setattr(Batch, "_flush", lambda self: None if sys._getframe(1).f_code.co_name == "_add" else flush(self))


def rollback(patch: pytest.MonkeyPatch) -> None:
    """What was decided for a transaction that failed stays."""
    drop = WorkingSet.rollback
    patch.setattr(
        WorkingSet, "rollback", lambda self: drop(self) if sys._getframe(1).f_code.co_name == "commit" else None
    )


def base_offset(patch: pytest.MonkeyPatch) -> None:
    """Where the broker puts a batch is not looked at."""
    commit = TransactionalWriter.commit

    async def unlooked(self: Any, batches: Any, offsets: Any, expected: Any) -> Any:
        return await commit(self, batches, offsets, {})

    patch.setattr(TransactionalWriter, "commit", unlooked)


def refused_batch(patch: pytest.MonkeyPatch) -> None:
    """A transaction is committed though a batch of it was refused."""
    produce = TransactionalWriter._produce_to

    async def whatever(self: Any, producer: int, node: int, topics: Any) -> Any:
        try:
            return await produce(self, producer, node, topics)
        except KafkaError:
            return {}

    async def commit(self: Any, batches: Any, offsets: Any, expected: Any) -> Any:
        return await original(self, batches, offsets, {})

    original = TransactionalWriter.commit
    patch.setattr(TransactionalWriter, "_produce_to", whatever)
    patch.setattr(TransactionalWriter, "commit", commit)


def reading_again(patch: pytest.MonkeyPatch) -> None:
    """After a transaction whose end is not known, the journal is not read again."""
    folded, known = Opening._folded, dict[Any, Any]()

    async def kept(self: Any, *seen: Any) -> Any:
        if self not in known:
            known[self] = await folded(self, *seen)
        return known[self]

    patch.setattr(Opening, "_folded", kept)


def newest_outcome(patch: pytest.MonkeyPatch) -> None:
    """Where the group's offset is lost, outcomes are not asked."""

    async def none(*_: Any) -> None:
        return None

    patch.setattr(opening, "newest_outcome", none)


def copies(patch: pytest.MonkeyPatch) -> None:
    """Where the group's offset is lost, nobody looks for what was forwarded."""

    async def none(*_: Any) -> Any:
        nothing: list[Any] = []
        for each in nothing:
            yield each

    patch.setattr(KafkaShardLog, "copies", none)


def generation(patch: pytest.MonkeyPatch) -> None:
    """What was fetched for an older position is decided too."""
    put = CommandQueue.put
    patch.setattr(
        CommandQueue, "put", lambda self, delivery: put(self, delivery._replace(generation=self._source.generation))
    )


def seek_on_resume(patch: pytest.MonkeyPatch) -> None:
    """Behind a rebalance a shard goes on without asking for what it missed."""

    def resume(self: Any) -> None:
        self._rebalances += 1
        self._assigned.set()
        if self.phase is Phase.SUSPENDED:
            self.phase, self.reason = Phase.OPEN, ""
        self._may_serve.set()

    patch.setattr(Shard, "resume", resume)


def own_cache(patch: pytest.MonkeyPatch) -> None:
    """All shards of a worker share what is kept of an aggregate id."""
    patch.setattr(AggregateCache, "new_working_set", lambda self: 0)


def closing_a_failed_store(patch: pytest.MonkeyPatch) -> None:
    """A store that failed is not closed."""

    async def nothing(self: Any) -> None:
        return None

    patch.setattr(Opening, "close_store", nothing)


def journal_in_the_metadata(patch: pytest.MonkeyPatch) -> None:
    """What is kept of the journal beside the offset is not looked for."""
    patch.setattr(Acknowledged, "_all_known", lambda self, seen: [])


def new_batch(patch: pytest.MonkeyPatch) -> None:
    """What does not fit into a batch is dropped, and counted as written."""
    from annals.workers.kafka.write.batches import PartitionBatches

    def add_each(self: Any, records: Any) -> int:
        self._open.fill(records, 0, self._limit)
        self.count += len(records)
        return 0

    patch.setattr(PartitionBatches, "add_each", add_each)


def exists(patch: pytest.MonkeyPatch) -> None:
    """An absent aggregate is taken for one that exists."""
    patch.setattr(
        "annals.agents.writing.batches.evaluation._is_at",
        lambda version, expected: expected in {"any", "exists"} or version == expected,
    )


def origin(patch: pytest.MonkeyPatch) -> None:
    """The outcome of a forwarded command does not say where it came from."""
    patch.setattr("annals.agents.writing.batches.answers.origin_of", lambda headers: None)


def journal_offset(patch: pytest.MonkeyPatch) -> None:
    """The journal's end in an outcome is one too low."""
    from annals.agents.writing.batches import batch

    told: Any = vars(batch)["headers_of_outcome"]
    patch.setattr(batch, "headers_of_outcome", lambda planned, journal_end: told(planned, journal_end - 1))


def snapshot_on_passing(patch: pytest.MonkeyPatch) -> None:
    """A snapshot is written only where a version is itself a multiple."""
    from annals.agents.writing.batches import batch

    due: Any = vars(batch)["due_snapshot"]

    def exact(setting: Any, planned: Any, offset: int) -> Any:
        return None if planned.after.version % setting.limits.snapshot_every else due(setting, planned, offset)

    patch.setattr(batch, "due_snapshot", exact)


def last_event(patch: pytest.MonkeyPatch) -> None:
    """At opening the journal's end is compared, but its last known event is not looked for."""
    require: Any = vars(acknowledged)["require_known"]

    async def by_the_end(journal: Any, place: Any, seen: Any, known: Any) -> Any:
        await require(journal, place, seen, known._replace(last=None))
        return known.last

    patch.setattr(acknowledged, "require_known", by_the_end)


def whole_transaction(patch: pytest.MonkeyPatch) -> None:
    """A transaction is committed though a batch of it was cut off."""
    patch.setattr(transaction, "require_whole", nothing)


def last_outcome(patch: pytest.MonkeyPatch) -> None:
    """At opening the last known outcome is not looked for."""
    require: Any = vars(acknowledged)["require_records"]

    async def without(journal: Any, place: Any, seen: Any) -> None:
        await require(journal, place, seen._replace(last_outcome=None))

    patch.setattr(acknowledged, "require_records", without)


def ends_asked_last(patch: pytest.MonkeyPatch) -> None:
    """Where partitions end is asked before what is known of them."""
    listed: Any = vars(recovery)["list_offsets"]
    look: Any = KafkaRecovery._look
    known: dict[Any, Any] = {}

    async def ends_first(self: Any) -> Any:
        topics, client = self._topics, await self._connected()
        asked = [topics.events, topics.outcomes, topics.commands]
        ends = await listed(client, recovery.HIGH_WATERMARK, recovery.LAST, asked)
        known[id(client), *asked] = ends
        return await look(self)

    async def early(client: Any, isolation: int, which: int, wheres: Any) -> Any:
        is_of_the_ends = (isolation, which) == (recovery.HIGH_WATERMARK, recovery.LAST)
        ends = known.pop((id(client), *wheres), None) if is_of_the_ends else None
        return await listed(client, isolation, which, wheres) if ends is None else ends

    patch.setattr(recovery, "list_offsets", early)
    patch.setattr(KafkaRecovery, "_look", ends_first)


MEASURES: list[Patch] = [
    fence,
    deduplication,
    proof_of_the_fold,
    committed_offset,
    flush_before_bulk,
    rollback,
    base_offset,
    refused_batch,
    reading_again,
    newest_outcome,
    copies,
    generation,
    seek_on_resume,
    own_cache,
    closing_a_failed_store,
    journal_in_the_metadata,
    new_batch,
    exists,
    origin,
    journal_offset,
    snapshot_on_passing,
    last_event,
    whole_transaction,
    last_outcome,
    ends_asked_last,
]


class _Whatever(bytes):
    """A CID that equals any other."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def known_ids(patch: pytest.MonkeyPatch) -> None:
    """Commands before the restore point are not known."""
    patch.setattr("annals.agents.writing.restore.restored.KnownIds.__contains__", lambda self, command: False)
    patch.setattr("annals.agents.writing.restore.full_fold._Watched.apply", lambda self, c: self._store.apply(c))


def cid_of_a_snapshot(patch: pytest.MonkeyPatch) -> None:
    """A snapshot counts whatever its CID is."""
    patch.setattr("annals.agents.writing.restore.restoring.cid_of", lambda value: _Whatever())


def cid_of_a_part(patch: pytest.MonkeyPatch) -> None:
    """A list and its parts count whatever their CIDs are."""
    patch.setattr("annals.agents.folding.restore_points.cid_of", lambda value: _Whatever())


def what_changes_meanwhile(patch: pytest.MonkeyPatch) -> None:
    """What is committed while a restore point is made is not in it."""
    patch.setattr("annals.agents.writing.restore.collecting.Changed.take", lambda self, caused: None)


def resolving(patch: pytest.MonkeyPatch) -> None:
    """A command whose hash is known is taken for another one."""

    async def none(*_: Any) -> None:
        return None

    patch.setattr("annals.agents.writing.restore.restored.RestoredStore._events_of", none)


def voids_of_a_restore_point(patch: pytest.MonkeyPatch) -> None:
    """The void events before the restore point are not known."""
    patch.setattr("annals.agents.writing.restore.attempt.encode_voids", lambda voids: iter(()))


def giving_up(patch: pytest.MonkeyPatch) -> None:
    """An attempt goes on though its transaction failed."""
    patch.setattr("annals.agents.writing.restore.making.RestorePoints.abandon", lambda self: None)


RESTORE_MEASURES: list[Patch] = [
    known_ids,
    cid_of_a_snapshot,
    cid_of_a_part,
    what_changes_meanwhile,
    resolving,
    giving_up,
]
