"""Subscriptions: who gets which events on a topic of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlencode

from aiokafka.errors import KafkaError
from msgspec import Struct

from annals.agents.ports import JournalError
from annals.agents.publishing.administration import Refused
from annals.schemas.subscription import NAME, Definition, Retry, Webhook
from annals.workers.api.choosing import json_object
from annals.workers.api.http.answers import NO_STORE, json_answer
from annals.workers.api.http.parameters import CursorText, Limit
from annals.workers.api.http.problems import NOT_READY, InvalidMember, Problem, not_ready
from annals.workers.api.http.routing import ETAG, Answer, Route, Scope
from annals.workers.kafka.connections import MissingTopicError
from annals.workers.kafka.diagnosis import right_or_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from annals.workers.api.http.routing import Call, Handler

T = TypeVar("T")

ALL: Final = "/v1/subscriptions"
PATH: Final = f"{ALL}/{{name}}"
PAGE: Final = 100
IF_MATCH: Final = ("If-Match", "The ETag of what is replaced or deleted.")
LOCK: Final = (ETAG, "What `If-Match` takes. It changes with what is asked for, not with how far that is.")


class ListParameters(Struct, frozen=True):
    """How many, and from where on."""

    limit: Limit = PAGE
    cursor: CursorText | None = None


class One(Struct, frozen=True):
    """A subscription."""

    name: str


class Lag(Struct, frozen=True):
    """How far a subscription is behind: events, and the age of the oldest of them.

    More than 1,000 offsets in a partition are counted as so many events, transaction markers among them.
    """

    events: int
    seconds: float


class Deliveries(Struct, frozen=True):
    """What is not settled with a subscriber that answers: in all, in flight, parked."""

    unsettled: int
    in_flight: int
    parked: int


class Warned(Struct, frozen=True):
    """A member of the subscription that asks for what no event has, and what to do."""

    path: str
    message: str


class Subscription(Struct, frozen=True):
    """What is asked for, where it stands, and its topics. reason: why it was paused, if nobody asked for it."""

    name: str
    kinds: list[str]
    types: list[str]
    filters: list[dict[str, Any]]
    start: Any
    delivery: str
    schema_version: Any
    payload: str
    key: str
    retention: str
    ordered: bool
    max_in_flight: int
    owner: str | None
    retry: Retry
    webhook: Webhook | None
    status: str
    reason: str | None
    positions: dict[str, list[int | None]]
    lag: Lag
    deliveries: Deliveries | None
    warnings: list[Warned]
    topics: list[str]


class Subscriptions(Struct, frozen=True):
    """Subscriptions by name. `next`: null: there are no more."""

    subscriptions: list[Subscription]
    next: str | None = None


class Answered(Protocol):
    """A subscription as it is answered. etag: without quotes; is_new: it was made by this request."""

    @property
    def body(self) -> dict[str, Any]:
        """Its members."""

    @property
    def etag(self) -> str:
        """Its ETag."""

    @property
    def is_new(self) -> bool:
        """Whether it was made by this request."""


class Administration(Protocol):
    """Administers subscriptions; each may raise `Refused`."""

    async def page(self, after: str, limit: int) -> tuple[Sequence[Answered], bool]:
        """Return some by name, from behind one on, and whether there are no more."""

    async def get(self, name: str) -> Answered:
        """Return one."""

    async def put(self, name: str, body: Mapping[str, Any], if_match: str | None = None) -> Answered:
        """Make one or change it."""

    async def pause(self, name: str) -> Answered:
        """Publish nothing more for one."""

    async def resume(self, name: str) -> Answered:
        """Go on with one."""

    async def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete one."""


