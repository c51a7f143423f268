"""What all reactions share: an event as they see it, timers, and a reaction as a value: a pure process manager."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from msgspec import Struct

from annals.agents.event_keys import AGGREGATE_ID, REACTION, Rekeyed, key_problem, rekeying_problem
from annals.schemas.values.moments import moment_of, recorded_at
from annals.schemas.wire.via import DEPLOYMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.schemas.commands import NewCommand
    from annals.schemas.messages import Message

S = TypeVar("S", bound=Struct)

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


class Nothing(Struct, frozen=True):
    """The state of a reaction that keeps none: all that it needs is in the event."""


class TimerFired(Struct, frozen=True):
    """The time of a timer has come. due: as it was set, in the form of `recorded_at`."""

    name: str
    due: str


class Occurred(NamedTuple):
    """What a reaction is handed: a counted event in its newest form, or the firing of one of its timers.

    cid: of the event as text; of a timer's firing, of the event that led to it. recorded_at: of a timer, when it was
    due. deployment: whose event it is; None: of this one. aggregate_id: of the firing of a timer of a re-keyed
    reaction, the key of its process.
    """

    kind: str
    aggregate_id: str
    version: int
    recorded_at: str
    cid: str
    correlation_id: str | None
    message: Message | TimerFired
    deployment: str | None = None


class SetTimer(Struct, frozen=True):
    """Have a timer fire at a time, or some seconds after what was reacted to; one of the same name is replaced."""

    name: str
    at: str | None = None
    after_s: float = 0.0

    def due(self, occurred_at: str) -> str:
        """Return when it fires, in the form of `recorded_at`, which sorts.

        Raises:
            ValueError: that is no time.
        """
        if self.at is not None:
            return recorded_at(moment_of(self.at))
        try:
            return recorded_at(moment_of(occurred_at) + timedelta(seconds=self.after_s))
        except OverflowError:
            raise ValueError(f"{self.after_s} seconds after {occurred_at} is no time") from None


class CancelTimer(Struct, frozen=True):
    """Forget a timer; nothing where there is none of the name."""

    name: str


def at(name: str, time: str) -> SetTimer:
    """Return a timer that fires at a time (RFC 3339)."""
    return SetTimer(name, at=time)


def after(name: str, seconds: float) -> SetTimer:
    """Return a timer that fires some seconds after what is reacted to was recorded."""
    return SetTimer(name, after_s=seconds)


def cancel(name: str) -> CancelTimer:
    """Return that a timer is forgotten."""
    return CancelTimer(name)


class Reacted(NamedTuple, Generic[S]):
    """What a reaction makes of what occurred. state: None where the process is over, and its timers with it."""

    state: S | None
    commands: Sequence[NewCommand] = ()
    timers: Sequence[SetTimer | CancelTimer] = ()


@dataclass(frozen=True, slots=True)
class Reaction(Generic[S]):
    """A process manager.

    Args:
        name: as in its topic and in `annals reactions`.
        version: of state and rules. A newer one folds the journal anew, without commands up to where the old one came.
        kind: whose events it reacts to.
        wanted: their types. Others never reach it.
        state: the type of a process' state; it begins as one without arguments.
        react: what becomes of the state, which commands are sent and which timers set or cancelled. Pure: no clock, no
            chance, nothing from outside.
        key: what tells the processes of one aggregate apart: nothing (`aggregate_id`), `correlation_id`, or a member of
            the events as they were recorded (`data.task_id`); an event without it is passed over.
        deployment: whose events it reacts to, by the deployment's id; None: to those of this one.
        rekeyed: whether a process is of a key, over all aggregates whose events have it: they are copied to the topic
            `rekeyed.<name>`, and reacted to in the order of their arrival there.
    """

    name: str
    version: int
    kind: str
    wanted: frozenset[type[Message]]
    state: type[S]
    react: Callable[[S, Occurred], Reacted[S]]
    key: str = AGGREGATE_ID
    deployment: str | None = None
    rekeyed: bool = False

    @property
    def stream(self) -> Rekeyed | None:
        """The stream that it reacts to; None: it reacts to the journal."""
        return Rekeyed(self.name, self.kind, self.key, REACTION) if self.rekeyed else None


def problem_of(reaction: Reaction[Any]) -> str | None:
    """Return what keeps a reaction from being used, None if nothing does."""
    if not NAME.fullmatch(reaction.name):
        return "a reaction's name is 1 to 63 of a-z 0-9 -, a letter first"
    if reaction.version < 1:
        return "versions are numbers from 1"
    if reaction.deployment is not None and not DEPLOYMENT.fullmatch(reaction.deployment):
        return f"its deployment {reaction.deployment!r} is not 1 to 64 of a-z, 0-9 and '-'"
    if problem := rekeying_problem(reaction.key) if reaction.rekeyed else key_problem(reaction.key):
        return problem
    if reaction.rekeyed and reaction.deployment is not None:
        return "events of another deployment cannot be re-keyed"
    return None
