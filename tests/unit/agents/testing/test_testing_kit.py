"""The kit for those who write aggregates: it says yes when it should, and no when it should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import find
from msgspec.structs import replace

from annals.agents.aggregates.organization import Organization, Unit
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.testing import given, laws
from annals.agents.testing.histories import aimed, histories, states
from annals.schemas.commands import command as envelope
from annals.schemas.kinds.organization import CloseUnit
from annals.schemas.kinds.person import MergePerson, PersonRegistered, RegisterPerson, RenamePerson
from lamp import (
    BulbChanged,
    ChangeBulb,
    HangLamp,
    Lamp,
    LampHung,
    SwitchedOff,
    SwitchedOn,
    SwitchOff,
    SwitchOn,
    ThrowAway,
    ThrownAway,
    decide,
    evolve,
    lamp,
    lamp_machine,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from annals.schemas.messages import Message

HUNG = LampHung(bulb="a")


def history_of(decider: Any, *commands: Message) -> Any:
    from annals.agents.testing.histories import History, take

    state, steps = decider.initial, []
    for command in commands:
        step = take(decider, state, command)
        assert step is not None
        steps.append(step)
        state = step.after[-1]
    return History(tuple(steps), state)


ALL = (HangLamp(bulb="a"), ChangeBulb(bulb="b"), SwitchOn(), SwitchOff(), ThrowAway())

# --- given, when, then -----------------------------------------------------------------------------------------------


def test_each_then_is_content_with_what_it_names() -> None:
    given(decider=lamp()).when(HangLamp(bulb="a")).then(HUNG)
    given(HUNG, decider=lamp()).when(SwitchOff()).then_nothing()
    given(HUNG, SwitchedOn(), decider=lamp()).when(ChangeBulb(bulb="b")).then_refused("too_hot")
    given(HUNG, ThrownAway(), decider=lamp()).when(SwitchOn()).then_not_open("gone")
    given(HUNG, decider=lamp()).when_sent("ChangeBulb", {"bulb": "B"}).then_invalid("data.bulb")


@pytest.mark.parametrize(
    "then",
    [
        lambda answer: answer.then(LampHung(bulb="b")),
        lambda answer: answer.then(HUNG, SwitchedOn()),
        lambda answer: answer.then_nothing(),
        lambda answer: answer.then_refused("too_hot"),
        lambda answer: answer.then_not_open(ABSENT),
        lambda answer: answer.then_invalid("data.bulb"),
    ],
)
def test_no_then_is_content_with_other_events(then: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError, match="HangLamp: expected"):
        then(given(decider=lamp()).when(HangLamp(bulb="a")))


@pytest.mark.parametrize(
    "then",
    [
        lambda answer: answer.then(BulbChanged(bulb="b")),
        lambda answer: answer.then_nothing(),
        lambda answer: answer.then_refused("too_cold"),
        lambda answer: answer.then_not_open("lit"),
        lambda answer: answer.then_invalid("data.bulb"),
    ],
)
def test_no_then_is_content_with_another_refusal(then: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError, match="too_hot"):
        then(given(HUNG, SwitchedOn(), decider=lamp()).when(ChangeBulb(bulb="b")))


@pytest.mark.parametrize(
    "then",
    [
        lambda answer: answer.then(SwitchedOn()),
        lambda answer: answer.then_nothing(),
        lambda answer: answer.then_refused("gone"),
        lambda answer: answer.then_not_open("lit"),
    ],
)
def test_no_then_is_content_with_another_status(then: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError, match="not open"):
        then(given(HUNG, ThrownAway(), decider=lamp()).when(SwitchOn()))


@pytest.mark.parametrize(
    "then",
    [
        lambda answer: answer.then(BulbChanged(bulb="b")),
        lambda answer: answer.then_nothing(),
        lambda answer: answer.then_refused("too_hot"),
        lambda answer: answer.then_invalid("data.other"),
        lambda answer: answer.then_invalid("data.bulb", "data.other"),
    ],
)
def test_no_then_is_content_with_other_malformed_members(then: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError, match="malformed"):
        then(given(HUNG, decider=lamp()).when_sent("ChangeBulb", {"bulb": 3}))


def test_a_typed_command_that_is_malformed_is_found_out() -> None:
    with pytest.raises(AssertionError, match="malformed"):
        given(decider=lamp()).when(HangLamp(bulb="No Slug")).then(LampHung(bulb="No Slug"))


def test_then_without_events_is_refused_since_it_would_say_nothing() -> None:
    with pytest.raises(TypeError, match="then_nothing"):
        given(decider=lamp()).when(HangLamp(bulb="a")).then()


def test_a_registered_aggregate_is_found_by_its_command() -> None:
    given().when(RegisterPerson(name="Ada")).then(PersonRegistered(name="Ada"))
    with pytest.raises(TypeError, match="SwitchOn is no command of a registered aggregate"):
        given().when(SwitchOn())


def test_a_command_in_its_envelope_is_sent_to_the_aggregate_that_it_names() -> None:
    merge = envelope("person", "p-1", MergePerson(merged_into="p-1", reason="double")).with_id("c-1")
    given(PersonRegistered(name="Ada")).when(merge).then_refused("self_reference")


# --- laws ------------------------------------------------------------------------------------------------------------


def test_a_sound_decider_keeps_every_law() -> None:
    sound = lamp()
    laws.statuses_are_reachable(sound)
    laws.terminal_statuses_have_no_exits(sound)
    laws.creation_is_the_only_beginning(sound)
    whole = history_of(sound, *ALL)
    laws.evolve_moves_along_edges(sound, whole)
    laws.replay_gives_the_state(sound, whole)
    laws.snapshots_change_nothing(sound, whole)
    for command in ALL:
        laws.every_command_is_idempotent(sound, whole.steps[1].after[0], command)
        laws.every_pair_is_handled_or_refused(sound, whole.state, command)
        laws.decisions_leave_no_trace(sound, whole.state, command)
        laws.parsing_takes_what_was_sent(sound, command)
    laws.evolve_is_total(sound, sound.initial, SwitchedOff())


def test_a_command_that_is_never_already_true_breaks_idempotency() -> None:
    forgetful = lamp(already_true=lambda command, _: not isinstance(command, ChangeBulb))
    state = history_of(forgetful, ALL[0]).state
    with pytest.raises(AssertionError, match="sent again"):
        laws.every_command_is_idempotent(forgetful, state, ChangeBulb(bulb="b"))


def test_an_answer_that_the_row_does_not_have_breaks_totality() -> None:
    odd = lamp(decide=lambda *_: [SwitchedOff()])
    with pytest.raises(AssertionError, match="not of its row"):
        laws.every_pair_is_handled_or_refused(odd, odd.initial, HangLamp(bulb="a"))


def test_an_error_that_is_no_refusal_breaks_totality() -> None:
    def stumble(*_: Any) -> list[Message]:
        raise KeyError("bulb")

    with pytest.raises(KeyError):
        laws.every_pair_is_handled_or_refused(lamp(decide=stumble), Lamp(), HangLamp(bulb="a"))


def test_a_decider_that_remembers_breaks_purity() -> None:
    seen: list[Message] = []

    def remember(command: Message, state: Lamp, at: Any) -> list[Message]:
        seen.append(command)
        return decide(command, state, at) * len(seen)

    with pytest.raises(AssertionError, match="differently"):
        laws.decisions_leave_no_trace(lamp(decide=remember), Lamp(), HangLamp(bulb="a"))


def test_an_evolve_that_refuses_is_not_total() -> None:
    def strict(state: Lamp, event: Message) -> Lamp:
        if state.status == ABSENT and not isinstance(event, LampHung):
            raise ValueError("no lamp")
        return evolve(state, event)

    with pytest.raises(AssertionError, match="evolve refused"):
        laws.evolve_is_total(lamp(evolve=strict), Lamp(), SwitchedOn())


def test_an_evolve_that_changes_the_state_before_is_found_out() -> None:
    def in_place(state: Lamp, event: Message) -> Lamp:
        state.bulbs.append(state.bulb)
        return state

    with pytest.raises(AssertionError, match="changed the state before"):
        laws.evolve_is_total(lamp(evolve=in_place), Lamp(bulbs=[]), SwitchedOn())


def test_a_move_that_the_table_does_not_have_is_found_out() -> None:
    def jump(state: Lamp, event: Message) -> Lamp:
        return replace(evolve(state, event), status="lit")

    def stay(state: Lamp, event: Message) -> Lamp:
        return replace(evolve(state, event), status="dark")

    with pytest.raises(AssertionError, match="no edge"):
        laws.evolve_moves_along_edges(lamp(evolve=jump), history_of(lamp(evolve=jump), *ALL[:1]))
    with pytest.raises(AssertionError, match="no edge"):
        laws.evolve_moves_along_edges(lamp(evolve=stay), history_of(lamp(evolve=stay), *ALL[:3]))


def test_a_state_that_does_not_come_back_breaks_snapshots_and_replay() -> None:
    class Leaky(Lamp):
        def __eq__(self, other: object) -> bool:
            return self is other

        __hash__ = None  # type: ignore[assignment]

    leaky = lamp(initial=Leaky(), evolve=lambda _, event: Leaky(status="dark", bulb="a"))
    history = history_of(leaky, ALL[0])
    with pytest.raises(AssertionError, match="with a snapshot"):
        laws.snapshots_change_nothing(leaky, history)
    with pytest.raises(AssertionError, match="replayed"):
        laws.replay_gives_the_state(leaky, history)


def test_an_unreachable_status_is_found_out() -> None:
    machine = Machine((lamp_machine().rows[HangLamp],), open_={"dark": "", "lit": ""}, terminal={})
    with pytest.raises(AssertionError, match=r"no edge leads to \['lit'\]"):
        laws.statuses_are_reachable(lamp(machine=machine))


def test_two_beginnings_are_found_out() -> None:
    machine = lamp_machine(on=On(SwitchOn, (SwitchedOn,), where=(ABSENT, "dark"), to="lit"))
    with pytest.raises(AssertionError, match="an absent aggregate takes"):
        laws.creation_is_the_only_beginning(lamp(machine=machine))


# --- strategies ------------------------------------------------------------------------------------------------------


def test_histories_reach_terminal_statuses_and_stay_there() -> None:
    ended = find(histories(lamp()), lambda history: history.state.status == "gone")
    assert isinstance(ended.events[-1], ThrownAway)


def test_histories_go_on_from_a_beginning() -> None:
    bulbs = [HangLamp(bulb="first"), *(ChangeBulb(bulb=f"{n}") for n in range(30))]
    begun = histories(lamp(), [bulbs])
    longer = find(begun, lambda history: len(history.steps) > len(bulbs))
    assert [step.command for step in longer.steps[: len(bulbs)]] == bulbs
    assert not find(begun, lambda history: not history.steps).events


def test_a_beginning_that_changes_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"SwitchOff.. changes nothing where the beginning has it"):
        histories(lamp(), [(HangLamp(bulb="a"), SwitchOff())])


def test_commands_are_aimed_at_the_parts_that_a_state_has() -> None:
    body = Organization(units={"ai": Unit(name="AI", unit_type="team")})
    close = CloseUnit(unit_id="other", reason="x")
    assert find(aimed(close, body), lambda command: command.unit_id != "other") == CloseUnit(unit_id="ai", reason="x")
    assert find(aimed(close, body), lambda command: command.unit_id == "other") == close
    assert find(aimed(SwitchOn(), body), lambda command: True) == SwitchOn()


def test_states_hold_what_only_events_can_lead_to() -> None:
    # BulbChanged cannot follow SwitchedOn by decision: the rule too_hot is in between.
    state = find(states(lamp()), lambda state: state.status == "lit" and len(state.bulbs) > 1)
    assert state.bulbs != []


def test_a_command_of_another_aggregate_is_no_pair_of_this_one() -> None:
    with pytest.raises(KeyError):
        laws.every_pair_is_handled_or_refused(lamp(), Lamp(), RenamePerson(name="Ada"))
