"""Dead letters: which there are, and what becomes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

from msgspec import Meta, Struct

from annals.agents.dead_letters.letter import Letter
from annals.agents.dead_letters.selection import Selection
from annals.schemas.data.validation import Validator
from annals.schemas.settlement import DISCARD, REPLAY
from annals.schemas.wire.dead_letter import unknown_reason
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
from annals.workers.api.http.parameters import CursorText, Id, Kind, Limit, Reason, Since, TypeName, Until
from annals.workers.api.http.problems import not_found
from annals.workers.api.http.routing import Answer, NoParameters, Route, Scope
from annals.workers.api.routes.subscriptions import with_problems
from annals.workers.registry import unknown_command

if TYPE_CHECKING:
    from annals.schemas.settlement import Action
    from annals.workers.api.http.routing import Call

ASKED: Final = "dead letters"
PATH: Final = "/v1/dead-letters"
MOST_OFFSETS: Final = 10_000
_CURSOR: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)


class Listed(Struct, frozen=True):
    """Which are wanted, and where the page begins. since, until: when the command was received."""

    reason: Reason | None = None
    kind: Kind | None = None
    type: TypeName | None = None
    aggregate_id: Id | None = None
    since: Since | None = None
    until: Until | None = None
    limit: Limit = PAGE
    cursor: CursorText | None = None


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


REPLAYS: Final = Validator(DeadLetterReplay)
DISCARDS: Final = Validator(DeadLetterDiscard)


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
        action: Action,
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
        discard = "Settle dead letters without sending anything."
        return (
            Route("GET", PATH, Scope.READ, "Dead letters that are open.", Listed, Letters, self.list),
            Route("GET", f"{PATH}/{{offset}}", Scope.READ, "A dead letter whole.", One, WholeDeadLetter, self.get),
            decides(f"{PATH}/replay", again, NoParameters, DeadLetterReplay, DeadLettersSettled, self.replay),
            decides(f"{PATH}/discard", discard, NoParameters, DeadLetterDiscard, DeadLettersSettled, self.discard),
        )

    async def list(self, call: Call) -> Answer:
        """Answer a page."""
        asked: Listed = call.parameters
        partition, offset = (0, 0) if asked.cursor is None else place_of(asked.cursor, _CURSOR)
        selection = Selection(**listed_filters(asked))
        page = await with_problems(self._letters.page(selection, (partition, offset), asked.limit), ASKED)
        if not page.letters and page.next is None and asked.cursor is None:
            kinds = kinds_asked_for(asked)
            require_known(asked, {"type": lambda name: unknown_command(name, kinds), "reason": unknown_reason})
        return json_answer(Letters(page.letters, next_page(PATH, asked, page.next), page.stop_at))

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        asked: One = call.parameters
        found = await with_problems(self._letters.get(asked.partition, asked.offset), ASKED)
        if found is None:
            raise not_found(f"there is no dead letter at offset {asked.offset} of partition {asked.partition}")
        return json_answer(found.body())

    async def replay(self, call: Call) -> Answer:
        """Send again."""
        return await self._settle(call, REPLAY, read_body(call.body, REPLAYS))

    async def discard(self, call: Call) -> Answer:
        """Settle without sending anything."""
        return await self._settle(call, DISCARD, read_body(call.body, DISCARDS))

    async def _settle(self, call: Call, action: Action, asked: DeadLetterReplay) -> Answer:
        done = await with_problems(
            self._letters.settle(
                action,
                selection_of(asked),
                call.principal.name,
                call.path,
                reason=asked.reason,
                request_id=call.request_id,
            ),
            ASKED,
        )
        if not done.accepted and not done.refused:
            kinds = kinds_asked_for(asked.aggregate or asked.where)
            unknown = {"type": lambda name: unknown_command(name, kinds), "reason": unknown_reason}
            require_known(asked.where, unknown, "where.")
        return json_answer(DeadLettersSettled(done.accepted, done.refused), status=202)


def selection_of(asked: DeadLetterReplay) -> Selection:
    """Return what a body means.

    Raises:
        Problem: it names none, or in several ways, or what cannot be (400).
    """
    require_one(asked, "offsets")
    return Selection(
        offsets=None if asked.offsets is None else frozenset(asked.offsets),
        partition=0 if asked.partition is None and asked.offsets is not None else asked.partition,
        stop_at=asked.stop_at,
        **body_filters(asked.where, asked.aggregate),
    )
