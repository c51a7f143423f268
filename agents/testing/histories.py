"""What an aggregate may have lived through: histories that its own decider wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypothesis import strategies as st
from msgspec.structs import asdict, astuple, replace

from annals.agents.deciding.machine import ABSENT
from annals.agents.deciding.refusals import NotOpen, Refused
from annals.agents.testing.specification import NOW
from annals.agents.testing.strategies import commands, structs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

AGGREGATE_ID = "this-one"
TRIES: Final = 2
"""Commands to draw until one changes something: most are refused where parts depend on one another."""


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


def histories(
    decider: Decider[Any], beginnings: Sequence[Sequence[Message]] = (), max_commands: int = 24
) -> st.SearchStrategy[History]:
    """Histories of 0 to `max_commands` commands, each open to the status that the earlier ones led to.

    Half of them go on from one of the `beginnings`: commands that lead where drawn ones seldom get. One that changes
    nothing there is a mistake.

    Raises:
        ValueError: a command of a beginning is refused or already true.
    """
    begun = [_begin(decider, commands) for commands in beginnings]
    starts = st.one_of(st.just(()), st.sampled_from(begun)) if begun else st.just(())

    @st.composite
    def drawn(draw: Callable[[st.SearchStrategy[Any]], Any]) -> History:
        steps = list(draw(starts))
        state = steps[-1].after[-1] if steps else decider.initial
        done = {type(step.command) for step in steps}
        for _ in range(draw(st.integers(0, max_commands))):
            for _ in range(TRIES):
                step = take(decider, state, draw(_next(decider, state, done)))
                if step is not None:
                    steps.append(step)
                    state = step.after[-1]
                    done.add(type(step.command))
                    break
        return History(tuple(steps), state)

    return drawn()


def _begin(decider: Decider[Any], beginning: Sequence[Message]) -> tuple[Step, ...]:
    state, steps = decider.initial, []
    for command in beginning:
        step = take(decider, state, command)
        if step is None:
            raise ValueError(f"{command} changes nothing where the beginning has it")
        steps.append(step)
        state = step.after[-1]
    return tuple(steps)


def states(
    decider: Decider[Any], beginnings: Sequence[Sequence[Message]] = (), max_events: int = 12
) -> st.SearchStrategy[Any]:
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

    return st.one_of(histories(decider, beginnings).map(lambda history: history.state), st.builds(fold, begun, later))


def _ends(decider: Decider[Any], event: type) -> bool:
    """Whether the event leads to a terminal status, or is another beginning."""
    edges = [edge for edge in decider.machine.edges() if edge[1] is event]
    return any(start == ABSENT or end in decider.machine.terminal for start, _, end in edges)


def _next(decider: Decider[Any], state: Any, done: set[type]) -> st.SearchStrategy[Message]:
    """What may be sent to a state: mostly what it has not done yet; what ends the history is rare, or none is long."""
    is_open = decider.machine.open_commands(state.status)
    if not is_open:
        return commands(decider)
    going_on = [c for c in is_open if decider.machine.rows[c].to not in decider.machine.terminal]
    new = [c for c in going_on if c not in done]
    return st.sampled_from([*new * 6, *going_on, *is_open]).flatmap(structs).flatmap(lambda c: aimed(c, state))


def aimed(command: Message, state: Any) -> st.SearchStrategy[Message]:
    """The command, two times in three about parts that the state has: its `…_id` members are ids of theirs."""
    ids = sorted({name for part in astuple(state) if isinstance(part, dict) for name in part if isinstance(name, str)})
    members = [name for name, value in asdict(command).items() if name.endswith("_id") and isinstance(value, str)]
    if not ids or not members:
        return st.just(command)
    known = st.fixed_dictionaries({name: st.sampled_from(ids) for name in members})
    return st.one_of(st.just(command), *[known.map(lambda found: replace(command, **found))] * 2)


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
