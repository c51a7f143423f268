"""Parked events of a subscription: which there are, and what becomes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from aiokafka.errors import KafkaError
from msgspec import Meta, Struct

from annals.agents.ports import JournalError
from annals.agents.publishing.administration import Refused
from annals.agents.publishing.delivering.choosing import FIRST, Choice, Place
from annals.schemas.cid import parse_cid
from annals.schemas.settlement import DISCARD, REPLAY
from annals.schemas.values.moments import recorded_at
from annals.workers.api.answers import json_answer
from annals.workers.api.audit import Decision
from annals.workers.api.gathered import BAD_CURSOR
from annals.workers.api.parameters import Bound, Id, Kind, Limit
from annals.workers.api.problems import NOT_READY, Problem, invalid, not_found, not_ready
from annals.workers.api.routes.dead_letters import LONGEST_REASON, AggregateNamed, WantedRecords, moment_at, read_body
from annals.workers.api.routing import Answer, Route, Scope
from annals.workers.api.shapes import CidText, RecordedAt
from annals.workers.clock import SystemClock
from annals.workers.kafka.connections import MissingTopicError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from annals.workers.api.audit import AuditLog
    from annals.workers.api.routing import Call

T = TypeVar("T")

PATH: Final = "/v1/subscriptions/{name}/parked"
PAGE: Final = 100
MOST_CIDS: Final = 10_000
_CURSOR: Final = re.compile(r"([0-9]{1,9})-([01])-([0-9]{1,18})", re.ASCII)

Why = Annotated[str, Meta(min_length=1, max_length=LONGEST_REASON)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Listed(Struct, frozen=True):
    """Which are wanted, and where the page begins. since, until: when it was parked."""

    name: str
    kind: Kind | None = None
    type: Id | None = None
    aggregate_id: Id | None = None
    reason: str | None = None
    since: Bound | None = None
    until: Bound | None = None
    limit: Limit = PAGE
    cursor: str | None = None


class OfSubscription(Struct, frozen=True):
    """A subscription."""

    name: str


class One(Struct, frozen=True):
    """A parked event."""

    name: str
    cid: str


class ParkedEvent(Struct, frozen=True):
    """A parked event. `offset`: of its record in `parked.<name>`, null where the topic no longer has it."""

    cid: CidText
    kind: str
    aggregate_id: str
    version: int
    type: str
    reason: str | None
    attempts: int
    parked_at: RecordedAt
    partition: int
    offset: int | None


class ParkedEvents(Struct, frozen=True):
    """A page of parked events, by partition in the order of parking. `next`: path and query of the next page."""

    parked: list[ParkedEvent]
    next: str | None


class ParkedReplay(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `cids`, `aggregate` and `all`. `stop_at`: those whose record is before this offset."""

    cids: Annotated[list[str], Meta(min_length=1, max_length=MOST_CIDS)] | None = None
    aggregate: AggregateNamed | None = None
    all: bool = False
    stop_at: Offset | None = None
    where: WantedRecords = WantedRecords()
    reason: Why | None = None


