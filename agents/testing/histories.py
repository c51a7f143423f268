"""What an aggregate may have lived through: histories that its own decider wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from agents.machine import ABSENT
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


def histories(decider: Decider[Any], max_commands: int = 24) -> st.SearchStrategy[History]:
    """Histories of 0 to `max_commands` commands, each open to the status that the earlier ones led to."""
    choices = {status: _choices(decider, status) for status in (ABSENT, *decider.machine.statuses)}

    @st.composite
    def drawn(draw: Callable[[st.SearchStrategy[Any]], Any]) -> History:
        state, steps = decider.initial, []
        for _ in range(draw(st.integers(0, max_commands))):
            command = draw(choices[state.status])
            step = take(decider, state, command)
            if step is not None:
                steps.append(step)
                state = step.after[-1]
        return History(tuple(steps), state)

    return drawn()


def states(decider: Decider[Any], max_events: int = 12) -> st.SearchStrategy[Any]:
    """States to decide in: of histories, and of any events behind a creation.

    The second sort has what short histories seldom reach, and what another release, with other rules, may have written.
    """
    (creation,) = decider.machine.open_commands(ABSENT)
    begun = structs(decider.machine.rows[creation].events[0])
    staying = [spec.type for spec in decider.events.values() if not _ends(decider, spec.type)]
    later = st.lists(st.sampled_from(staying).flatmap(structs), max_size=max_events)

    def fold(beginning: Message, events: list[Message]) -> Any:
        state = decider.evolve(decider.initial, beginning)
        for event in events:
            state = decider.evolve(state, event)
        return state

    return st.one_of(histories(decider).map(lambda history: history.state), st.builds(fold, begun, later))


def _ends(decider: Decider[Any], event: type) -> bool:
    """Whether the event leads to a terminal status, or is another beginning."""
    edges = [edge for edge in decider.machine.edges() if edge[1] is event]
    return any(start == ABSENT or end in decider.machine.terminal for start, _, end in edges)


def _choices(decider: Decider[Any], status: str) -> st.SearchStrategy[Message]:
    """The commands to draw from in a status. Those that end the history are rare, or none would be long."""
    is_open = decider.machine.open_commands(status)
    if not is_open:
        return commands(decider)
    going_on = [c for c in is_open if decider.machine.rows[c].to not in decider.machine.terminal]
    return st.sampled_from([*going_on * 6, *is_open]).flatmap(structs)


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
