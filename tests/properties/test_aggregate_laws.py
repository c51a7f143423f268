"""The laws of deciders, over every aggregate in the registry: a new one is covered by its registry line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from beginnings import BEGINNINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annals.agents.aggregates import REGISTRY
from annals.agents.testing import laws
from annals.agents.testing.histories import aimed, histories, states
from annals.agents.testing.strategies import commands, events

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

# Histories are drawn by deciding: slow to draw the first time, while strategies are being made from the types.
LIVELY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys()),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # of a text of 32,000 characters
]


def sent_to(state: Any, decider: Decider[Any]) -> st.SearchStrategy[Message]:
    return commands(decider).flatmap(lambda command: aimed(command, state))


def test_every_status_is_reachable(decider: Decider[Any]) -> None:
    laws.statuses_are_reachable(decider)


def test_terminal_statuses_have_no_exits(decider: Decider[Any]) -> None:
    laws.terminal_statuses_have_no_exits(decider)


def test_an_aggregate_begins_with_its_creation_and_nothing_else(decider: Decider[Any]) -> None:
    laws.creation_is_the_only_beginning(decider)


@LIVELY
@given(data=st.data())
def test_a_command_sent_twice_in_a_row_causes_events_once(decider: Decider[Any], data: st.DataObject) -> None:
    state = data.draw(states(decider, BEGINNINGS.get(decider.kind, ())))
    laws.every_command_is_idempotent(decider, state, data.draw(sent_to(state, decider)))


@LIVELY
@given(data=st.data())
def test_a_command_that_caused_events_causes_none_when_sent_again(decider: Decider[Any], data: st.DataObject) -> None:
    for step in data.draw(histories(decider, BEGINNINGS.get(decider.kind, ()))).steps:
        laws.every_command_is_idempotent(decider, step.before, step.command)


@LIVELY
@given(data=st.data())
def test_every_status_and_command_is_handled_or_refused(decider: Decider[Any], data: st.DataObject) -> None:
    state = data.draw(states(decider, BEGINNINGS.get(decider.kind, ())))
    laws.every_pair_is_handled_or_refused(decider, state, data.draw(sent_to(state, decider)))


@LIVELY
@given(data=st.data())
def test_a_decision_leaves_no_trace(decider: Decider[Any], data: st.DataObject) -> None:
    state = data.draw(states(decider, BEGINNINGS.get(decider.kind, ())))
    laws.decisions_leave_no_trace(decider, state, data.draw(sent_to(state, decider)))


@LIVELY
@given(data=st.data())
def test_any_event_can_follow_any_state(decider: Decider[Any], data: st.DataObject) -> None:
    state = data.draw(states(decider, BEGINNINGS.get(decider.kind, ())))
    laws.evolve_is_total(decider, state, data.draw(events(decider)))


@LIVELY
@given(data=st.data())
def test_a_status_changes_only_along_the_edges_of_the_table(decider: Decider[Any], data: st.DataObject) -> None:
    laws.evolve_moves_along_edges(decider, data.draw(histories(decider, BEGINNINGS.get(decider.kind, ()))))


@LIVELY
@given(data=st.data())
def test_stored_events_fold_to_the_state_that_was_decided(decider: Decider[Any], data: st.DataObject) -> None:
    laws.replay_gives_the_state(decider, data.draw(histories(decider, BEGINNINGS.get(decider.kind, ()))))


@LIVELY
@given(data=st.data())
def test_a_snapshot_at_any_split_changes_nothing(decider: Decider[Any], data: st.DataObject) -> None:
    laws.snapshots_change_nothing(decider, data.draw(histories(decider, BEGINNINGS.get(decider.kind, ()))))


@LIVELY
@given(data=st.data())
def test_a_valid_command_is_parsed_as_it_was_sent(decider: Decider[Any], data: st.DataObject) -> None:
    laws.parsing_takes_what_was_sent(decider, data.draw(commands(decider)))
