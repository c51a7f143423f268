"""Dead letters: which there are, and what becomes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from aiokafka.errors import KafkaError
from msgspec import Meta, Struct

from annals.agents.dead_letters.letter import Letter
from annals.agents.dead_letters.selection import Selection
from annals.agents.ports import JournalError
from annals.schemas.settlement import DISCARD, REPLAY
from annals.schemas.values.moments import bound_of, recorded_at
from annals.workers.api.answers import json_answer
from annals.workers.api.gathered import BAD_CURSOR
from annals.workers.api.parameters import Bound, Id, Kind, Limit
from annals.workers.api.problems import Problem, invalid, not_found, not_ready
from annals.workers.api.routing import Answer, NoParameters, Route, Scope
from annals.workers.kafka.connections import MissingTopicError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from annals.workers.api.routing import Call

T = TypeVar("T")

PATH: Final = "/v1/dead-letters"
PAGE: Final = 100
MOST_OFFSETS: Final = 10_000
LONGEST_REASON: Final = 500
_CURSOR: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)

Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Why = Annotated[str, Meta(min_length=1, max_length=LONGEST_REASON)]


class Listed(Struct, frozen=True):
    """Which are wanted, and where the page begins. since, until: when the command was received."""

    reason: Id | None = None
    kind: Kind | None = None
    type: Id | None = None
    aggregate_id: Id | None = None
    since: Bound | None = None
    until: Bound | None = None
    limit: Limit = PAGE
    cursor: str | None = None


class One(Struct, frozen=True):
    """A dead letter, by its offset."""

    offset: Offset
    partition: Offset = 0


class Letters(Struct, frozen=True):
    """A page of those that are open. `stop_at`: behind all that there were; `next`: path and query of the next page."""

    dead_letters: list[Letter]
    next: str | None
    stop_at: int


class RecordHeader(Struct, frozen=True, omit_defaults=True):
    """A header. `value_base64` instead of `value` where that is no text."""

    name: str
    value: str | None = None
    value_base64: str | None = None


class DeadLetterSettled(Struct, frozen=True):
    """What became of a dead letter."""

    action: str
    by: str
    at: str
    reason: str | None


class WholeDeadLetter(Letter, frozen=True):
    """A dead letter with its bytes: `key_base64` and `value_base64` instead of `key` and `value` that are no text."""

    headers: list[RecordHeader]
    settled: DeadLetterSettled | None
    key: str | None = None
    value: str | None = None
    key_base64: str | None = None
    value_base64: str | None = None


class AggregateNamed(Struct, frozen=True, forbid_unknown_fields=True):
    """An aggregate."""

    kind: str
    id: str


class WantedRecords(Struct, frozen=True, forbid_unknown_fields=True):
    """Those that all of these hold of."""

    reason: str | None = None
    kind: str | None = None
    type: str | None = None
    since: str | None = None
    until: str | None = None


class DeadLetterReplay(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `offsets` (of `partition`, 0), `aggregate` and `all`; `stop_at`: those before this offset."""

    offsets: Annotated[list[Offset], Meta(min_length=1, max_length=MOST_OFFSETS)] | None = None
    partition: Offset | None = None
    aggregate: AggregateNamed | None = None
    all: bool = False
    stop_at: Offset | None = None
    where: WantedRecords = WantedRecords()
    reason: Why | None = None


