"""What one shard commits: a batch, or a position alone, and with either what is next of a restore point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from annals.agents.ports import JournalError, LostEndError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.backoff import Backoff
    from annals.agents.folding.working_set import WorkingSet
    from annals.agents.ports import Position, ShardLog, Writes
    from annals.agents.writing.recovery.acknowledged import Acknowledged, Next
    from annals.agents.writing.restore.behind import Behind
    from annals.agents.writing.restore.collecting import Caused

log = structlog.get_logger(__name__)


class Commits:
    """Commits one shard's transactions, and knows what the last one left.

    journal_end: where the journal ends; next_offset: the group's offset, 0 where this project did not commit it.
    """

    def __init__(self, journal: ShardLog, acknowledged: Acknowledged, behind: Behind, backoff: Backoff) -> None:
        """Take the shard's parts; nothing is committed yet.

        backoff: between the shard's openings; what is committed begins it anew. An opening does not: it succeeds where
        each transaction behind it fails, and each of those leaves records in the topics that nobody will read.
        """
        self.journal_end = 0
        self.next_offset = 0
        self._journal = journal
        self._acknowledged = acknowledged
        self._behind = behind
        self._backoff = backoff

    async def commit(
        self,
        writes: Writes,
        next_offset: int,
        then: Next,
        working_set: WorkingSet,
        folded: Position | None = None,
        caused: Sequence[Caused] = (),
    ) -> None:
        """Commit records and an offset in one transaction.

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
        self.journal_end, self.next_offset = known.end, next_offset
        self._behind.committed(restore, folded)

    async def forget_restore_point(self) -> None:
        """Commit an offset that names no restore point, since the present one differs from the journal."""
        metadata = self._acknowledged.metadata._replace(restore=None)
        try:
            await self._journal.commit(self._journal.writes(), self.next_offset, self.journal_end, metadata)
        except JournalError as error:
            log.error("the restore point is still named by the group's offset", reason=str(error))  # noqa: TRY400
