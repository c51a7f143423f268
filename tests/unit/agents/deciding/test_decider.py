"""What is the same for all deciders: names, versions, upcasting, stored events and states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from annals.agents.deciding.refusals import NotOpen, UnknownEventError
from annals.schemas.data.upcast import Upcast
from annals.schemas.kinds.person import PersonRegistered
from annals.schemas.messages import Message
from lamp import BulbChanged, ChangeBulb, HangLamp, Lamp, LampHung, SwitchedOff, lamp

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class LampHung1(Message):
    socket: str


class LampHung2(Message):
    light: str


def renamed_socket(data: dict[str, Any]) -> dict[str, Any]:
    return {"light": data["socket"]}


def renamed_light(data: dict[str, Any]) -> dict[str, Any]:
    return {"bulb": data["light"]}


OLD = lamp(upcasters={LampHung: (Upcast(LampHung1, renamed_socket), Upcast(LampHung2, renamed_light))})


@pytest.mark.parametrize(
    ("upcasters", "why"),
    [
        (
            {LampHung: (renamed_socket,)},
            "lamp: the upcasters of LampHung are a tuple of Upcast",
        ),
        ({LampHung: Upcast(LampHung1, renamed_socket)}, "are a tuple of Upcast"),
        ({LampHung: [Upcast(LampHung1, renamed_socket)]}, "are a tuple of Upcast"),
        ({HangLamp: (Upcast(LampHung1, renamed_socket),)}, "which is no event of its machine"),
        ({"LampHung": (Upcast(LampHung1, renamed_socket),)}, "upcasters of 'LampHung', which is no event"),
    ],
)
def test_what_is_no_upcaster_of_an_event_is_refused(upcasters: Any, why: str) -> None:
    """Goes red when a bare function is taken: it folds, and the schema of the first version vanishes without a word."""
    with pytest.raises(TypeError, match=why):
        lamp(upcasters=upcasters)


def test_the_first_form_of_an_event_is_version_1_and_each_upcaster_adds_one() -> None:
    assert lamp().schema_version(LampHung(bulb="a")) == 1
    assert OLD.schema_version(LampHung(bulb="a")) == 3
    assert OLD.schema_version(SwitchedOff()) == 1


@pytest.mark.parametrize(("version", "data"), [(1, {"socket": "a"}), (2, {"light": "a"}), (3, {"bulb": "a"})])
def test_every_form_of_an_event_is_read_as_the_newest(version: int, data: dict[str, Any]) -> None:
    stored = dict(data)
    assert OLD.read_event("LampHung", version, stored) == LampHung(bulb="a")
    assert stored == data


def test_an_upcaster_that_changes_what_it_gets_changes_no_event() -> None:
    """Goes red when the next reader of an event gets what an upcaster of one's own made of it."""

    def popped(data: dict[str, Any]) -> dict[str, Any]:
        data["at"][0].clear()
        return {"bulb": data.pop("socket")}

    class Nested(Message):
        socket: str
        at: list[dict[str, int]]

    changing, stored = lamp(upcasters={LampHung: (Upcast(Nested, popped),)}), {"socket": "a", "at": [{"x": 1}]}
    for _ in range(2):
        assert changing.read_event("LampHung", 1, stored) == LampHung(bulb="a")
    assert stored == {"socket": "a", "at": [{"x": 1}]}


@pytest.mark.parametrize(
    ("type_name", "version", "data", "why"),
    [
        ("LampPainted", 1, {}, "lamp event LampPainted of schema version 1: this release does not know the type"),
        ("LampHung", 4, {"bulb": "a"}, "this release reads the versions 1 to 3"),
        ("LampHung", 0, {"bulb": "a"}, "this release reads the versions 1 to 3"),
        ("LampHung", 1, {"bulb": "a"}, "its data do not fit"),
        ("LampHung", 3, {"light": "a"}, "its data do not fit"),
        ("LampHung", 3, {"bulb": 3}, "its data do not fit"),
        ("LampHung", 3, {"bulb": "a", "more": 1}, "its data do not fit"),
    ],
)
def test_an_event_that_this_release_cannot_read_is_named(type_name: str, version: int, data: Any, why: str) -> None:
    with pytest.raises(UnknownEventError, match=why):
        OLD.read_event(type_name, version, data)


def test_a_stored_event_is_not_held_to_the_rules_of_commands() -> None:
    assert lamp().read_event("BulbChanged", 1, {"bulb": "No Slug"}) == BulbChanged(bulb="No Slug")


def test_data_of_an_event_have_only_what_was_given() -> None:
    from annals.agents.aggregates import REGISTRY

    person = REGISTRY["person"]
    assert person.event_data(PersonRegistered(name="Ada")) == {"name": "Ada"}
    assert person.event_name(PersonRegistered(name="Ada")) == "PersonRegistered"


def test_an_unknown_command_is_a_key_error_for_the_shell_to_ask_before() -> None:
    assert "PaintLamp" not in lamp().commands
    with pytest.raises(KeyError):
        lamp().parse("PaintLamp", {})


def test_what_is_true_is_asked_before_what_is_open_but_never_of_an_absent_aggregate() -> None:
    gone = Lamp(status="gone", bulb="a")
    assert lamp().decide(ChangeBulb(bulb="a"), gone, NOW, "l") == []
    assert lamp().decide(HangLamp(bulb="a"), gone, NOW, "l") == []
    with pytest.raises(NotOpen, match="ChangeBulb is not open to an aggregate that is absent"):
        lamp().decide(ChangeBulb(bulb=""), Lamp(), NOW, "l")


def test_a_state_comes_back_from_its_bytes_and_other_bytes_do_not() -> None:
    state = Lamp(status="lit", bulb="a", bulbs=["b"])
    assert lamp().decode_state(lamp().encode_state(state)) == state
    with pytest.raises(msgspec.DecodeError):
        lamp().decode_state(b"\xc1")
