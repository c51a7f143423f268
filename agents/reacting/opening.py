"""How a reactor opens, behind its fence: where it goes on, and what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from annals.agents.event_keys import REACTION, Rekeyed
from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.reacting.ports import ReactionWrites
from annals.agents.reacting.processes import Processes
from annals.agents.reacting.rekeyed import Rekeying
from annals.agents.reacting.standing import Whose, require_version, standing
from annals.agents.reacting.versions import begun_anew
from annals.agents.waiting import in_turns
from annals.schemas.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Clock
    from annals.agents.reacting.ports import ReactionLog
    from annals.agents.reactions.reaction import Reaction
    from annals.agents.reading.ports import JournalPartition, JournalSource


class Opened(NamedTuple):
    """What a reactor goes on with. kept: its rows, to be loaded, or to be removed where another version wrote them."""

    processes: Processes | Rekeying
    progress: Progress
    kept: Mapping[bytes, bytes]
    is_outdated: bool = False


class Opening:
    """Opens one reactor, as often as it is fenced or uncertain."""

    def __init__(
        self,
        reaction: Reaction[Any] | Rekeyed,
        decider: Decider[Any],
        whose: Whose,
        source: JournalSource,
        journal: JournalPartition,
        clock: Clock,
        here: str | None,
        tell: Callable[[str], None],
        log: FilteringBoundLogger,
        *,
        reads_stream: bool,
    ) -> None:
        """Take the reaction, whose its progress is, and what the reactor reads; here: this deployment's id.

        tell: takes what is waited for; reads_stream: it is a stream that is reacted to.
        """
        self._reaction = reaction
        self._decider = decider
        self._whose = whose
        self._source = source
        self._journal = journal
        self._clock = clock
        self._here = here
        self._tell = tell
        self._log = log
        self._reads_stream = reads_stream

    def begun(self) -> Processes | Rekeying:
        """Return the processes of a reaction that has not begun."""
        if isinstance(self._reaction, Rekeyed):
            return Rekeying(self._reaction)
        return Processes(self._reaction, self._decider, self._here)

    async def open(self, writer: ReactionLog) -> Opened:
        """Read where the reaction goes on, and what it keeps.

        Raises:
            StoppedError: the progress is of a newer version, or not of this journal.
        """
        reaction, whose, source = self._reaction, self._whose, self._source
        known = await writer.progress()
        _, end = await self._journal.bounds()  # asked last: the next owner may have come further meanwhile
        version = 0 if isinstance(reaction, Rekeyed) else reaction.version
        # What in a stream is older than the reaction is marked there; a projection folds all of it alike.
        is_quiet = not self._reads_stream and whose.what == REACTION
        progress = known or Progress(0, version=version, quiet_until=end if is_quiet else 0)
        if not isinstance(reaction, Rekeyed):  # what is copied does not depend on the version
            require_version(whose, progress, version)
        stands = await standing(source, progress, end, whose, self._clock, self._tell, self._log)
        if stands != progress:  # at once: when the journal has grown, nobody can tell any more
            await writer.commit(ReactionWrites((), {}, stands))
        progress = stands
        kept = await _kept_rows(writer)
        if not isinstance(reaction, Rekeyed):
            if progress.version < version:
                return Opened(self.begun(), begun_anew(progress, version), kept, is_outdated=True)
            if progress.position == 0 and kept:  # not all was removed yet
                return Opened(self.begun(), progress, kept, is_outdated=True)
        return Opened(self.begun(), progress, kept)


async def load(processes: Processes | Rekeying, kept: Mapping[bytes, bytes], log: FilteringBoundLogger) -> None:
    """Give rows to processes; between some of them whatever else the event loop has to do is done.

    Raises:
        ReactionFailedError: a state is of this version, and none that this release can read.
    """
    async for some in in_turns(kept.items(), TURN_RECORDS):
        for key, value in some:
            try:
                processes.load(key, value)
            except ValueError as error:  # whoever wrote it: nothing is known by it
                log.warning("a row of the reaction is passed over", key=repr(key), reason=str(error))


async def _kept_rows(writer: ReactionLog) -> dict[bytes, bytes]:
    """Return the rows by key, in the order in which they were written last.

    Raises:
        UnreachableError: the brokers do not answer.
    """
    kept: dict[bytes, bytes] = {}
    async for key, value in writer.rows():
        kept.pop(key, None)
        if value is not None:
            kept[key] = value
    return kept
