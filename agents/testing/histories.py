"""What an aggregate may have lived through: histories that its own decider wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from agents.refusals import NotOpen, Refused
from agents.testing.specification import NOW
from agents.testing.strategies import commands, structs

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents.decider import Decider
    from schemas.messages import Message

AGGREGATE_ID = "this-one"


class Step(NamedTuple):
    """One command that caused events: the state before it, the events, and the states after each of them."""

    before: Any
    command: Message
    events: tuple[Message, ...]
    after: tuple[Any, ...]


class History(NamedTuple):
    """The steps from the first event on; commands that caused nothing are left out."""

    steps: tuple[Step, ...]
    state: Any

    @property
    def events(self) -> tuple[Message, ...]:
        """All events, oldest first."""
        return tuple(event for step in self.steps for event in step.events)


def histories(decider: Decider[Any], max_commands: int = 12) -> st.SearchStrategy[History]:
    """Histories of 0 to `max_commands` commands, most of them open to the status that the earlier ones led to."""

    @st.composite
    def drawn(draw: Callable[[st.SearchStrategy[Any]], Any]) -> History:
        state, steps = decider.initial, []
        for _ in range(draw(st.integers(0, max_commands))):
            is_open = decider.machine.open_commands(state.status)
            command = draw(st.sampled_from(is_open).flatmap(structs) if is_open else commands(decider))
            step = take(decider, state, command)
            if step is not None:
                steps.append(step)
                state = step.after[-1]
        return History(tuple(steps), state)

    return drawn()


def take(decider: Decider[Any], state: Any, command: Message) -> Step | None:
    """The step that a command makes from a state; None when it is refused or changes nothing."""
    try:
        events = tuple(decider.decide(command, state, NOW, AGGREGATE_ID))
    except (Refused, NotOpen):
        return None
    if not events:
        return None
    after, current = [], state
    for event in events:
        current = decider.evolve(current, event)
        after.append(current)
    return Step(state, command, events, tuple(after))
