"""What a shard knows was acknowledged in its topics, and whether they still have it.

It is asked when the shard opens, since nothing may be hidden by what is written then, and compared with what the
brokers answer while it is open. What is lost stops the shard; `annals.agents.writing.recovery.losses` tells a loss from
a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from annals.agents.folding.known_events import is_event
from annals.agents.ports import Ends, JournalError, StaleStateError, StoppedError
from annals.agents.writing.recovery.losses import (
    Known,
    counts,
    lost,
    record_at,
    require_end,
    require_known,
    require_records,
)
from annals.agents.writing.restore.restored import commands_in, resolve
from annals.topics.group_metadata import NOTHING_KNOWN, EventAt, GroupMetadata, RecordAt, digest_of

if TYPE_CHECKING:
    from annals.agents.ports import (
        CommandRecord,
        LogRecovery,
        LogState,
        LostEndError,
        OutcomeRecord,
        Position,
        ShardStore,
    )
    from annals.agents.writing.shard_id import ShardId


log = structlog.get_logger(__name__)


class Next(NamedTuple):
    """What will be known once a transaction is committed."""

    known: Known
    metadata: GroupMetadata


class Acknowledged:
    """What is known of one shard's topics: of this process, and of the group's offset."""

    def __init__(self, place: ShardId, journal: LogRecovery, known: Known) -> None:
        """Take what this process knows of the journal from an earlier time."""
        self.known = known
        self._place = place
        self._journal = journal
        self.metadata: GroupMetadata = NOTHING_KNOWN
        self._reached = Ends(0, 0, 0, 0)
        self._is_doubted = False

    async def require(self, seen: LogState) -> EventAt | None:
        """Return the last known event, where it stands now.

        Raises:
            StoppedError: something that was acknowledged is not there.
        """
        place = self._place
        if seen.journal_start > 0:
            raise StoppedError(
                f"the journal of {place.kind}, partition {place.partition}, begins at offset {seen.journal_start} "
                f"instead of 0: events were deleted. Restore the topic from a copy, and set retention.ms and "
                f"retention.bytes to -1."
            )
        last: EventAt | None = None
        for known in self._all_known(seen):
            event = await require_known(self._journal, place, seen, known)
            last = max(filter(None, (last, event)), default=None)
        await require_records(self._journal, place, seen)
        self._require_reached(seen)
        return last

    def require_marker(self, seen: LogState) -> None:
        """Wait for no transaction whose marker was cut off: it hides events that were acknowledged, and never ends."""
        for known in self._all_known(seen):
            if known.last is not None and seen.journal_stable <= known.last.offset:
                require_end(self._place, known, seen.journal_end)

    def tell_end_of(self, newest: OutcomeRecord, seen: LogState) -> None:
        """Where the group's offset is lost, tell of a journal that ends below what the newest outcome says.

        It stops nothing: whoever may write to outcomes can write that, and would stop the shard for good.
        """
        end = newest.journal_end or 0
        if seen.committed_journal_end is None and end > max(seen.accepted_until, seen.journal_end):
            log.error(
                "an outcome says that the journal reached further",
                kind=self._place.kind,
                partition=self._place.partition,
                outcome_of=newest.command_offset,
                said=end,
                journal_end=seen.journal_end,
            )

    def _all_known(self, seen: LogState) -> list[Known]:
        """Return what is known of the journal: by the group's offset, and by this worker unless it was given up.

        Whoever accepted the journal knew of the group's offset, which may have been lost: this worker may know more.
        """
        known, accepted = self.known, seen.accepted_until
        found = []
        if seen.committed_journal_end is not None or seen.last_event is not None:
            found.append(Known(seen.committed_journal_end or 0, seen.last_event, accepted))
        # Behind the last event that counts there are markers alone, of which another worker may have seen fewer.
        end = known.end if known.last is None else known.last.offset + 1
        is_given_up = end <= accepted or known.accepted_until < accepted
        if not is_given_up and known not in found:
            found.append(known)
        return found

    def _require_reached(self, seen: LogState) -> None:
        """Stop if outcomes or commands end below what this worker has seen of them.

        Commands that were made anew, offsets and all, are decided from their beginning.
        """
        place, reached = self._place, self._reached
        lost_outcomes = reached.outcomes > seen.outcomes_end
        if lost_outcomes or (reached.commands > seen.commands_end and seen.committed is not None):
            what = "outcomes" if lost_outcomes else "commands"
            known, there = getattr(reached, what), getattr(seen, f"{what}_end")
            raise StoppedError(
                f"the {what} of {place.kind}, partition {place.partition}, end at offset {there}, and they reached "
                f"{known} before: their end was cut off. Restore the topic; or, to go on without what was lost, "
                f"restart the worker."
            )

    async def opened(self, seen: LogState, store: ShardStore, last: EventAt | None) -> None:
        """Take what is known after the fold. last: the last event that it met, or else that was known before."""
        position = store.position()
        if last is None or position.last_offset > last.offset:  # what was not folded now, the store knows
            record = await record_at(self._journal, position.last_offset, position.last_cid, seen.journal_end)
            if record is not None:
                await resolve(store, self._journal, commands_in(self._place.kind, [record]))
            if record is not None and counts(store, self._place.kind, record):
                last = EventAt(position.last_offset, position.last_cid)
        self.known = Known(seen.journal_end, last, seen.accepted_until)
        more = seen.accepted_until, seen.last_command, seen.last_outcome, seen.unsure_until, seen.others, seen.restore
        self.metadata = GroupMetadata(seen.journal_end, last, *more)
        self._reached = Ends(0, seen.journal_end, seen.outcomes_end, seen.commands_end)
        self._is_doubted = False

    def after(self, position: Position | None, command: CommandRecord) -> Next:
        """Return what is known once a batch is committed: up to where it is folded then, and its last command."""
        known = self.known
        if position is not None:
            last = EventAt(position.last_offset, position.last_cid)
            known = known._replace(end=position.offset + 1, last=last)  # and the marker
        decided = RecordAt(command.offset, digest_of(command.value))
        unsure_until = self.metadata.unsure_until if command.offset + 1 < self.metadata.unsure_until else 0
        metadata = self.metadata._replace(
            journal_end=known.end, last=known.last, command=decided, unsure_until=unsure_until
        )
        return Next(known, metadata)

    def be_unsure(self, until: int) -> None:
        """Know with each commit, until all below an offset is decided, that some of it may have been before."""
        self.metadata = self.metadata._replace(unsure_until=until)

    def committed(self, known: Known, metadata: GroupMetadata) -> None:
        """Take what is known after a commit."""
        self.known, self.metadata = known, metadata

    async def lost(self, error: LostEndError) -> JournalError:
        """Return what to say of a journal that ends below the known end.

        If its last event is there, what was cut off is missed by nobody, and opening will find that event.
        """
        last = self.known.last
        if last is not None and is_event(await record_at(self._journal, last.offset, last.cid, error.end), last):
            return StaleStateError(f"the journal lost what was behind its last event: it ends at offset {error.end}")
        return lost(self._place, self.known, error.end)

    def ends(self, next_offset: int) -> Ends:
        """Return up to where the partitions reach at least. next_offset: the next command to decide."""
        last, outcome, reached = self.known.last, self.metadata.outcome, self._reached
        journal = max(reached.journal, last.offset + 1 if last else 0)  # the marker behind it may not be written yet
        outcomes = max(reached.outcomes, outcome.offset + 1 if outcome else 0)
        return Ends(0, journal, outcomes, max(reached.commands, next_offset))

    def is_less(self, asked: Ends, answered: Ends) -> bool:
        """Whether the brokers have less than was known when they were asked; if not, take what they have."""
        is_less = any(mine > theirs for mine, theirs in zip(asked[1:], answered[1:], strict=True))
        if is_less or answered.journal_start > asked.journal_start:
            return True
        self._reached = Ends(0, *map(max, self._reached[1:], answered[1:]))
        return False

    def doubt(self) -> None:
        """Trust the commands no further before their end was looked at: brokers were away, or another one leads."""
        self._is_doubted = True

    async def require_last_command(self) -> None:
        """If there is doubt, see that the last decided command stands where it stood: others may be below it.

        Raises:
            StaleStateError: it does not; what that means, opening decides.
        """
        known = self.metadata.command
        if self._is_doubted and known is not None:
            found = await self._journal.command_digest(known.offset, known.digest)
            if found != known.digest:
                raise StaleStateError("the last decided command is not where it was: looking again")
        self._is_doubted = False
