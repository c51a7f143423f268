"""A lamp: the smallest aggregate with every sort of row, made to be broken by the tests of the kit."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from annals.agents.deciding.decider import Circumstances, Decider
from annals.agents.deciding.machine import ABSENT, Machine, On
from annals.agents.deciding.refusals import Refused
from annals.agents.deciding.state import State
from annals.schemas.messages import Message, event_from
from annals.schemas.values.fields import Slug


class HangLamp(Message):
    bulb: Slug


class LampHung(HangLamp):
    pass


class SwitchOn(Message):
    pass


class SwitchedOn(SwitchOn):
    pass


class SwitchOff(Message):
    pass


class SwitchedOff(SwitchOff):
    pass


class ChangeBulb(Message):
    bulb: Slug


class BulbChanged(ChangeBulb):
    pass


class ThrowAway(Message):
    pass


class ThrownAway(ThrowAway):
    pass


class Lamp(State):
    bulb: str = ""
    bulbs: list[str] = []


def lamp_machine(**changed: Any) -> Machine:
    rows = {
        "hang": On(HangLamp, (LampHung,), where=(ABSENT,), to="dark"),
        "on": On(SwitchOn, (SwitchedOn,), where=("dark",), to="lit"),
        "off": On(SwitchOff, (SwitchedOff,), where=("lit",), to="dark"),
        "change": On(ChangeBulb, (BulbChanged,)),
        "throw": On(ThrowAway, (ThrownAway,), to="gone"),
    } | changed
    return Machine(tuple(rows.values()), open_={"dark": "", "lit": "shines"}, terminal={"gone": ""})


def already_true(command: Message, lamp: Lamp) -> bool:
    match command:
        case HangLamp() | ChangeBulb():
            return command.bulb == lamp.bulb
        case _:
            return True


def decide(command: Message, lamp: Lamp, at: Circumstances) -> list[Message]:
    match command:
        case HangLamp():
            return [event_from(command, LampHung)]
        case SwitchOn():
            return [event_from(command, SwitchedOn)]
        case SwitchOff():
            return [event_from(command, SwitchedOff)]
        case ChangeBulb():
            if lamp.status == "lit":
                raise Refused("too_hot", "switch it off first")
            return [event_from(command, BulbChanged)]
        case _:
            return [ThrownAway()]


def evolve(lamp: Lamp, event: Message) -> Lamp:
    match event:
        case LampHung():
            return Lamp(status="dark", bulb=event.bulb)
        case SwitchedOn():
            return replace(lamp, status="lit")
        case SwitchedOff():
            return replace(lamp, status="dark")
        case BulbChanged():
            return replace(lamp, bulb=event.bulb, bulbs=[*lamp.bulbs, lamp.bulb])
        case _:
            return replace(lamp, status="gone")


def lamp(**changed: Any) -> Decider[Lamp]:
    parts: dict[str, Any] = {
        "machine": lamp_machine(),
        "initial": Lamp(),
        "state_version": 1,
        "already_true": already_true,
        "decide": decide,
        "evolve": evolve,
    }
    return Decider("lamp", **(parts | changed))
