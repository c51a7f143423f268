"""Every command has an example that is valid; where it begins an aggregate, it is accepted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from annals.agents.aggregates import REGISTRY
from annals.agents.message_schemas import message_schemas
from annals.schemas.json_schemas.examples import example_of
from annals.schemas.messages import Message

COMMANDS = [(decider, name) for decider in REGISTRY.values() for name in decider.commands]
NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.mark.parametrize(("decider", "name"), COMMANDS, ids=lambda each: each if isinstance(each, str) else each.kind)
def test_a_command_has_an_example_that_is_valid(decider: Any, name: str) -> None:
    example = example_of(decider.kind, decider.commands[name])
    assert example is not None
    assert isinstance(decider.parse(name, example), decider.commands[name])
    assert msgspec.json.decode(msgspec.json.encode(example)) == example


@pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY)
def test_the_example_that_begins_an_aggregate_is_accepted(decider: Any) -> None:
    (first,) = [row.command for row in decider.machine.rows.values() if "absent" in row.where]
    command = decider.parse(first.__name__, example_of(decider.kind, first))
    assert decider.decide(command, decider.initial, NOW, f"{decider.kind}-1")


def test_schemas_of_commands_have_it_and_take_it() -> None:
    commands = [each for each in message_schemas() if each.role == "command"]
    assert len(commands) == len(COMMANDS)
    for command in commands:
        (example,) = command.schema["examples"]
        Draft202012Validator(command.schema).validate(example)


def test_where_none_can_be_made_there_is_none() -> None:
    class Odd(Message):
        """A command that takes nothing."""

        name: str

        def problems(self) -> Any:
            yield "name", "is never right"

    assert example_of("odd", Odd) is None
