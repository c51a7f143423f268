"""Runs whose filters take long: they are judged in a thread, where the event loop has its turn between two expressions.

A CEL expression takes some microseconds on an event, a long one milliseconds, one that is given a large event 60. A
subscription may have a hundred of them, and a run has five hundred events: heartbeats, questions and every other
partition would wait for minutes. How long an expression takes is known from the events before.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from annals.agents.publishing.selection import select, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.records import Outgoing
    from annals.agents.publishing.selection import Selected, Subscribed
    from annals.agents.reading.found import JournalEvent

LARGE_BYTES: Final = 16 << 10  # of a block: what expressions took with smaller ones says nothing of it
MOST_BYTES: Final = 256 << 10  # of large blocks, times expressions: some 20 ms
MOST_S: Final = 0.02  # of one turn of the event loop, if expressions take as long as they did
# Questions to stores and answers are made in the event loop's own threads, and would wait for whole runs there. More
# than one thread judges no faster: whoever evaluates holds the interpreter.
_JUDGING: Final = ThreadPoolExecutor(1, "judging")


async def select_in_turns(
    events: Sequence[JournalEvent],
    subscribed: Sequence[tuple[Subscribed, int]],
    decider: Decider[Any],
    most_bytes: int | None = None,
) -> Selected:
    """Return what `select` returns; nobody else may use the subscriptions meanwhile."""
    if _is_heavy(events, [each for each, _ in subscribed]):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_JUDGING, select, events, subscribed, decider, most_bytes)
    return select(events, subscribed, decider, most_bytes)


class OneByOne:
    """Judges the events of one subscription one after another."""

    def __init__(self, subscribed: Subscribed, decider: Decider[Any]) -> None:
        """Take the subscription."""
        self._subscribed = subscribed
        self._decider = decider
        self._took_s = 0.0  # in this turn of the event loop, as far as that is known

    async def wanted(self, source: JournalEvent) -> Outgoing | None:
        """Return the record of one event; None if it is not wanted.

        Raises:
            one of `CANNOT_GO_ON`: the subscription cannot go on; see `reason_of`.
        """
        if _is_heavy([source], [self._subscribed]):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_JUDGING, wanted, source, self._subscribed, self._decider)
        self._took_s += self._subscribed.filters_s
        if self._took_s > MOST_S:
            self._took_s = 0.0
            await asyncio.sleep(0)
        return wanted(source, self._subscribed, self._decider)


def _is_heavy(events: Sequence[JournalEvent], subscribed: Sequence[Subscribed]) -> bool:
    if len(events) * sum(each.filters_s for each in subscribed) > MOST_S:
        return True
    large = sum(len(event.block) for event in events if len(event.block) > LARGE_BYTES)
    return large > 0 and large * sum(each.expressions for each in subscribed) > MOST_BYTES
