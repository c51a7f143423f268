"""A shard's transactions: a batch of commands, or a position alone, is decided, committed, and only then folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from annals.agents.ports import JournalError, LostEndError
from annals.agents.writing.recovery.acknowledged import Next

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.backoff import Backoff
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.pace import Pace
    from annals.agents.ports import Clock, CommandRecord, Position, ShardLog, ShardTelemetry, Writes
    from annals.agents.writing.batches.deciding import Deciding
    from annals.agents.writing.recovery.acknowledged import Acknowledged
    from annals.agents.writing.recovery.answered import Answers
    from annals.agents.writing.recovery.opening import Opened
    from annals.agents.writing.restore.behind import Behind
    from annals.agents.writing.restore.collecting import Caused
    from annals.agents.writing.shards.concurrency_limit import Permit

log = structlog.get_logger(__name__)


class Transactions:
    """Decides and commits one shard's transactions, and knows what the last one left.

    journal_end: where the journal ends; committed: the group's offset, 0 where this project did not commit it;
    next_offset: of the next command to decide.
    """

    def __init__(
        self,
        deciding: Deciding,
        journal: ShardLog,
        acknowledged: Acknowledged,
        answers: Answers,
        behind: Behind,
        pace: Pace,
        backoff: Backoff,
        clock: Clock,
        telemetry: ShardTelemetry,
    ) -> None:
        """Take the shard's parts; nothing is committed yet.

        backoff: between the shard's openings; what is committed begins it anew. An opening does not: it succeeds where
        each transaction behind it fails, and each of those leaves records in the topics that nobody will read.
        """
        self.journal_end = 0
        self.committed = 0
        self.next_offset = 0
        self._working_set: WorkingSet | None = None
        self._deciding = deciding
        self._journal = journal
        self._acknowledged = acknowledged
        self._answers = answers
        self._behind = behind
        self._pace = pace
        self._backoff = backoff
        self._clock = clock
        self._telemetry = telemetry

    def opened(self, start: Opened) -> None:
        """Go on from where an opening found the shard."""
        self.journal_end, self.committed, self.next_offset = start.journal_end, start.committed, start.next_offset
        self._working_set = start.working_set

    async def look_between(self) -> None:
        """Do what can only be done between two transactions: look for the last command, take a fold of the whole.

        Raises:
            StaleStateError: the last command that was decided is not where it was.
        """
        await self._acknowledged.require_last_command()
        other = await self._behind.between(self._acknowledged.metadata, self.journal_end)
        self._working_set = other or self._working_set

    async def decide(self, records: list[CommandRecord], permit: Permit) -> list[CommandRecord] | None:
        """Decide a batch, commit it, and only then fold it; return the records that there was no time for.

        None: the answers of others had to be looked for first, and all is to be delivered again. Without a known commit
        nothing of it has happened.
        """
        clock, working_set = self._clock, self._working_set
        assert working_set is not None  # noqa: S101 - `opened` took it
        started = clock.monotonic()
        await self._behind.resolve(records)
        batch, writes, stop = self._deciding.decide(
            records, working_set, self._journal.writes, self.journal_end, self._answers.found
        )
        if batch.tally.others and self._answers.must_look(records):
            working_set.rollback()
            permit.end()  # it reads, perhaps for long
            await self._answers.look(records)
            return None
        decided = clock.monotonic()
        position = batch.position()
        then = self._acknowledged.after(position, records[batch.decided - 1])
        try:
            await self._commit(writes, batch.next_offset, then, working_set, position, batch.caused)
        except BaseException as error:
            working_set.rollback()
            if not isinstance(error, LostEndError) and self._pace.failed(batch.decided, error):
                self._backoff.reset()  # the next one is smaller
            raise
        committed = clock.monotonic()
        permit.record_commit(batch.decided, committed - decided)
        self._pace.committed(committed - decided, self._journal.throttled_s())
        if position is not None:
            working_set.commit(position)
        self._deciding.committed(batch)
        self._telemetry.committed(batch, records[: batch.decided], decided - started, committed - decided)
        self._telemetry.cached(*working_set.cache_use())
        if stop is not None:
            raise stop
        return records[batch.decided :]

    async def commit_position(self, position: int) -> None:
        """Commit that all below an offset is decided, in a transaction that decides nothing."""
        assert self._working_set is not None  # noqa: S101 - `opened` took it
        present = Next(self._acknowledged.known, self._acknowledged.metadata)
        await self._commit(self._journal.writes(), position, present, self._working_set)

    def rollback(self) -> None:
        """Forget what was decided and not committed."""
        if self._working_set is not None:
            self._working_set.rollback()

    async def _commit(
        self,
        writes: Writes,
        next_offset: int,
        then: Next,
        working_set: WorkingSet,
        folded: Position | None = None,
        caused: Sequence[Caused] = (),
    ) -> None:
        """Commit records and an offset in one transaction, with what is next of a restore point.

        then: what is known behind it; folded: up to where the journal will be folded, None where that does not change;
        caused: what its commands caused.

        Raises:
            FencedError, UncertainError, LostEndError: see `ShardLog`. StaleStateError: nothing that counts was lost.
        """
        known, metadata = then
        folded, restore = folded or working_set.position(), None
        if self._behind.is_making:
            restore = self._behind.write(writes, working_set, caused, folded)
            metadata = metadata if restore is None else metadata._replace(restore=restore)
        try:
            metadata = await self._journal.commit(writes, next_offset, self.journal_end, metadata)
        except LostEndError as error:
            raise await self._acknowledged.lost(error) from error
        self._backoff.reset()
        self._acknowledged.committed(known, metadata)
        self.journal_end, self.committed = known.end, next_offset
        self.next_offset = next_offset
        self._behind.committed(restore, folded)

    async def forget_restore_point(self) -> None:
        """Commit an offset that names no restore point, since the present one differs from the journal."""
        metadata = self._acknowledged.metadata._replace(restore=None)
        try:
            await self._journal.commit(self._journal.writes(), self.committed, self.journal_end, metadata)
        except JournalError as error:
            log.error("the restore point is still named by the group's offset", reason=str(error))  # noqa: TRY400
