"""Reactions: process managers that send commands by events and by time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from annals.workers.api.http.answers import json_answer
from annals.workers.api.http.routing import Answer, NoParameters, Route, Scope
from annals.workers.api.routes.subscriptions import LOCK, with_lock, with_problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from annals.workers.api.http.routing import Call, Handler
    from annals.workers.api.routes.subscriptions import Answered

PATH: Final = "/v1/reactions/{name}"


class One(Struct, frozen=True):
    """A reaction."""

    name: str


class ReactionLag(Struct, frozen=True):
    """How far a reaction is behind; null where that cannot be asked: the journal is another deployment's."""

    events: int | None


class ReactionTimers(Struct, frozen=True):
    """The timers that are set, and when the next one fires."""

    pending: int
    next_due: str | None


class ReactionFailure(Struct, frozen=True):
    """A partition in which a reaction does not go on, and why: what it cannot take, and the error."""

    kind: str
    partition: int
    reason: str


class Reaction(Struct, frozen=True):
    """A reaction and where it stands. failed: where it has stopped until it is mended and resumed.

    reason: why it is paused, or how far it is behind is not known; timers: where one alone is asked for. deployment: to
    whose events it reacts, null: to those of this one.
    """

    name: str
    version: int
    kind: str
    status: str
    reason: str | None
    positions: dict[str, list[int | None]]
    lag: ReactionLag
    failed: list[ReactionFailure]
    timers: ReactionTimers | None = None
    deployment: str | None = None


class Reactions(Struct, frozen=True):
    """All reactions, by name."""

    reactions: list[Reaction]
    next: str | None = None


class Administration(Protocol):
    """Administers reactions; each may raise `Refused`."""

    async def all(self) -> Sequence[Answered]:
        """Return all."""

    async def get(self, name: str) -> Answered:
        """Return one."""

    async def pause(self, name: str) -> Answered:
        """Have one neither react nor fire timers."""

    async def resume(self, name: str) -> Answered:
        """Have one react."""


class ReactionRoutes:
    """Routes of reactions."""

    def __init__(self, administration: Administration) -> None:
        """Take who administers them."""
        self._administration = administration

    def routes(self) -> tuple[Route, ...]:
        """Return them."""
        return (
            Route("GET", "/v1/reactions", Scope.READ, "All reactions.", NoParameters, Reactions, self.list),
            Route(
                "GET",
                PATH,
                Scope.READ,
                "A reaction, how far it is, and its timers.",
                One,
                Reaction,
                self.get,
                answers_with=(LOCK,),
            ),
            self._done("pause", "Have a reaction neither react nor fire timers until it is resumed.", self.pause),
            self._done("resume", "Have a reaction react, from where it stopped.", self.resume),
        )

    async def list(self, call: Call) -> Answer:
        """Answer all."""
        del call
        found = await with_problems(self._administration.all())
        return json_answer({"reactions": [each.body for each in found], "next": None})

    async def get(self, call: Call) -> Answer:
        """Answer one."""
        return await _answer(self._administration.get(call.parameters.name))

    async def pause(self, call: Call) -> Answer:
        """Pause one."""
        return await _answer(self._administration.pause(call.parameters.name))

    async def resume(self, call: Call) -> Answer:
        """Resume one."""
        return await _answer(self._administration.resume(call.parameters.name))

    def _done(self, verb: str, summary: str, handler: Handler) -> Route:
        return Route(
            "POST",
            f"{PATH}/{verb}",
            Scope.ADMIN,
            summary,
            One,
            Reaction,
            handler,
            answers_with=(LOCK,),
        )


async def _answer(asking: Awaitable[Answered]) -> Answer:
    return with_lock(await with_problems(asking))
