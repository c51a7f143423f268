"""What a reaction keeps, as its topic has it: read where it is opened, and given to its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annals.agents.folding.turns import TURN_RECORDS
from annals.agents.waiting import in_turns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

    from annals.agents.reacting.ports import ReactionLog
    from annals.agents.reacting.processes import Processes
    from annals.agents.reacting.rekeyed import Rekeying


async def kept_rows(writer: ReactionLog) -> dict[bytes, bytes]:
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
