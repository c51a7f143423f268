"""Filters that take long: a CEL expression is given the whole of an event, and a large one takes it 60 ms.

With a hundred subscriptions one event would hold the event loop for seconds: heartbeats, questions and every other
partition wait. So would compiling a hundred long expressions, 25 ms each. Both are done in a thread; between two
expressions the loop has its turn.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from annals.agents.publishing.cel import Expression, ExpressionError
from annals.agents.publishing.selection import select
from annals.schemas.subscription_filters import expressions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.agents.publishing.ports import Kept
    from annals.agents.publishing.selection import Selected, Subscribed
    from annals.agents.reading.found import JournalEvent

Compiled = list[Expression]
"""What keeps expressions from being compiled again, for as long as somebody has it."""

LARGE_BYTES: Final = 16 << 10  # of a block; what expressions take with smaller ones is bounded by the length of a run
MOST_BYTES: Final = 256 << 10  # of large blocks, times expressions: some 20 ms


async def compiled(every: Iterable[Kept]) -> Compiled:
    """Compile the expressions of subscriptions, those that can be."""
    records = [kept.record for kept in every]
    definitions = [
        each for record in records for each in (record.definition, *(one.definition for one in record.former))
    ]
    texts = {text for each in definitions for _, text in expressions(each.filters)}
    return await asyncio.to_thread(_compiled, texts) if texts else []


def _compiled(texts: Collection[str]) -> Compiled:
    found = []
    for text in texts:
        with suppress(ExpressionError):  # whoever needs it says so
            found.append(Expression(text))
    return found


async def select_in_turns(
    events: Sequence[JournalEvent],
    subscribed: Sequence[tuple[Subscribed, int]],
    decider: Decider[Any],
    most_bytes: int | None = None,
) -> Selected:
    """Return what `select` returns; nobody else may use the subscriptions meanwhile."""
    large = sum(len(event.block) for event in events if len(event.block) > LARGE_BYTES)
    if large and large * sum(each.expressions for each, _ in subscribed) > MOST_BYTES:
        return await asyncio.to_thread(select, events, subscribed, decider, most_bytes)
    return select(events, subscribed, decider, most_bytes)
