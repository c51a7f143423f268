"""Parked events of a subscription: which there are, and what becomes of them."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, get_args
from urllib.parse import quote

import msgspec
from msgspec import Meta, Struct

from annals.agents.publishing.delivering.choosing import DECISION, FIRST, Choice, Filter, ParkedDecision, Place
from annals.agents.reading.jobs import TooManyJobsError
from annals.schemas.audit import Decision
from annals.schemas.cid import parse_cid
from annals.schemas.data.validation import Validator
from annals.schemas.settlement import DISCARD, REPLAY
from annals.schemas.values.moments import recorded_at
from annals.workers.api.choosing import (
    PAGE,
    AggregateNamed,
    Offset,
    WantedRecords,
    Why,
    body_filters,
    decides,
    kinds_asked_for,
    listed_filters,
    next_page,
    place_of,
    read_body,
    require_known,
    require_one,
)
from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.parameters import CursorText, Id, Kind, Limit, Since, TypeName, Until
from annals.workers.api.http.problems import invalid, not_found
from annals.workers.api.http.routing import Answer, Route, Scope
from annals.workers.api.http.shapes import CidText, RecordedAt
from annals.workers.api.routes.jobs import JOBS, LOCATION, too_many
from annals.workers.api.routes.subscriptions import with_problems
from annals.workers.registry import unknown_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from annals.agents.ports import Clock
    from annals.agents.publishing.delivering.choosing import Meant
    from annals.agents.reading.jobs import Jobs
    from annals.workers.api.audit import AuditLog
    from annals.workers.api.http.routing import Call

    Recording = Callable[[], Awaitable[None]]

ASKED: Final = "parked events"
PATH: Final = "/v1/subscriptions/{name}/parked"
MOST_CIDS: Final = 10_000
MOST_AT_ONCE: Final = 10_000  # decided about while a request waits: some seconds
_CURSOR: Final = re.compile(r"([0-9]{1,9})-([01])-([0-9]{1,18})", re.ASCII)


class Listed(Struct, frozen=True):
    """Which are wanted, and where the page begins. since, until: when it was parked."""

    name: str
    kind: Kind | None = None
    type: TypeName | None = None
    aggregate_id: Id | None = None
    reason: Annotated[str, Meta(description="For this reason.")] | None = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = PAGE
    cursor: CursorText | None = None


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


REPLAYS: Final = Validator(ParkedReplay)
DISCARDS: Final = Validator(ParkedDiscard)


class ParkedDecided(Struct, frozen=True):
    """How many events this request has decided about, or is to: where a `Location` is given, a job is at it.

    Its result is how many it decided about; others may have been faster.
    """

    accepted: int


class Parked(Protocol):
    """What is parked, as the routes ask for it; each may raise `Refused`."""

    async def page(self, name: str, choice: Choice, begin: Place, limit: int) -> tuple[Sequence[Any], Place | None]:
        """Return some, and where the next page begins."""

    async def meant(self, name: str, choice: Choice, stop_at: int | None, most: int) -> Meant | None:
        """Return which there are; None: no more than `most`."""

    async def replay(self, name: str, choice: Choice, stop_at: int | None, by: str, *, before: Recording) -> int:
        """Have them delivered again. before: what is done first, where there are any."""

    async def discard(
        self, name: str, choice: Choice, stop_at: int | None, by: str, reason: str, *, before: Recording
    ) -> int:
        """Give them up. before: as for `replay`."""


class ParkedRoutes:
    """Routes of parked events."""

    def __init__(self, parked: Parked, jobs: Jobs, audit: AuditLog, clock: Clock) -> None:
        """Take who has them, what decides about very many, and where decisions are recorded."""
        self._parked = parked
        self._jobs = jobs
        self._audit = audit
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        again = "Deliver parked events again, as they are in the journal now."
        discard = "Give parked events up, and let the next ones of their aggregates go."
        told = {"answers_with": (LOCATION,)}
        return (
            Route("GET", PATH, Scope.READ, "Parked events of a subscription.", Listed, ParkedEvents, self.list),
            Route("GET", f"{PATH}/{{cid}}", Scope.READ, "A parked event.", One, ParkedEvent, self.get),
            decides(f"{PATH}/replay", again, OfSubscription, ParkedReplay, ParkedDecided, self.replay, **told),
            decides(f"{PATH}/discard", discard, OfSubscription, ParkedDiscard, ParkedDecided, self.discard, **told),
        )

    async def list(self, call: Call) -> Answer:
        """Answer a page."""
        asked: Listed = call.parameters
        choice = Choice(**listed_filters(asked))
        begin = FIRST if asked.cursor is None else Place(*place_of(asked.cursor, _CURSOR))
        found, following = await with_problems(self._parked.page(asked.name, choice, begin, asked.limit), ASKED)
        if not found and asked.cursor is None:
            kinds = kinds_asked_for(asked)
            require_known(asked, {"type": lambda name: unknown_event(name, kinds)})
        events = [ParkedEvent(**each._asdict()) for each in found]
        path = PATH.replace("{name}", quote(asked.name, safe=""))
        return json_answer(ParkedEvents(events, next_page(path, asked, following)))

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        asked: One = call.parameters
        choice = Choice(cids=frozenset({asked.cid}))
        found, _ = await with_problems(self._parked.page(asked.name, choice, FIRST, 1), ASKED)
        if not found:
            raise not_found(f"no event of this CID is parked of {asked.name}")
        return json_answer(ParkedEvent(**found[0]._asdict()))

    async def replay(self, call: Call) -> Answer:
        """Deliver again."""
        asked = read_body(call.body, REPLAYS)
        choice, by = choice_of(asked), call.principal.name
        recording = partial(self._record, call, REPLAY, asked)
        if (begun := await self._begun(call, REPLAY, asked, choice, recording)) is not None:
            return begun
        replaying = self._parked.replay(call.parameters.name, choice, asked.stop_at, by, before=recording)
        return _accepted(asked, await with_problems(replaying, ASKED))

    async def discard(self, call: Call) -> Answer:
        """Give up."""
        asked = read_body(call.body, DISCARDS)
        choice, by = choice_of(asked), call.principal.name
        recording = partial(self._record, call, DISCARD, asked)
        if (begun := await self._begun(call, DISCARD, asked, choice, recording)) is not None:
            return begun
        name, stop_at = call.parameters.name, asked.stop_at
        discarding = self._parked.discard(name, choice, stop_at, by, asked.reason, before=recording)
        return _accepted(asked, await with_problems(discarding, ASKED))

    async def _begun(
        self,
        call: Call,
        action: Literal["replay", "discard"],
        asked: ParkedReplay,
        choice: Choice,
        recording: Recording,
    ) -> Answer | None:
        """Begin a job where very many are meant, and answer how many; None: they are few enough for this request."""
        if asked.cids is not None:
            return None
        name = call.parameters.name
        meant = await with_problems(self._parked.meant(name, choice, asked.stop_at, MOST_AT_ONCE), ASKED)
        if meant is None:
            return None
        given = ((each, getattr(choice, each)) for each in get_args(Filter))
        filters: dict[Filter, str] = {each: value for each, value in given if value is not None}
        wish = ParkedDecision(name, action, filters, *meant[1:], call.principal.name, asked.reason)
        try:
            subject = f"{action} what is parked of {name}"
            job = await self._jobs.start(DECISION, subject, msgspec.to_builtins(wish), recording)
        except TooManyJobsError as error:
            raise too_many(error) from None
        return json_answer(ParkedDecided(meant.number), status=202, location=f"{JOBS}/{job.id}")

    async def _record(self, call: Call, action: str, asked: ParkedReplay) -> None:
        """Record who decides what and why, before it is done: a kill in the midst of it leaves that there.

        Not before it can be done: what is refused, and what is about nothing, is no decision.
        """
        await self._audit.write(
            Decision(
                call.request_id,
                call.principal.name,
                "POST",
                call.path,
                recorded_at(self._clock.now()),
                None,
                None,
                action,
                call.parameters.name,
                msgspec.to_builtins(asked),
                asked.reason,
            )
        )


def choice_of(asked: ParkedReplay) -> Choice:
    """Return what a body means.

    Raises:
        Problem: it names none, or in several ways, or what cannot be (400).
    """
    require_one(asked, "cids")
    for number, cid in enumerate(asked.cids or ()):
        try:
            parse_cid(cid)
        except ValueError as error:
            raise invalid(f"cids[{number}]", str(error)) from None
    cids = None if asked.cids is None else frozenset(asked.cids)
    return Choice(cids=cids, **body_filters(asked.where, asked.aggregate))


def _accepted(asked: ParkedReplay, count: int) -> Answer:
    if not count:
        kinds = kinds_asked_for(asked.aggregate or asked.where)
        require_known(asked.where, {"type": lambda name: unknown_event(name, kinds)}, "where.")
    return json_answer(ParkedDecided(count), status=202)