class ParkedDiscard(ParkedReplay, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same, and why."""

    reason: Why


class ParkedDecided(Struct, frozen=True):
    """How many events this request has decided about."""

    accepted: int


class Parked(Protocol):
    """What is parked, as the routes ask for it; each may raise `Refused`."""

    async def page(self, name: str, choice: Choice, begin: Place, limit: int) -> tuple[Sequence[Any], Place | None]:
        """Return some, and where the next page begins."""

    async def replay(self, name: str, choice: Choice, stop_at: int | None, by: str) -> int:
        """Have them delivered again."""

    async def discard(self, name: str, choice: Choice, stop_at: int | None, by: str, reason: str) -> int:
        """Give them up."""


class ParkedRoutes:
    """Routes of parked events."""

    def __init__(self, parked: Parked, audit: AuditLog) -> None:
        """Take who has them, and where decisions are recorded."""
        self._parked = parked
        self._audit = audit

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        again = "Deliver parked events again, as they are in the journal now."
        discard = "Give parked events up, and let the next ones of their aggregates go."
        return (
            Route("GET", PATH, Scope.READ, "Parked events of a subscription.", Listed, ParkedEvents, self.list),
            Route("GET", f"{PATH}/{{cid}}", Scope.READ, "A parked event.", One, ParkedEvent, self.get),
            self._decides("replay", again, ParkedReplay, self.replay),
            self._decides("discard", discard, ParkedDiscard, self.discard),
        )

    async def list(self, call: Call) -> Answer:
        """Answer a page."""
        asked: Listed = call.parameters
        choice = Choice(
            kind=asked.kind,
            aggregate_id=asked.aggregate_id,
            type=asked.type,
            reason=asked.reason,
            since=None if asked.since is None else recorded_at(asked.since),
            until=None if asked.until is None else recorded_at(asked.until),
        )
        begin = place_of(asked.cursor)
        found, following = await _answered(self._parked.page(asked.name, choice, begin, asked.limit))
        events = [ParkedEvent(**each._asdict()) for each in found]
        return json_answer(ParkedEvents(events, _next(asked, following)))

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        asked: One = call.parameters
        choice = Choice(cids=frozenset({asked.cid}))
        found, _ = await _answered(self._parked.page(asked.name, choice, FIRST, 1))
        if not found:
            raise not_found(f"no event of this CID is parked of {asked.name}")
        return json_answer(ParkedEvent(**found[0]._asdict()))

    async def replay(self, call: Call) -> Answer:
        """Deliver again."""
        asked = read_body(call.body, ParkedReplay)
        choice, by = choice_of(asked), call.principal.name
        await self._record(call, REPLAY, asked)
        return _accepted(await _answered(self._parked.replay(call.parameters.name, choice, asked.stop_at, by)))

    async def discard(self, call: Call) -> Answer:
        """Give up."""
        asked = read_body(call.body, ParkedDiscard)
        choice, by = choice_of(asked), call.principal.name
        await self._record(call, DISCARD, asked)
        discarding = self._parked.discard(call.parameters.name, choice, asked.stop_at, by, asked.reason)
        return _accepted(await _answered(discarding))

    async def _record(self, call: Call, action: str, asked: ParkedReplay) -> None:
        """Record who decides what and why, before it is done: a kill in the midst of it leaves that there."""
        await self._audit.write(
            Decision(
                call.request_id,
                call.principal.name,
                "POST",
                call.path,
                recorded_at(SystemClock().now()),
                None,
                None,
                action,
                call.parameters.name,
                msgspec.to_builtins(asked),
                asked.reason,
            )
        )

    def _decides(self, verb: str, summary: str, body: Any, handler: Any) -> Route:
        return Route(
            "POST",
            f"{PATH}/{verb}",
            Scope.ADMIN,
            summary,
            OfSubscription,
            ParkedDecided,
            handler,
            body=body,
            status=202,
            is_administrative=True,
        )


def choice_of(asked: ParkedReplay) -> Choice:
    """Return what a body means.

    Raises:
        Problem: it names none, or in several ways, or what cannot be (400).
    """
    if sum([asked.cids is not None, asked.aggregate is not None, asked.all]) != 1:
        raise invalid("", "must have exactly one of cids, aggregate and all: true")
    for number, cid in enumerate(asked.cids or ()):
        try:
            parse_cid(cid)
        except ValueError as error:
            raise invalid(f"cids[{number}]", str(error)) from None
    where, aggregate = asked.where, asked.aggregate
    if aggregate is not None and where.kind not in {None, aggregate.kind}:
        raise invalid("where.kind", "is not the kind of the aggregate")
    return Choice(
        cids=None if asked.cids is None else frozenset(asked.cids),
        kind=where.kind if aggregate is None else aggregate.kind,
        aggregate_id=None if aggregate is None else aggregate.id,
        type=where.type,
        reason=where.reason,
        since=moment_at("where.since", where.since),
        until=moment_at("where.until", where.until),
    )


def place_of(cursor: str | None) -> Place:
    """Return what a cursor says.

    Raises:
        Problem: it is none (400).
    """
    if cursor is None:
        return FIRST
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Problem(400, BAD_CURSOR, "cursor: is none that a page gave")
    return Place(int(match[1]), int(match[2]), int(match[3]))


def _next(asked: Listed, place: Place | None) -> str | None:
    if place is None:
        return None
    given: dict[str, Any] = {}
    for name in ("kind", "type", "aggregate_id", "reason", "since", "until", "limit"):
        value = getattr(asked, name)
        if value is not None:
            given[name] = recorded_at(value) if name in {"since", "until"} else value
    query = urlencode({**given, "cursor": "-".join(map(str, place))})
    return f"{PATH.replace('{name}', quote(asked.name, safe=''))}?{query}"


def _accepted(count: int) -> Answer:
    return json_answer(ParkedDecided(count), status=202)


async def _answered(asking: Awaitable[T]) -> T:
    try:
        return await asking
    except Refused as refused:
        if refused.code == NOT_READY:
            raise not_ready(str(refused)) from None
        raise Problem(refused.status, refused.code, str(refused)) from None
    except (MissingTopicError, JournalError, KafkaError, OSError) as error:
        raise not_ready(f"parked events cannot be reached: {type(error).__name__}: {error}") from None
