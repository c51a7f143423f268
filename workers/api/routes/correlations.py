"""A correlation: what was caused by what."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from annals.agents.reading.found import EventFilter
from annals.agents.reading.gathering.correlations import MOST_EVENTS, causation_trees
from annals.agents.reading.gathering.cursors import begin
from annals.agents.reading.gathering.events import read_events
from annals.schemas.dag_json import encode
from annals.workers.api.gathered import (
    Expect,
    Gathering,
    WaitExpected,
    gather_until,
    gathered_json,
    until_expected,
    until_rests_on,
)
from annals.workers.api.http.parameters import Id
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.http.shapes import Event, found_event_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from annals.agents.reading.found import FoundEvent
    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.agents.reading.gathering.correlations import Node
    from annals.agents.reading.gathering.events import EventsFound
    from annals.agents.reading.gathering.expecting import ExpectedAt
    from annals.workers.api.http.routing import Call

PART: Final = 1_000
MOVED_WAIT_S: Final = 2.0  # for what is expected, where another worker answers than the one that had it


class CorrelationParameters(Struct, frozen=True):
    """Which correlation is wanted."""

    id: Id
    expect: Expect = []
    wait: WaitExpected | None = None


class CausingCommand(Struct, frozen=True):
    """A command, its events, and the commands that it caused."""

    command_id: str
    causation_id: str | None
    events: list[Event]
    children: list[CausingCommand]


class Correlation(Gathering, frozen=True):
    """A correlation as trees. `truncated`: it has more events than 10,000, of which the first are here."""

    correlation_id: str
    roots: list[CausingCommand]
    truncated: bool


class _Found(NamedTuple):
    """The first events of a correlation, and the last page of them."""

    events: list[FoundEvent]
    last: EventsFound

    @property
    def positions(self) -> Mapping[str, Sequence[int | None]]:
        return self.last.positions


class CorrelationRoutes:
    """The route of a correlation."""

    def __init__(self, shards: AllShards) -> None:
        """Take the reading shards."""
        self._shards = shards

    def routes(self) -> tuple[Route, ...]:
        """Return it."""
        path, summary = "/v1/correlations/{id}", "What was caused by what in a correlation."
        return (Route("GET", path, Scope.READ, summary, CorrelationParameters, Correlation, self.correlation),)

    async def correlation(self, call: Call) -> Answer:
        """Answer a correlation."""
        asked: CorrelationParameters = call.parameters
        correlation_id = asked.id
        expected = await until_expected(self._shards, asked.expect, asked.wait, call)
        found = await until_rests_on(expected, asked.wait, call, partial(self._events, call, correlation_id, expected))
        events, page = found.events, found.last
        roots = await asyncio.to_thread(lambda: [tree_json(root) for root in causation_trees(events[:MOST_EVENTS])])
        return Answer(
            gathered_json(
                b"roots", roots, page.positions, page.missing, page.stale, page.lag,
                correlation_id=correlation_id, truncated=len(events) > MOST_EVENTS,
            )
        )  # fmt: skip

    async def _events(self, call: Call, correlation_id: str, expected: Sequence[ExpectedAt]) -> _Found:
        """Return the first events, one more than are answered if there are more, and the last page of them."""
        wanted = EventFilter(correlation_id=correlation_id)
        shards = self._shards.all()
        cursor = begin(self._shards.partitions(self._shards.kinds), descending=False)
        events: list[FoundEvent] = []
        while True:
            until = gather_until(call)  # of this page: what is read of many events takes longer than one answer may
            page = await read_events(shards, wanted, cursor, PART, MOVED_WAIT_S, until, expected)
            events += page.events
            if page.is_end or page.missing or not page.events or len(events) > MOST_EVENTS:
                return _Found(events, page)
            cursor = page.cursor


def tree_json(root: Node) -> bytes:
    """Return a tree as JSON. A chain of causes may be longer than any stack is deep."""
    parts = [_opened(root)]
    open_nodes: list[Iterator[Node]] = [iter(root.children)]
    is_first = True
    while open_nodes:
        child = next(open_nodes[-1], None)
        if child is None:
            open_nodes.pop()
            parts.append(b"]}")
            is_first = False
        else:
            parts += [b"" if is_first else b",", _opened(child)]
            open_nodes.append(iter(child.children))
            is_first = True
    return b"".join(parts)


def _opened(node: Node) -> bytes:
    events = b",".join(map(found_event_json, node.events))
    command_id, causation_id = encode(node.command_id), encode(node.causation_id)
    return b'{"command_id":%b,"causation_id":%b,"events":[%b],"children":[' % (command_id, causation_id, events)
