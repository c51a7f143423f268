"""Whether what is published next follows what was published last: another history is never gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.ports import StoppedError
from annals.agents.reading.shard import STOPPED
from annals.schemas.cid import cid_text

if TYPE_CHECKING:
    from annals.agents.reading.ports import JournalSource
    from annals.schemas.progress import Progress


async def require_history(source: JournalSource, name: str, live: Progress) -> None:
    """Let nothing be published behind another event than the one that the progress names.

    A source that is behind the progress says nothing yet: it is waited for.

    Raises:
        StoppedError: the source knows another event there, or reads no further.
        NotReadyError: it cannot be asked now.
    """
    status = source.status()
    if status.offset < live.position:
        if status.phase == STOPPED:
            raise StoppedError(f"{name}: published up to offset {live.position}; {status.reason}")
        return
    last = await source.last_before(live.position)
    if live.cid != last:
        raise StoppedError(
            f"{name}: published up to offset {live.position}, behind event {_shown(live.cid)}, and the last event "
            f"before it is {_shown(last)}: this is another journal. Restore it; or, if it is another one on purpose, "
            f"delete the topic of progress and the group that ends in .publish, and every subscription begins where it "
            f"began."
        )


def _shown(cid: bytes | None) -> str:
    return "none" if cid is None else cid_text(cid)
