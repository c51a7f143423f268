"""A wagon: an aggregate whose commands cause as many events as they like, registered by its entry point alone."""

from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from annals.agents.deciding.decider import Circumstances, Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.state import State
from annals.schemas.messages import Message, event_from

CAPACITY: Final = 10_000


class OpenWagon(Message):
    label: str


class WagonOpened(OpenWagon):
    pass


class LoadCrates(Message):
    """Each crate is an event of its own, with as many characters of contents as are asked for."""

    count: Annotated[int, Meta(ge=0, le=5000)]
    contents: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class CrateLoaded(Message):
    number: int
    contents: str


class Wagon(State):
    label: str = ""
    crates: int = 0


def already_true(command: Message, wagon: Wagon) -> bool:
    return isinstance(command, OpenWagon) and command.label == wagon.label


def decide(command: Message, wagon: Wagon, at: Circumstances) -> list[Message]:
    if isinstance(command, LoadCrates):
        if wagon.crates + command.count > CAPACITY:
            raise Refused("wagon_full", f"it takes {CAPACITY} crates")
        numbers = range(wagon.crates + 1, wagon.crates + command.count + 1)
        return [CrateLoaded(number=number, contents="x" * command.contents) for number in numbers]
    return [event_from(command, WagonOpened)]


def evolve(wagon: Wagon, event: Message) -> Wagon:
    if isinstance(event, CrateLoaded):
        return replace(wagon, crates=event.number)
    assert isinstance(event, WagonOpened)
    return Wagon(status="open", label=event.label)


MACHINE: Final = Machine(
    (
        On(OpenWagon, (WagonOpened,), where=(ABSENT,), to="open"),
        On(LoadCrates, (CrateLoaded,)),
    ),
    open_={"open": ""},
    terminal={},
)

WAGON: Final = Decider(
    "wagon", MACHINE, Wagon(), state_version=1, already_true=already_true, decide=decide, evolve=evolve
)
