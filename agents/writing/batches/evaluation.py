"""Evaluating a command against its aggregate: events, none, or a rejection with its reason.

The order is the contract's: unknown, invalid, version, head; then the decider's own: already true, not open, a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from annals.agents.deciding.refusals import NotOpen, Refused
from annals.schemas import outcome
from annals.schemas.envelope import ANY, EXISTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from annals.agents.deciding.decider import Decider
    from annals.agents.ports import Aggregate
    from annals.schemas.data.complaints import Problem
    from annals.schemas.envelope import Command, ExpectedVersion
    from annals.schemas.messages import Message

SHOWN_CHARACTERS: Final = 100


class Rejection(NamedTuple):
    """Why a command changes nothing, as its outcome says it."""

    code: str
    message: str
    details: dict[str, Any]


def parsed(decider: Decider[Any], command: Command) -> Message | list[Problem] | None:
    """Return the command typed, or what is wrong with its data; None: its envelope is wrong or its type unknown."""
    parse = decider.parsers.get(command.type or "")
    if parse is None or command.errors or command.data is None:
        return None
    return parse(command.data)


def evaluate(
    decider: Decider[Any], command: Command, typed: Message | list[Problem] | None, current: Aggregate, now: datetime
) -> Sequence[Message] | Rejection:
    """Return the events that a command causes ([]: its wish is already true), or its rejection."""
    if typed is None or isinstance(typed, list):
        return _unfit(decider, command, typed)
    expected = command.expected_version
    if expected is not ANY and not _is_at(current.version, expected):
        version = current.version
        message = f"the aggregate is at version {version}, the command expects {expected}"
        return Rejection(outcome.VERSION_CONFLICT, message, outcome.version_details(expected, version))
    if command.expected_head is not None and command.expected_head != current.head:
        message = "the aggregate's last event is another one than the command expects"
        return Rejection(outcome.HEAD_CONFLICT, message, outcome.head_details(command.expected_head, current.head))
    try:
        return decider.decide(typed, current.state, now, command.aggregate_id)
    except NotOpen as refusal:
        details = outcome.transition_details(refusal.status, refusal.command)
        return Rejection(outcome.INVALID_TRANSITION, refusal.message, details)
    except Refused as refusal:
        return Rejection(outcome.RULE_VIOLATED, refusal.message, outcome.rule_details(refusal.rule))


def _is_at(version: int, expected: ExpectedVersion) -> bool:
    return expected == ANY or (version >= 1 if expected == EXISTS else version == expected)


def _unfit(decider: Decider[Any], command: Command, problems: list[Problem] | None) -> Rejection:
    if command.type is not None and command.type not in decider.commands:
        message = f"{decider.kind} has no command {command.type[:SHOWN_CHARACTERS]!r}"
        return Rejection(outcome.UNKNOWN_COMMAND, message, outcome.unknown_details(command.type))
    errors = problems or command.errors
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Rejection(outcome.INVALID_COMMAND, ": ".join(errors[0]) + more, outcome.invalid_details(errors))


def oversize(needed: int, limit: int) -> Rejection:
    """Return the rejection of a command whose events do not fit into one record batch; both in bytes."""
    message = f"the command's events take {needed} bytes in one batch, the topic takes {limit}"
    return Rejection(outcome.TOO_LARGE, message, outcome.size_details(needed, limit))


def full(version: int, limit: int) -> Rejection:
    """Return the rejection of a command whose events its aggregate has no room for."""
    message = f"the aggregate would have {version} events, its limit is {limit}"
    return Rejection(outcome.AGGREGATE_FULL, message, outcome.full_details(limit))


def failed() -> Rejection:
    """Return the rejection of a command that the code of its aggregate did not foresee."""
    message = "deciding this command failed by a defect; it is kept as a dead letter, and nothing of it has happened"
    return Rejection(outcome.INTERNAL_ERROR, message, {})
