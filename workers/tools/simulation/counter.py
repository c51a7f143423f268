"""The aggregate of the histories: the least that has every sort of answer, and commands with several events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from annals.agents.deciding.decider import Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.state import State
from annals.schemas.messages import Message, event_from
from annals.schemas.values.fields import Slug

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Circumstances

Parts = Annotated[int, Meta(ge=1, le=5, description="an integer from 1 to 5")]
FULL = 40


class OpenCounter(Message):
    """Begin at 0."""

    name: Slug


class CounterOpened(OpenCounter):
    """Began at 0."""


class RenameCounter(Message):
    """Give another name."""

    name: Slug


class CounterRenamed(RenameCounter):
    """Has another name."""


class Count(Message):
    """Add 1 as many times as there are parts."""

    parts: Parts


class Counted(Message):
    """Added 1."""

    total: int


class CloseCounter(Message):
    """Count no more."""


class CounterClosed(CloseCounter):
    """Counts no more."""


class Counter(State):
    """A counter."""

    name: str = ""
    total: int = 0


MACHINE = Machine(
    open_={"open": ""},
    terminal={"closed": ""},
    rows=(
        On(OpenCounter, (CounterOpened,), where=(ABSENT,), to="open"),
        On(RenameCounter, (CounterRenamed,)),
        On(Count, (Counted,)),
        On(CloseCounter, (CounterClosed,), to="closed"),
    ),
)


def already_true(command: Message, counter: Counter) -> bool:
    """Whether the command's wish is true of the counter."""
    match command:
        case OpenCounter() | RenameCounter():
            return command.name == counter.name
        case Count():
            return False
        case _:
            return True


def decide(command: Message, counter: Counter, at: Circumstances) -> list[Message]:
    """The events of a command that is open and not yet true."""
    del at
    match command:
        case OpenCounter():
            return [event_from(command, CounterOpened)]
        case RenameCounter():
            return [event_from(command, CounterRenamed)]
        case Count():
            if counter.total + command.parts > FULL:
                raise Refused("full", f"it counts to {FULL}")
            return [Counted(total=counter.total + part + 1) for part in range(command.parts)]
        case _:
            return [CounterClosed()]


def evolve(counter: Counter, event: Message) -> Counter:
    """The counter after the event."""
    match event:
        case CounterOpened():
            return Counter(status="open", name=event.name)
        case CounterRenamed():
            return replace(counter, name=event.name)
        case Counted():
            return replace(counter, total=event.total)
        case _:
            return replace(counter, status="closed")


def counter_decider(kind: str) -> Decider[Any]:
    """Return the decider of a kind of counters."""
    return Decider(
        kind,
        machine=MACHINE,
        initial=Counter(),
        state_version=1,
        already_true=already_true,
        decide=decide,
        evolve=evolve,
    )
