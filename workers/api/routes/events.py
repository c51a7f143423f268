"""Events of all partitions: pages behind a cursor, a stream of server-sent events, and one event by its CID."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct

from annals.agents.reading.found import EventFilter
from annals.agents.reading.gathering.cursors import CursorTooLongError, begin, decode, encode
from annals.agents.reading.gathering.events import follow, read_events
from annals.agents.reading.gathering.gather import gather
from annals.agents.reading.gathering.shared_questions import SharedQuestions
from annals.schemas.cid import parse_cid
from annals.schemas.values.moments import recorded_at
from annals.workers.api.gathered import (
    Expect,
    Gathering,
    bad_cursors_refused,
    end_of,
    gather_until,
    gathered_json,
    until_expected,
    until_rests_on,
)
from annals.workers.api.http.answers import events_json
from annals.workers.api.http.parameters import CursorText, Id, Kind, Limit, Order, Since, TypeName, Until, Wait
from annals.workers.api.http.problems import invalid, not_found, not_ready
from annals.workers.api.http.routing import CALL, ETAG, Answer, Route, Scope
from annals.workers.api.http.shapes import Event, found_event_json
from annals.workers.registry import unknown_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from annals.agents.reading.gathering.all_shards import AllShards
    from annals.agents.reading.gathering.cursors import Cursor
    from annals.agents.reading.gathering.events import EventsFound
    from annals.agents.reading.gathering.expecting import ExpectedAt
    from annals.workers.api.http.routing import Call

PAGE: Final = 100
CURSOR_WAIT_S: Final = 2.0
MOST_STREAMS: Final = 750
EVENT_STREAM: Final = "text/event-stream"
LAST_EVENT_ID: Final = "last-event-id"
RETRY: Final = b"retry: 1000\n\n"  # what a browser waits before it asks again
PIECE_BYTES: Final = 64 << 10  # of events that are sent together: as many as wait for a caller besides


class EventsParameters(Struct, frozen=True):
    """Which events are wanted, and where the page begins."""

    kind: Kind | None = None
    type: TypeName | None = None
    correlation_id: Annotated[Id, Meta(description="Of this correlation.")] | None = None
    causation_id: Annotated[Id, Meta(description="Whose command has this `causation_id`.")] | None = None
    command_id: Annotated[Id, Meta(description="Of this command.")] | None = None
    actor: Annotated[Id, Meta(description="Of this actor.")] | None = None
    since: Since | None = None
    until: Until | None = None
    order: Order = "asc"
    limit: Limit = PAGE
    cursor: Annotated[CursorText, Meta(description="Behind this cursor of a page or a stream.")] | None = None
    wait: (
        Annotated[Wait, Meta(description="Seconds to wait for `expect` (10), or until `cursor` is read (2).")] | None
    ) = None
    expect: Expect = []
    follow: Annotated[Literal["1"], Meta(description="A stream, without end.")] | None = None


class EventParameters(Struct, frozen=True):
    """Which event is wanted."""

    cid: str


class EventsGathered(Gathering, frozen=True):
    """A page of events. `next`: path and query of the next page, null: all partitions answered and had no more.

    A page may be empty while `next` is not null: where partitions are `missing` or `stale`, wait before you follow it.
    `cursor`: goes on behind this page at any later time.
    """

    events: list[Event]
    next: str | None
    cursor: str


class EventRoutes:
    """Routes of events over all partitions."""

    def __init__(self, shards: AllShards, most_streams: Callable[[], int] = lambda: MOST_STREAMS) -> None:
        """Take the reading shards, and how many streams there may be at once."""
        self._shards = shards
        self._most_streams = most_streams
        self._streams = 0
        self._shared = SharedQuestions()

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return (
            Route(
                "GET",
                "/v1/events",
                Scope.READ,
                "Events by type, correlation and so on; with `follow=1` a stream of server-sent events.",
                EventsParameters,
                EventsGathered,
                self.events,
                content_types=(EVENT_STREAM,),
                headers=(("Last-Event-ID", "The `id` that a stream goes on behind; it goes before `cursor`."),),
            ),
            Route(
                "GET",
                "/v1/events/{cid}",
                Scope.READ,
                "The event of a CID.",
                EventParameters,
                Event,
                self.event,
                answers_with=((ETAG, "The CID, in quotes."),),
                is_conditional=True,
            ),
        )

    async def events(self, call: Call) -> Answer:
        """Answer a page of events, or a stream of them."""
        asked: EventsParameters = call.parameters
        kinds = self._shards.kinds if asked.kind is None else (asked.kind,)
        await self._require_type(call, asked.type, kinds)
        text = asked.cursor
        if asked.follow:
            if asked.order == "desc":
                raise invalid("order", "a stream goes on as events come: asc")
            text = call.headers.get(LAST_EVENT_ID) or text
        expected = await until_expected(self._shards, asked.expect, asked.wait, call)
        with bad_cursors_refused():
            cursor = self._cursor(text, kinds, descending=asked.order == "desc")
            if asked.follow:
                return await self._stream(call, kinds, cursor, is_new=text is None)
            is_waited_for = text is not None or expected or cursor.descending
            wait_s = (CURSOR_WAIT_S if asked.wait is None else asked.wait) if is_waited_for else 0.0
            reading = partial(self._page, call, kinds, cursor, wait_s, expected)
            page = await until_rests_on(expected, asked.wait, call, reading)
            behind = encode(page.cursor)
        following = None if page.is_end else _path(asked, behind)
        body = gathered_json(
            b"events", await events_json(page.events), page.positions, page.missing, page.stale, page.lag,
            next=following, cursor=behind,
        )  # fmt: skip
        return Answer(body)

    async def _page(
        self, call: Call, kinds: tuple[str, ...], cursor: Cursor, wait_s: float, expected: Sequence[ExpectedAt]
    ) -> EventsFound:
        """Return a page. Asked again it has time to answer again; nothing is waited for beyond the end of `wait`."""
        asked: EventsParameters = call.parameters
        shards, now = self._shards.of_kinds(kinds), _now()
        if expected:
            wait_s = max(0.0, min(wait_s, end_of(call, asked.wait) - now))
        deadline = gather_until(call, wait_s)
        return await read_events(shards, wanted(asked), cursor, asked.limit, wait_s, deadline, expected)

    async def event(self, call: Call) -> Answer:
        """Answer one event."""
        text = call.parameters.cid
        try:
            cid = parse_cid(text)
        except ValueError as error:
            raise not_found(f"there is no event of this CID: {error}") from None
        found = await gather(
            self._shards.all(),
            lambda shard: shard.by_cid(cid),
            gather_until(call),
            is_enough=lambda event: event is not None,
        )
        event = next((answer for answer in found.answers.values() if answer is not None), None)
        if event is not None:
            return Answer(found_event_json(event), etag=text)
        unsure = [*found.missing, *found.stale]
        if unsure:
            first = unsure[0]
            raise not_ready(f"the event may be in {first.kind}-{first.partition}: {first.reason}")
        raise not_found("there is no event of this CID")

    async def _require_type(self, call: Call, name: str | None, kinds: tuple[str, ...]) -> None:
        """Refuse a type that these kinds do not have and of which nothing is stored: it is misspelt.

        Another release may have recorded events of types that this one does not know; they are answered.
        """
        unknown = None if name is None else unknown_event(name, kinds)
        if name is None or unknown is None:
            return
        cursor = self._cursor(None, kinds, descending=False)
        wanted_ones, deadline = EventFilter(types=(name,)), gather_until(call)
        page = await read_events(self._shards.of_kinds(kinds), wanted_ones, cursor, 1, 0.0, deadline)
        if not (page.events or page.missing or page.stale):
            raise invalid("type", unknown)

    def _cursor(self, text: str | None, kinds: tuple[str, ...], *, descending: bool) -> Cursor:
        partitions = self._shards.partitions(kinds)
        if text is None:
            return begin(partitions, descending=descending)
        return decode(text, partitions, descending=descending)

    async def _stream(self, call: Call, kinds: tuple[str, ...], cursor: Cursor, *, is_new: bool) -> Answer:
        filtered = wanted(call.parameters)
        try:
            encode(cursor)
        except CursorTooLongError as error:
            raise invalid("kind", str(error)) from None
        if self._streams >= self._most_streams():  # one more would end another, which comes back, and ends the next
            raise not_ready(f"{self._streams} streams are open here, as many as ANNALS_API_CONNECTIONS permits")
        body = self._followed(call, kinds, filtered, cursor, is_new=is_new)
        await anext(body)  # it has begun, and counts: whatever becomes of it, its end gives the place back
        return Answer(body, content_type=EVENT_STREAM, headers={"cache-control": "no-store"})

    async def _followed(
        self, call: Call, kinds: tuple[str, ...], filtered: EventFilter, cursor: Cursor, *, is_new: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield nothing once the cursor is known to be good, then the stream. It counts from its first step on."""
        self._streams += 1
        try:
            shards = self._shards.of_kinds(kinds)
            if not is_new:  # a cursor of a journal that was made anew is refused before the stream begins
                await read_events(shards, filtered, cursor, 1, 0.0, gather_until(call))
            yield b""
            CALL.set(call)  # the stream outlasts its handler, and asks other workers in its caller's name
            yield RETRY
            at_hand = bytearray()
            async with aclosing(follow(shards, filtered, cursor, self._shared)) as followed:
                async for event, behind, has_next in followed:
                    at_hand += b"id: %b\n" % encode(behind).encode()
                    if event is not None:
                        at_hand += b"event: event\ndata: %b\n" % found_event_json(event)
                    at_hand += b"\n"
                    if not has_next or len(at_hand) > PIECE_BYTES:
                        yield bytes(at_hand)
                        at_hand.clear()
        finally:
            self._streams -= 1


def wanted(asked: EventsParameters) -> EventFilter:
    """Return the filter that parameters ask for."""
    return EventFilter(
        types=() if asked.type is None else (asked.type,),
        correlation_id=asked.correlation_id,
        causation_id=asked.causation_id,
        command_id=asked.command_id,
        actor=asked.actor,
        since=asked.since,
        until=asked.until,
    )


def _path(asked: EventsParameters, cursor: str) -> str:
    """Return the path and query of the next page; what was expected is folded by then."""
    query: dict[str, Any] = {
        name: getattr(asked, name)
        for name in ("kind", "type", "correlation_id", "causation_id", "command_id", "actor")
        if getattr(asked, name) is not None
    }
    query |= {name: recorded_at(at) for name in ("since", "until") if (at := getattr(asked, name)) is not None}
    query |= {"order": asked.order, "limit": asked.limit, "cursor": cursor}
    return f"/v1/events?{urlencode(query)}"


def _now() -> float:
    return asyncio.get_running_loop().time()
