"""The questions that read models answer, a route each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args
from urllib.parse import urlencode

from msgspec import Meta, Struct

from annals.agents.reading.gathering.gather import Lag, PartitionReason
from annals.agents.reading.gathering.row_cursors import decode_place, encode_place
from annals.schemas.kinds import policy
from annals.schemas.values.fields import END
from annals.schemas.values.ids import LONGEST_ID
from annals.schemas.values.refs import ReaderRef, Ref, kinds_of
from annals.workers.api.gathered import Expect, WaitExpected, bad_cursors_refused
from annals.workers.api.http.answers import json_answer, rows_json
from annals.workers.api.http.parameters import CursorText, ExactMoment, Id, Limit
from annals.workers.api.http.routing import Route, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annals.agents.reading.read_models.row_answers import RowAnswers
    from annals.workers.api.http.routing import Answer, Call
    from annals.workers.api.routes.projections import Expecting

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


def _reference(kinds: Iterable[str]) -> Meta:
    """Return how a `kind:id` is checked: a misspelt kind would find what holds for all, and look like an answer."""
    known = tuple(dict.fromkeys(kinds))
    return Meta(
        pattern=rf"^({'|'.join(known)}):.{{1,{LONGEST_ID}}}{END}",
        description=f"`kind:id`, as `person:p-1`; kinds are {', '.join(known)}.",
    )


Subject = Annotated[str, _reference([*(scope for scope in get_args(policy.Scope) if scope != "all"), *kinds_of(Ref)])]
Grantee = Annotated[str, _reference(kinds_of(ReaderRef))]


class Waiting(Struct, frozen=True, kw_only=True):
    """What every question takes."""

    limit: Limit | None = None
    cursor: CursorText | None = None
    expect: Expect = []
    wait: WaitExpected | None = None


class People(Waiting, frozen=True):
    """Who has this e-mail address, verified or not, in any status?"""

    email: Text


class Members(Waiting, frozen=True):
    """Who are an organization's members, with a role if one is given?"""

    organization_id: Id
    role_id: Text | None = None


class Memberships(Waiting, frozen=True):
    """Where is a person a member?"""

    person_id: Id


class Policies(Waiting, frozen=True):
    """Which policies bind a subject at a time (now), how strictly, and who is exempt?"""

    subject: Subject
    at: ExactMoment | None = None


class Steps(Waiting, frozen=True):
    """Which workflows have steps that are ready, or overdue?"""

    due: Literal["ready", "overdue"]


class Agents(Waiting, frozen=True):
    """Which active agents with all these capabilities have room?"""

    capability: list[Text] = []


class Documents(Waiting, frozen=True):
    """Which published documents with a tag may somebody read?"""

    tag: Text
    grantee: Grantee


class Locations(Waiting, frozen=True):
    """What lies under a location, at any depth? Of very many, some may be left out that are more than 10,000 deep."""

    under: Id


class Organizations(Waiting, frozen=True):
    """Which active organizations have this name, as a whole and without regard to case?"""

    name: Text


PARAMETERS: Final[dict[str, type[Waiting]]] = {
    "people": People,
    "members": Members,
    "memberships": Memberships,
    "policies": Policies,
    "steps": Steps,
    "agents": Agents,
    "documents": Documents,
    "locations": Locations,
    "organizations": Organizations,
}


class Answered(Struct, frozen=True):
    """The rows that answer, and what they rest on.

    Without `limit`: all of up to 100,000 and 32 MiB that are looked at in 5 s (a quarter of ANNALS_API_TIMEOUT_S, where
    that is less). `truncated`: there are more rows, behind `next`; or people share an address with more than 20, or
    than were found in time, and `shared_with` lacks some: `people` by the address has all. `next`: null: all partitions
    answered and had no more. A page may have fewer rows than `limit` before the last one, or none.
    """

    rows: list[dict[str, Any]]
    next: str | None
    positions: dict[str, list[int | None]]
    missing: list[PartitionReason]
    stale: list[PartitionReason]
    truncated: bool
    lag: Lag


class QuestionRoutes:
    """Routes of questions."""

    def __init__(self, answers: RowAnswers, expecting: Expecting) -> None:
        """Take who answers."""
        self._answers = answers
        self._expecting = expecting

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return tuple(self._route(name, parameters) for name, parameters in PARAMETERS.items())

    def _route(self, name: str, parameters: type[Waiting]) -> Route:
        path = f"/v1/questions/{name}"
        own = [field for field in parameters.__struct_fields__ if field not in Waiting.__struct_fields__]

        async def answer(call: Call) -> Answer:
            asked = call.parameters
            given = {field: getattr(asked, field) for field in own}
            said = {field: value for field, value in given.items() if value}
            with bad_cursors_refused():
                version, after = (None, None) if asked.cursor is None else decode_place(asked.cursor, path, said)
                found = await self._expecting(call, lambda: self._answers.ask(name, given, after, asked.limit, version))
            following = None
            if not found.is_end:
                rest = said | ({} if asked.limit is None else {"limit": asked.limit})
                rest["cursor"] = encode_place(path, said, found.version, found.after or ())
                following = f"{path}?{urlencode(rest, doseq=True)}"
            rows = await rows_json(found.rows)
            return json_answer(
                Answered(rows, following, found.positions, found.missing, found.stale, found.is_truncated, found.lag)
            )

        summary = (parameters.__doc__ or "").strip()
        return Route("GET", path, Scope.READ, summary, parameters, Answered, answer, problems=(504,))
