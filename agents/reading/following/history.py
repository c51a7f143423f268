"""Whether what comes next follows what was published or reacted to last: another history is never gone on with.

In a journal that was restored from a copy of its records, events stand elsewhere, since markers of transactions are not
copied. Their order is what it was, so that whoever knows the last event that it handled goes on behind that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from annals.agents.ports import StaleStateError, StoppedError
from annals.agents.reading.found import STOPPED
from annals.agents.reading.ports import NotIndexedError
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.agents.ports import Clock
    from annals.agents.reading.found import JournalRun
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress

LOOK_S: Final = 0.5


async def require_history(source: JournalSource, done: str, progress: Progress) -> None:
    """Check that the last event before the progress is the one that the progress names.

    A source that has not read so far passes, unless that is all there is: whoever asks waits for it anyway. done: who
    did what up to there, in the message.

    Raises:
        StaleStateError: the source knows another event there, or its journal ends before: see `in_this_journal`.
        StoppedError: the source reads no further.
        NotReadyError: it cannot be asked now.
    """
    status = source.status()
    if status.offset < progress.position:
        if status.phase == STOPPED:
            raise StoppedError(f"{done} up to offset {progress.position}; {status.reason}")
        if status.reached:
            raise StaleStateError(f"{done} up to offset {progress.position}, and the journal ends at {status.end}")
        return
    if not await is_in_place(source, progress):
        raise StaleStateError(f"{done} up to offset {progress.position}, and another event is before it now")


async def run_behind(source: JournalSource, done: str, progress: Progress, most: int) -> JournalRun:
    """Return the next events behind a progress that names the last event before it, if it is known.

    That is looked at once they are read: what was passed, and was no event, may have been cut off since, and events
    been written in its place. They would be missed. Where that event is older than what the source knows, it is not
    looked at: the source reads the journal from its beginning, and compares.

    Raises:
        as `require_history` does.
    """
    run = await source.events_from(progress.position, most)
    if progress.cid is not None:
        with suppress(NotIndexedError):
            await require_history(source, done, progress)
    return run


async def until_read(
    source: JournalSource, position: int, handled: int, done: str, clock: Clock, tell: Callable[[str], None]
) -> None:
    """Wait until the source has read up to a position. handled: up to where somebody did what; done: what, and who.

    tell: takes what is waited for.

    Raises:
        StoppedError: the source reads no further, and has not what was handled.
    """
    while True:
        is_there = await source.until_offset(position, clock.monotonic() + LOOK_S)
        status = source.status()
        if status.phase == STOPPED and status.offset < handled:
            raise StoppedError(f"{done} up to offset {handled}; {status.reason}")
        if is_there:
            return
        why = f", {status.reason}" if status.reason else ""
        tell(f"waiting for the reading shard: at offset {status.offset} of {position}{why}")


async def is_in_place(source: JournalSource, progress: Progress) -> bool:
    """Whether the last event before a progress is the one that it names, in what the source has read up to there."""
    return await source.last_before(progress.position) == progress.cid


async def in_this_journal(source: JournalSource, done: str, progress: Progress, end: int, remedy: str) -> Progress:
    """Return a progress as it stands in the journal: elsewhere, where that was restored from a copy of its records.

    The source has read the journal to its end, and the progress is not in its place. end: where that is; remedy: what
    to do where it is another journal.

    Raises:
        StoppedError: the last event before the progress is not in the journal.
        NotReadyError: the source cannot be asked now.
    """
    place = None if progress.cid is None else await source.place_of(progress.cid)
    if place is not None:
        return replace(progress, position=place + 1)
    if progress.position > end:
        raise StoppedError(
            f"{done} up to offset {progress.position}, and the journal ends at {end}: it lost its end, or was made "
            f"anew. {remedy}"
        )
    raise StoppedError(
        f"{done} up to offset {progress.position}, behind event {shown(progress.cid)}, and the last event before it "
        f"is {shown(await source.last_before(progress.position))}: this is another journal. {remedy}"
    )


def shown(cid: bytes | None) -> str:
    """Return what messages call an event."""
    return "none" if cid is None else cid_text(cid)