class SubscriptionRoutes:
    """Routes of subscriptions."""

    def __init__(self, administration: Administration) -> None:
        """Take who administers them."""
        self._administration = administration

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return (
            Route("GET", ALL, Scope.READ, "Subscriptions by name.", ListParameters, Subscriptions, self.list),
            Route(
                "GET",
                PATH,
                Scope.READ,
                "A subscription, and how far it is.",
                One,
                Subscription,
                self.get,
                answers_with=(LOCK,),
            ),
            Route(
                "PUT",
                PATH,
                Scope.ADMIN,
                "Make a subscription, or change the one whose ETag `If-Match` has.",
                One,
                Subscription,
                self.put,
                body=Definition,
                other_answers=((201, Subscription),),
                problems=(409, 412, 422),
                headers=(IF_MATCH,),
                answers_with=(LOCK,),
            ),
            Route(
                "DELETE",
                PATH,
                Scope.ADMIN,
                "Delete a subscription; its topic stays.",
                One,
                None,
                self.delete,
                status=204,
                problems=(412, 422),
                headers=(IF_MATCH,),
            ),
            self._done("pause", "Publish nothing more for a subscription until it is resumed.", self.pause),
            self._done("resume", "Go on with a subscription where it stopped.", self.resume),
        )

    async def list(self, call: Call) -> Answer:
        """Answer a page of them."""
        asked: ListParameters = call.parameters
        if asked.cursor and not re.fullmatch(NAME, asked.cursor):
            raise Problem(400, "bad_cursor", "the cursor is of another list")
        found, is_end = await with_problems(self._administration.page(asked.cursor or "", asked.limit))
        bodies = [each.body for each in found]
        query = urlencode({"limit": asked.limit, "cursor": bodies[-1]["name"] if bodies else ""})
        return json_answer({"subscriptions": bodies, "next": None if is_end else f"{ALL}?{query}"})

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        return _answer(await with_problems(self._administration.get(call.parameters.name)))

    async def put(self, call: Call) -> Answer:
        """Make one, or change it."""
        body, if_match = read_object(call.body, "invalid_subscription"), call.headers.get("if-match")
        return _answer(await with_problems(self._administration.put(call.parameters.name, body, if_match)))

    async def delete(self, call: Call) -> Answer:
        """Delete one."""
        await with_problems(self._administration.delete(call.parameters.name, call.headers.get("if-match")))
        return Answer(b"", 204)

    async def pause(self, call: Call) -> Answer:
        """Pause one."""
        return _answer(await with_problems(self._administration.pause(call.parameters.name)))

    async def resume(self, call: Call) -> Answer:
        """Resume one."""
        return _answer(await with_problems(self._administration.resume(call.parameters.name)))

    def _done(self, verb: str, summary: str, handler: Handler) -> Route:
        return Route(
            "POST",
            f"{PATH}/{verb}",
            Scope.ADMIN,
            summary,
            One,
            Subscription,
            handler,
            problems=(422,),
            answers_with=(LOCK,),
        )


def read_object(body: bytes, code: str) -> dict[str, Any]:
    """Return what a body says; code: of the problem where a member cannot be taken.

    Raises:
        Problem: it is no JSON object (400), or a member cannot be taken as it was sent (422).
    """
    value, faults = json_object(body)
    if faults:
        errors = [InvalidMember(path, message) for path, message in faults]
        raise Problem(422, code, f"{errors[0].path}: {errors[0].message}", errors=errors)
    return value


async def with_problems(asking: Awaitable[T], what: str = "the topics") -> T:
    """Return what is answered. what: is asked for, as a message names it where it cannot be reached.

    Raises:
        Problem: it is refused, or the brokers do not answer (503).
    """
    try:
        return await asking
    except Refused as refused:
        if refused.code == NOT_READY:
            raise not_ready(str(refused)) from None
        errors = [InvalidMember(path, message) for path, message in refused.errors]
        members: dict[str, Any] = {"errors": errors} if errors else {}
        raise Problem(refused.status, refused.code, str(refused), **members) from None
    except (MissingTopicError, JournalError, KafkaError, OSError) as error:
        raise not_ready(f"{what} cannot be reached: {right_or_words(error, 'Read or Write')}") from None


def _answer(answered: Answered) -> Answer:
    return with_lock(answered, 201 if answered.is_new else 200)


def with_lock(answered: Answered, status: int = 200) -> Answer:
    """Return what is answered, with its ETag. No cache may keep it: how far it is changes, and its ETag does not."""
    return json_answer(answered.body, status=status, etag=answered.etag, cache_control=NO_STORE)
