"""The table of an aggregate: guards, edges, diagram, and mistakes in it."""

from __future__ import annotations

from typing import Any

import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.machine import ABSENT, Machine, On
from lamp import BulbChanged, ChangeBulb, HangLamp, LampHung, SwitchedOff, SwitchedOn, SwitchOn, ThrowAway, lamp_machine


def test_a_status_says_which_commands_are_open() -> None:
    machine = lamp_machine()
    assert machine.open_commands(ABSENT) == (HangLamp,)
    assert machine.open_commands("dark") == (SwitchOn, ChangeBulb, ThrowAway)
    assert machine.open_commands("gone") == ()


def test_a_row_without_where_is_open_neither_in_terminal_nor_in_frozen_statuses() -> None:
    row = On(ChangeBulb, (BulbChanged,))
    machine = Machine((row,), open_={"dark": ""}, frozen={"packed": ""}, terminal={"gone": ""})
    assert machine.guards[ChangeBulb] == {"dark"}


def test_edges_say_where_each_event_leads() -> None:
    edges = set(lamp_machine().edges())
    assert (ABSENT, LampHung, "dark") in edges
    assert ("lit", SwitchedOff, "dark") in edges
    assert ("lit", BulbChanged, "lit") in edges
    assert ("dark", SwitchedOff, "dark") not in edges


def test_a_further_event_of_a_row_may_move_by_itself() -> None:
    row = On(SwitchOn, (SwitchedOn, BulbChanged), where=("dark",), moves={BulbChanged: "gone"})
    machine = Machine((row,), open_={"dark": ""}, terminal={"gone": ""})
    assert set(machine.edges()) == {("dark", SwitchedOn, "dark"), ("dark", BulbChanged, "gone")}


def test_an_event_that_may_move_has_an_edge_that_moves_and_one_that_stays() -> None:
    row = On(SwitchOn, (SwitchedOn,), where=("dark",), may_move={SwitchedOn: "gone"})
    machine = Machine((row,), open_={"dark": ""}, terminal={"gone": ""})
    assert set(machine.edges()) == {("dark", SwitchedOn, "dark"), ("dark", SwitchedOn, "gone")}
    assert "    dark : SwitchOn" in machine.mermaid()
    assert "    dark --> gone : SwitchOn / SwitchedOn" in machine.mermaid()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (On(SwitchOn, (SwitchedOn,), where=("drak",)), "SwitchOn names unknown statuses: .'drak'."),
        (On(SwitchOn, (SwitchedOn,), to="lti"), "SwitchOn names unknown statuses: .'lti'."),
        (On(SwitchOn, (SwitchedOn,), moves={SwitchedOn: "x"}), "SwitchOn names unknown statuses: .'x'."),
        (On(SwitchOn, (SwitchedOn,), may_move={SwitchedOn: "x"}), "SwitchOn names unknown statuses: .'x'."),
        (On(SwitchOn, (SwitchedOn,), where=("gone",)), "SwitchOn would leave terminal statuses: .'gone'."),
        (On(HangLamp, (LampHung,)), "HangLamp has two rows"),
    ],
)
def test_a_mistake_in_a_row_is_found_when_the_table_is_made(row: On, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Machine((On(HangLamp, (LampHung,), where=(ABSENT,), to="dark"), row), open_={"dark": ""}, terminal={"gone": ""})


def test_the_diagram_has_every_status_and_every_move() -> None:
    assert lamp_machine().mermaid().splitlines() == [
        "stateDiagram-v2",
        "    dark : dark",
        "    dark : ChangeBulb",
        "    lit : lit (shines)",
        "    lit : ChangeBulb",
        "    gone : gone",
        "    [*] --> dark : HangLamp / LampHung",
        "    dark --> lit : SwitchOn / SwitchedOn",
        "    lit --> dark : SwitchOff / SwitchedOff",
        "    dark --> gone : ThrowAway / ThrownAway",
        "    lit --> gone : ThrowAway / ThrownAway",
        "    gone --> [*]",
    ]


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())
def test_a_registered_aggregate_is_under_its_own_kind_and_draws_itself(decider: Any) -> None:
    assert REGISTRY[decider.kind] is decider
    assert all(f"{status} : {status}" in decider.machine.mermaid() for status in decider.machine.statuses)
