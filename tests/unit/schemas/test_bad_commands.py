"""Every kind of bad command gets exactly its answer, as far as reading, validation and decision go."""

from datetime import UTC, datetime
from typing import Any

import pytest

import bad_commands
from annals.agents.aggregates import REGISTRY
from annals.agents.deciding.refusals import NotOpen, Refused
from annals.schemas import outcome
from annals.schemas.envelope import Command
from annals.schemas.wire.dead_letter import REASONS, DeadLetter
from annals.schemas.wire.reading import read_command
from command_cases import MAX_COMMAND_BYTES, Accepted, Case, DeadLettered, Rejected

PERSON = REGISTRY["person"]
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def _answer(case: Case) -> DeadLettered | Rejected | Accepted:
    """What a worker says of it, for a person that does not exist: the contract's order."""
    command = read_command(case.key, case.value, case.headers, MAX_COMMAND_BYTES)
    if isinstance(command, DeadLetter):
        assert len(command.message.encode()) <= 500
        return DeadLettered(command.reason)
    if command.type is not None and command.type not in PERSON.commands:
        return Rejected(outcome.UNKNOWN_COMMAND, outcome.unknown_details(command.type))
    return _decide(command)


def _decide(command: Command) -> Rejected | Accepted:
    if command.errors:
        return Rejected(outcome.INVALID_COMMAND, outcome.invalid_details(command.errors))
    assert command.type is not None
    assert command.data is not None
    typed = PERSON.parse(command.type, command.data)
    if isinstance(typed, list):
        return Rejected(outcome.INVALID_COMMAND, outcome.invalid_details(typed))
    if command.expected_version not in {"any", 0}:
        return Rejected(outcome.VERSION_CONFLICT, outcome.version_details(command.expected_version, 0))
    if command.expected_head is not None:
        return Rejected(outcome.HEAD_CONFLICT, outcome.head_details(command.expected_head, None))
    try:
        events = PERSON.decide(typed, PERSON.initial, NOW, command.aggregate_id)
    except NotOpen as refusal:
        return Rejected(outcome.INVALID_TRANSITION, outcome.transition_details(refusal.status, refusal.command))
    except Refused as refusal:
        return Rejected(outcome.RULE_VIOLATED, outcome.rule_details(refusal.rule))
    assert len(events) == 1
    return Accepted()


@pytest.mark.parametrize("case", bad_commands.CASES, ids=lambda case: case.name[:40])
def test_a_bad_command_gets_exactly_its_answer(case: Case) -> None:
    assert _answer(case) == case.expected


def test_the_table_has_every_reason_and_every_code_that_a_record_alone_can_cause() -> None:
    expected: list[Any] = [case.expected for case in bad_commands.CASES]
    reasons = {answer.reason for answer in expected if isinstance(answer, DeadLettered)}
    codes = {answer.code for answer in expected if isinstance(answer, Rejected)}
    assert reasons == set(REASONS) - {"misrouted", "internal_error"}
    assert codes == set(outcome.CODES) - {"too_large", "aggregate_full", "internal_error"}


def test_the_table_has_at_least_sixty_kinds_and_no_name_twice() -> None:
    bad = [case for case in bad_commands.CASES if not isinstance(case.expected, Accepted)]
    assert len(bad) >= 60
    assert len({case.name for case in bad_commands.CASES}) == len(bad_commands.CASES)
    assert len({case.key for case in bad_commands.HARMLESS}) == len(bad_commands.HARMLESS)
