"""Where the progress of a reactor stands in the journal that is there now, and whether this release may go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from annals.agents.event_keys import PROJECTION, REACTION, Rekeyed
from annals.agents.ports import StaleStateError, StoppedError
from annals.agents.reacting.ports import BEGIN_ANEW
from annals.agents.reactions.reaction import Reaction
from annals.agents.reading.following.history import in_this_journal, is_in_place, until_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from annals.agents.ports import Clock
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress


class NewerVersionError(StoppedError):
    """A newer version of the reaction has run here than this release has."""


class Whose(NamedTuple):
    """Whose progress it is, in messages.

    what: a `reaction` or a `projection`; does, done: `react` or `copy`, and `NAME: reacted` or `NAME: copied`;
    begin_anew: what to do to begin at the beginning; deployment: whose journals these are, None for this one's.
    """

    name: str
    what: str
    does: str
    done: str
    begin_anew: str
    deployment: str | None

    @classmethod
    def of(cls, reaction: Reaction[Any] | Rekeyed, kind: str, partition: int, *, reads_stream: bool) -> Whose:
        """Return who runs a reaction, or copies to a stream, in a partition of a journal or of its stream."""
        stream = reaction if isinstance(reaction, Rekeyed) else None
        deployment = reaction.deployment if isinstance(reaction, Reaction) else None
        is_projection = stream is not None and stream.reader == PROJECTION
        does, done = ("copy", "copied") if is_projection else ("react", "reacted")
        whose = "" if deployment is None else f" of {deployment}"
        name = f"{reaction.name} in {'its stream' if reads_stream else kind}-{partition}{whose}"
        what = PROJECTION if is_projection else REACTION
        begin_anew = BEGIN_ANEW if stream is None else stream.begin_anew
        return cls(name, what, does, f"{name}: {done}", begin_anew, deployment)


def require_version(whose: Whose, progress: Progress, version: int) -> None:
    """Check that no newer version has run.

    Raises:
        NewerVersionError: one has.
    """
    if progress.version > version:
        raise NewerVersionError(
            f"{whose.name} was run in version {progress.version}, and this release has version {version}: run the "
            f"newer release, or a newer version of the reaction"
        )


async def standing(
    source: JournalSource,
    progress: Progress,
    end: int,
    whose: Whose,
    clock: Clock,
    tell: Callable[[str], None],
    log: FilteringBoundLogger,
) -> Progress:
    """Return the progress as it stands in a journal that ends there.

    Where the journal lost an end that was to send nothing, what takes its offsets was recorded since, and is reacted
    to. tell: takes what is waited for.

    Raises:
        StaleStateError: the reading shard has not met that loss yet.
        StoppedError: it is another journal, or one that was restored while commands were held back up to an offset; or
            the reading shard reads no further.
    """
    handled = progress.position

    async def reach(position: int) -> None:
        await until_read(source, position, handled, whose.done, clock, tell)

    await reach(min(handled, end))
    if progress.position <= end and await is_in_place(source, progress):
        if progress.quiet_until <= end or whose.deployment is not None:  # of another's losses nobody decides here
            return progress
        # Not before the loss is judged: who restores the journal byte for byte has old events there again.
        await reach(end)
        if (there := source.status().end) > end:
            raise StaleStateError(f"{whose.name}: the journal ends at {end}, and was read up to {there}")
        log.warning("the journal lost an end that sends nothing", quiet_until=progress.quiet_until, end=end)
        return replace(progress, quiet_until=end)
    await reach(end)
    stands = await in_this_journal(source, whose.done, progress, end, f"Restore it; {whose.begin_anew}")
    if progress.quiet_until > progress.position:
        raise StoppedError(
            f"{whose.name}: the journal was restored from a copy of its records, and it is not known what offset "
            f"{progress.quiet_until}, below which no commands are sent, is in it. Restore it byte for byte; "
            f"{whose.begin_anew}"
        )
    log.warning("the journal was restored from a copy of its records", was=progress.position, position=stands.position)
    return replace(stands, quiet_until=min(progress.quiet_until, stands.position))
