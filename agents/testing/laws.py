"""The laws of every decider, as functions that raise AssertionError with the counterexample.

Those that take a history or a state are for hypothesis to feed (`histories` and `strategies` beside this module);
those of the machine alone look at its tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from annals.agents.deciding.machine import ABSENT
from annals.agents.deciding.refusals import NotOpen, Refused, UnknownEventError
from annals.agents.testing.histories import AGGREGATE_ID, History, take
from annals.agents.testing.specification import NOW
from annals.schemas.canonical import decode, encode
from annals.schemas.data.complaints import complaints

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message


def every_command_is_idempotent(decider: Decider[Any], state: Any, command: Message) -> None:
    """Twice in a row, under two command ids, yields events once."""
    step = take(decider, state, command)
    if step is None:
        return
    again = decider.decide(command, step.after[-1], NOW, AGGREGATE_ID)
    _hold(not again, f"{command} caused {list(step.events)}, and sent again {list(again)}")


def every_step_is_idempotent(decider: Decider[Any], history: History) -> None:
    """Each command of a history that caused events causes none when it is sent again."""
    for step in history.steps:
        every_command_is_idempotent(decider, step.before, step.command)


def every_pair_is_handled_or_refused(decider: Decider[Any], state: Any, command: Message) -> None:
    """A (status, command) pair gives events, nothing, or a named refusal; NotOpen exactly where the table says."""
    is_open = state.status in decider.machine.guards[type(command)]
    try:
        events = decider.decide(command, state, NOW, AGGREGATE_ID)
    except Refused as no:
        _hold(is_open, f"{command} is not open in {state.status}, but was refused by the rule {no.rule}")
        return
    except NotOpen as no:
        _hold(not is_open, f"{command} is open in {state.status}, but was told that it is not")
        _hold(no.status == state.status, f"{no} names another status than {state.status}")
        return
    _hold(is_open or not events, f"{command} is not open in {state.status}, but caused {list(events)}")
    row = decider.machine.rows[type(command)]
    strange = [event for event in events if type(event) not in row.events]
    _hold(not strange, f"{command} caused events that are not of its row: {strange}")


def decisions_leave_no_trace(decider: Decider[Any], state: Any, command: Message) -> None:
    """Deciding the same twice from one state gives the same events, and changes neither state nor command."""
    before = decider.encode_state(state), msgspec.json.encode(command)
    first, second = take(decider, state, command), take(decider, state, command)
    _hold(first == second, f"{command} was decided differently from the same state: {first}, {second}")
    _hold(before == (decider.encode_state(state), msgspec.json.encode(command)), f"{command} changed what it saw")


def evolve_is_total(decider: Decider[Any], state: Any, event: Message) -> None:
    """Any event can follow any state, and both stay as they were."""
    before, told = decider.encode_state(state), msgspec.json.encode(event)
    try:
        after = decider.evolve(state, event)
    except Exception as error:
        raise AssertionError(f"evolve refused {event}: {error!r}") from error
    _hold(decider.encode_state(state) == before, f"evolve changed the state before {event}")
    _hold(msgspec.json.encode(event) == told, f"evolve changed the event, which is now {event}")
    _hold(isinstance(after, decider.state_type), f"evolve made {after!r} of {event}")


def evolve_moves_along_edges(decider: Decider[Any], history: History) -> None:
    """A status changes only as the table says."""
    edges = set(decider.machine.edges())
    for step in history.steps:
        start = step.before.status
        for event, after in zip(step.events, step.after, strict=True):
            # The table's edges begin where decisions do: behind an event that moved, a later one of the same
            # decision may stay where it is.
            stays_behind = start == after.status != step.before.status
            is_edge = (start, type(event), after.status) in edges
            _hold(is_edge or stays_behind, f"{event} led from {start} to {after.status}: no edge of the table")
            start = after.status


def replay_gives_the_state(decider: Decider[Any], history: History) -> None:
    """The events as they are stored, read and folded, give the state that the decisions led to."""
    state = decider.initial
    for event in history.events:
        stored = decode(encode(decider.event_data(event)))
        read = decider.read_event(decider.event_name(event), decider.schema_version(event), stored)
        _hold(read == event, f"{event} was read back as {read}")
        state = decider.evolve(state, read)
    _hold(state == history.state, f"replayed to {state}, decided to {history.state}")


def snapshots_change_nothing(decider: Decider[Any], history: History) -> None:
    """A state kept and read back at any point goes on as if it had not been."""
    events = history.events
    for split in range(len(events) + 1):
        state = decider.initial
        for event in events[:split]:
            state = decider.evolve(state, event)
        state = decider.decode_state(decider.encode_state(state))
        for event in events[split:]:
            state = decider.evolve(state, event)
        _hold(state == history.state, f"with a snapshot after {split} events: {state}, without: {history.state}")


def parsing_takes_what_was_sent(decider: Decider[Any], command: Message) -> None:
    """A valid command's data give the command again, by the fast way and without a complaint by the slow one."""
    data = msgspec.to_builtins(command)
    parsed = decider.parse(type(command).__name__, data)
    _hold(parsed == command, f"{data} was parsed as {parsed}, not {command}")
    found = list(complaints(type(command), data, "data"))
    _hold(not found, f"{data} is valid, but there are complaints: {found}")


def upcasting_is_total(decider: Decider[Any], type_name: str, schema_version: int, older: Message) -> None:
    """Any data of an older version are read as the newest, which is valid, and what is stored stays as it is."""
    stored = decode(encode(msgspec.to_builtins(older)))
    before = encode(stored)
    try:
        event = decider.read_event(type_name, schema_version, stored)
    except UnknownEventError as error:
        raise AssertionError(f"{older} is not read: {error}") from error
    decider.events[type_name].upcasters[schema_version - 1](stored)  # by itself: readers give it a copy
    _hold(encode(stored) == before, f"reading {older} changed what is stored")
    found = list(complaints(type(event), decider.event_data(event), "data"))
    _hold(not found, f"{older} became {event}, which is not valid: {found}")


def statuses_are_reachable(decider: Decider[Any]) -> None:
    """Every status can be reached from `absent` along edges."""
    reached, edges = {ABSENT}, list(decider.machine.edges())
    while found := {end for start, _, end in edges if start in reached} - reached:
        reached |= found
    lost = decider.machine.statuses.keys() - reached
    _hold(not lost, f"no edge leads to {sorted(lost)}")


def terminal_statuses_have_no_exits(decider: Decider[Any]) -> None:
    """Nothing is open in a terminal status."""
    exits = [edge for edge in decider.machine.edges() if edge[0] in decider.machine.terminal]
    _hold(not exits, f"terminal statuses have exits: {exits}")


def creation_is_the_only_beginning(decider: Decider[Any]) -> None:
    """An absent aggregate takes its creation and nothing else, and has no status but `absent`."""
    beginnings = decider.machine.open_commands(ABSENT)
    _hold(len(beginnings) == 1, f"an absent aggregate takes {[c.__name__ for c in beginnings]}")
    _hold(decider.initial.status == ABSENT, f"the initial status is {decider.initial.status}")


def _hold(holds: bool, message: str) -> None:  # noqa: FBT001 -- the one thing it is about
    if not holds:
        raise AssertionError(message)
