"""What a reaction keeps: the records of the compacted topic `timers.<reaction>`, and of `reactions`.

Keys of the former are JSON lists, `["state", aggregate id, process key]` and `["timer", …, name]`; of the latter the
reaction's name.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from annals.schemas.depth import decoded
from annals.schemas.values.moments import moment_of
from annals.schemas.wire.via import VIA

STATE: Final = "state"
TIMER: Final = "timer"
ACTIVE: Final = "active"
PAUSED: Final = "paused"

Moment = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]

Via = Annotated[str, Meta(pattern=rf"\A(?:{VIA})?\Z")]


class ProcessId(NamedTuple):
    """A process of a reaction: its aggregate, and what tells it apart from others of this aggregate.

    Of a re-keyed reaction, `aggregate_id` is the key of the process, and nothing else tells it apart.
    """

    aggregate_id: str
    key: str


class StateRow(Struct, frozen=True):
    """A process' state as the reaction of this version has it."""

    version: int
    state: Raw


class TimerRow(Struct, frozen=True, omit_defaults=True, gc=False):
    """A timer that has not fired.

    cause: the CID of the event that led to it. is_quiet: no command was sent by that. via: the deployments that the
    event came through, with the one whose it is.
    """

    version: int
    due: Moment
    cause: str
    correlation_id: str | None
    is_quiet: bool = False
    via: Via = ""


class Control(Struct, frozen=True):
    """Whether a reaction runs. reason: why it was paused, if somebody said so."""

    status: Literal["active", "paused"]
    reason: str | None = None


_KEYS: Final = msgspec.json.Decoder(list[str])
STATE_ROWS: Final = msgspec.json.Decoder(StateRow)
_TIMER_ROWS: Final = msgspec.json.Decoder(TimerRow)


def state_key(process: ProcessId) -> bytes:
    """Return the key of a state's record."""
    return msgspec.json.encode((STATE, *process))


def timer_key(process: ProcessId, name: str) -> bytes:
    """Return the key of a timer's record."""
    return msgspec.json.encode((TIMER, *process, name))


def parse_row_key(key: bytes | None) -> tuple[ProcessId, str | None]:
    """Return the process of a record, and the timer's name if it is one.

    Raises:
        ValueError: it is no key of a row.
    """
    match decoded(_KEYS.decode, key or b""):
        case ["state", aggregate_id, process]:
            return ProcessId(aggregate_id, process), None
        case ["timer", aggregate_id, process, name]:
            return ProcessId(aggregate_id, process), name
    raise ValueError("it is the key neither of a state nor of a timer")


def decode_timer(value: bytes) -> TimerRow:
    """Return the timer that a record says.

    Raises:
        ValueError: it is none, or due at what is no moment: nobody could wait for it.
    """
    row = decoded(_TIMER_ROWS.decode, value)
    moment_of(row.due)
    return row


def process_of(key: bytes | None, value: bytes | None) -> ProcessId:
    """Return the process of a record, and hold the record to what a row is; value: None: it is gone.

    Raises:
        ValueError: it is no row: others may be able to write here.
    """
    process, timer = parse_row_key(key)
    if value is not None and timer is None:
        decoded(STATE_ROWS.decode, value)
    elif value is not None:
        decode_timer(value)
    return process