class DeadLetterDiscard(DeadLetterReplay, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same, and why."""

    reason: Why


class DeadLettersSettled(Struct, frozen=True):
    """How many this request has settled. `refused`: those that came from no topic of commands."""

    accepted: int
    refused: int


class Page(Protocol):
    """Some dead letters. next: partition and offset where the next page begins."""

    @property
    def letters(self) -> list[Letter]:
        """They."""

    @property
    def next(self) -> tuple[int, int] | None:
        """Where the next page begins; None: there are no more."""

    @property
    def stop_at(self) -> int:
        """Behind all that there were."""


class Whole(Protocol):
    """A dead letter with its bytes."""

    def body(self) -> dict[str, Any]:
        """Return it as JSON types."""


class Done(Protocol):
    """What a request did."""

    @property
    def accepted(self) -> int:
        """How many it settled."""

    @property
    def refused(self) -> int:
        """How many it could not."""


class DeadLetters(Protocol):
    """Dead letters, as the routes ask for them."""

    async def page(self, selection: Selection, begin: tuple[int, int], limit: int) -> Page:
        """Return open ones from a place on."""

    async def get(self, partition: int, offset: int) -> Whole | None:
        """Return one."""

    async def settle(
        self,
        action: Any,
        selection: Selection,
        principal: str,
        path: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> Done:
        """Send again or discard."""


class DeadLetterRoutes:
    """Routes of dead letters."""

    def __init__(self, letters: DeadLetters) -> None:
        """Take who has them."""
        self._letters = letters

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        again = "Send the commands of dead letters again, under their own ids."
        return (
            Route("GET", PATH, Scope.READ, "Dead letters that are open.", Listed, Letters, self.list),
            Route("GET", f"{PATH}/{{offset}}", Scope.READ, "A dead letter whole.", One, WholeDeadLetter, self.get),
            self._settles("replay", again, DeadLetterReplay, self.replay),
            self._settles("discard", "Settle dead letters without sending anything.", DeadLetterDiscard, self.discard),
        )

    async def list(self, call: Call) -> Answer:
        """Answer a page."""
        asked: Listed = call.parameters
        selection = Selection(
            reason=asked.reason,
            kind=asked.kind,
            type=asked.type,
            aggregate_id=asked.aggregate_id,
            since=None if asked.since is None else recorded_at(asked.since),
            until=None if asked.until is None else recorded_at(asked.until),
        )
        page = await _answered(self._letters.page(selection, place_of(asked.cursor), asked.limit))
        return json_answer(Letters(page.letters, _next(asked, page.next), page.stop_at))

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        asked: One = call.parameters
        found = await _answered(self._letters.get(asked.partition, asked.offset))
        if found is None:
            raise not_found(f"there is no dead letter at offset {asked.offset} of partition {asked.partition}")
        return json_answer(found.body())

    async def replay(self, call: Call) -> Answer:
        """Send again."""
        return await self._settle(call, REPLAY, read_body(call.body, DeadLetterReplay))

    async def discard(self, call: Call) -> Answer:
        """DeadLetterDiscard."""
        return await self._settle(call, DISCARD, read_body(call.body, DeadLetterDiscard))

    async def _settle(self, call: Call, action: str, asked: DeadLetterReplay) -> Answer:
        done = await _answered(
            self._letters.settle(
                action,
                selection_of(asked),
                call.principal.name,
                call.path,
                reason=asked.reason,
                request_id=call.request_id,
            )
        )
        return json_answer(DeadLettersSettled(done.accepted, done.refused), status=202)

    def _settles(self, verb: str, summary: str, body: Any, handler: Any) -> Route:
        path = f"{PATH}/{verb}"
        return Route(
            "POST",
            path,
            Scope.ADMIN,
            summary,
            NoParameters,
            DeadLettersSettled,
            handler,
            body=body,
            status=202,
            is_administrative=True,
        )


def selection_of(asked: DeadLetterReplay) -> Selection:
    """Return what a body means.

    Raises:
        Problem: it names none, or in several ways, or what cannot be (400).
    """
    named = [asked.offsets is not None, asked.aggregate is not None, asked.all]
    if sum(named) != 1:
        raise invalid("", "must have exactly one of offsets, aggregate and all: true")
    where, aggregate = asked.where, asked.aggregate
    if aggregate is not None and where.kind not in {None, aggregate.kind}:
        raise invalid("where.kind", "is not the kind of the aggregate")
    return Selection(
        offsets=None if asked.offsets is None else frozenset(asked.offsets),
        partition=0 if asked.partition is None and asked.offsets is not None else asked.partition,
        reason=where.reason,
        kind=where.kind if aggregate is None else aggregate.kind,
        type=where.type,
        aggregate_id=None if aggregate is None else aggregate.id,
        since=moment_at("where.since", where.since),
        until=moment_at("where.until", where.until),
        stop_at=asked.stop_at,
    )


def place_of(cursor: str | None) -> tuple[int, int]:
    """Return partition and offset of a cursor.

    Raises:
        Problem: it is none (400).
    """
    if cursor is None:
        return (0, 0)
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise Problem(400, BAD_CURSOR, "cursor: is none that a page gave")
    return int(match[1]), int(match[2])


def _next(asked: Listed, place: tuple[int, int] | None) -> str | None:
    if place is None:
        return None
    given: dict[str, Any] = {}
    for name in ("reason", "kind", "type", "aggregate_id", "since", "until", "limit"):
        value = getattr(asked, name)
        if value is not None:
            given[name] = recorded_at(value) if name in {"since", "until"} else value
    return f"{PATH}?{urlencode({**given, 'cursor': f'{place[0]}-{place[1]}'})}"


def moment_at(path: str, text: str | None) -> str | None:
    """Return a moment of a body as it is compared; Problem (400) if it is none."""
    try:
        return None if text is None else recorded_at(bound_of(text))
    except ValueError as error:
        raise invalid(path, str(error)) from None


def read_body(body: bytes, shape: type[T]) -> T:
    """Return what a body says; Problem (400) if it is not of this shape."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        text, _, at = str(error).partition(" - at `$")
        raise invalid(at.strip("`."), text) from None
    except msgspec.DecodeError as error:
        raise invalid("", f"not JSON: {error}") from None


async def _answered(asking: Awaitable[T]) -> T:
    try:
        return await asking
    except (MissingTopicError, JournalError, KafkaError, OSError) as error:
        raise not_ready(f"dead letters cannot be reached: {type(error).__name__}: {error}") from None
