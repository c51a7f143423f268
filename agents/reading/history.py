"""Whether what comes next follows what was published or reacted to last: another history is never gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.ports import StoppedError
from annals.agents.reading.shard import STOPPED
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress


async def require_history(source: JournalSource, done: str, progress: Progress, remedy: str) -> None:
    """Check that the last event before the progress is the one that the progress names.

    A source that has not read so far passes: whoever asks waits for it anyway. done: who did what up to there, in the
    message; remedy: what to do where it is another journal.

    Raises:
        StoppedError: the source knows another event there, or reads no further.
        NotReadyError: it cannot be asked now.
    """
    status = source.status()
    if status.offset < progress.position:
        if status.phase == STOPPED:
            raise StoppedError(f"{done} up to offset {progress.position}; {status.reason}")
        return
    last = await source.last_before(progress.position)
    if progress.cid != last:
        raise StoppedError(
            f"{done} up to offset {progress.position}, behind event {_shown(progress.cid)}, and the last event "
            f"before it is {_shown(last)}: this is another journal. {remedy}"
        )


def _shown(cid: bytes | None) -> str:
    return "none" if cid is None else cid_text(cid)
