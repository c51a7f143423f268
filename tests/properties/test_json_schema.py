"""The JSON Schemas say what the parser says, wherever JSON Schema can say it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from annals.agents.aggregates import REGISTRY
from annals.agents.testing.strategies import structs
from annals.schemas.json_schemas.json_schema import message_schema

if TYPE_CHECKING:
    from annals.agents.deciding.decider import Decider
    from annals.schemas.messages import Message

# Strategies are made from the types the first time they are drawn from.
LIVELY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

pytestmark = pytest.mark.parametrize("decider", REGISTRY.values(), ids=REGISTRY.keys())

WRONG = (
    *(None, True, 0, -1, 101, 0.5, -1.5e-9),
    *("", " a", "a ", "a\n", "a\tb", "a\x00", "x" * 201, "x" * 10_001, "A", "a_b", "-", "é", "GB", "UK", "EN", "xx-"),
    *("2026-02-30", "2026-1-1", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "Europe/London", "Mars/Olympus"),
    *("http://a", "https://", "https://a b", "a@b", "a@b.c", "+0", "text/plain", "text", "MIT", "mit", "LicenseRef-a"),
    *("bafk", "zb2", "US-NY", "person", "public"),
    *([], [1], ["a", "a"], [{"kind": "person", "id": "a"}, {"kind": "person", "id": "a"}]),
    *({}, {"kind": "person", "id": "a"}, {"kind": "person", "id": "a", "more": 1}, {"a": 1}, {"$a": 1}),
)


@cache
def validator(kind: str, role: Any, message: type[Message]) -> Draft202012Validator:
    schema = message_schema(kind, role, message, 1).schema
    # `date` is the one format that the library can check without others.
    return Draft202012Validator(schema, format_checker=FormatChecker(["date"]))


def spoil(data: st.DataObject, value: Any) -> Any:
    """The value with one thing in it changed, taken away or added, at any depth."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: spoil(data, value[name])}
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        gone = data.draw(st.sampled_from(sorted(value)))
        return {name: kept for name, kept in value.items() if name != gone}
    if isinstance(value, dict) and data.draw(st.booleans()):
        return {
            **value,
            data.draw(st.sampled_from(("more", "A b", "name", "reason"))): data.draw(st.sampled_from(WRONG)),
        }
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], spoil(data, value[at]), *value[at:]]
    return data.draw(st.sampled_from(WRONG))


BEYOND = (
    *("check digits", "is no region of the country", "as DAG-CBOR", "moment of the calendar", "is required, unless"),
    *("names no", "repeats a variant", "is no language tag", "is no CIDv1", "IPv6", "is in the list already"),
)
"""What no JSON Schema can say; the module's docstring lists it."""


def is_beyond_json_schema(path: str, message: str) -> bool:
    """Whether a complaint is one of those, or about what the research workflow wants of its parameters."""
    return path.startswith("data.parameters.") or any(said in message for said in BEYOND)


@LIVELY
@given(data=st.data())
def test_a_command_that_is_taken_fits_its_schema(decider: Decider[Any], data: st.DataObject) -> None:
    command = decider.commands[data.draw(st.sampled_from(sorted(decider.commands)))]
    sent = msgspec.to_builtins(data.draw(structs(command)))
    validator(decider.kind, "command", command).validate(sent)


@LIVELY
@given(data=st.data())
def test_an_event_that_is_written_fits_its_schema(decider: Decider[Any], data: st.DataObject) -> None:
    event = decider.events[data.draw(st.sampled_from(sorted(decider.events)))].type
    written = decider.event_data(data.draw(structs(event)))
    validator(decider.kind, "event", event).validate(written)


@LIVELY
@given(data=st.data())
def test_a_schema_and_the_parser_give_one_verdict(decider: Decider[Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(decider.commands)))
    command = decider.commands[name]
    sent = spoil(data, msgspec.to_builtins(data.draw(structs(command))))
    if not isinstance(sent, dict):
        return
    parsed = decider.parse(name, sent)
    complaints = parsed if isinstance(parsed, list) else []
    refusals = [error.message for error in validator(decider.kind, "command", command).iter_errors(sent)]
    if not complaints:
        # Members beginning with $ are refused where commands are read, before the parser sees them.
        assert not refusals or "$a" in str(sent), f"{sent} is taken, but its schema refuses it: {refusals}"
    elif not all(is_beyond_json_schema(path, message) for path, message in complaints):
        assert refusals, f"{sent} is refused, but its schema takes it: {complaints}"
