"""No command holds the event loop longer than a moment, whatever its bytes: each member is filled to a megabyte."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY
from annals.agents.ports import Aggregate
from annals.agents.writing.batches.evaluation import Rejection, evaluate, parsed
from annals.schemas import outcome
from annals.schemas.envelope import Command
from annals.schemas.values.constraints import marks_of, type_hints
from annals.schemas.wire.attributes import MEMBERS
from annals.schemas.wire.dead_letter import DeadLetter
from annals.schemas.wire.reading import read_command, read_commands
from costs import (
    FLAWED,
    MEGABYTE,
    TEXTS,
    UNITS,
    collected_as_in_a_worker,
    costs_little,
    many,
    names,
    quoted,
    slowness_now,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annals.agents.deciding.decider import Decider

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def slowness() -> float:
    return slowness_now()


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    with collected_as_in_a_worker():
        yield


def _answer(decider: Decider[Any], value: bytes) -> str:
    command = read_command(b"a", value, (), 1_000_000)
    if isinstance(command, DeadLetter):
        return command.reason
    found = evaluate(decider, command, parsed(decider, command), Aggregate(0, None, "", decider.initial), NOW)
    if not isinstance(found, Rejection):
        return "accepted"
    assert len(outcome.rejected("c", decider.kind, "a", 0, None, *found)) < 2 * MEGABYTE
    if found.code == outcome.INVALID_COMMAND:
        assert 1 <= len(found.details["errors"]) <= outcome.MOST_ERRORS
        assert found.details["more"] <= outcome.MOST_FOUND - outcome.MOST_ERRORS
    return found.code


def _costs_little(decider: Decider[Any], type_name: str, data: bytes, slowness: float) -> str:
    value = b'{"id":"c","type":"%b","aggregate_id":"a","data":%b}' % (type_name.encode(), data)
    assert len(value) <= 1_000_000
    return str(costs_little(lambda: _answer(decider, value), slowness, f"{type_name}: {value[:120]!r}"))


def _members() -> Iterator[tuple[str, str, str]]:
    """Each member of each command; of texts of one type the first."""
    seen: set[str] = set()
    for kind, decider in REGISTRY.items():
        for name, command in decider.commands.items():
            for field in msgspec.structs.fields(command):
                annotation = type_hints(command)[field.name]
                if marks_of(annotation)[0] is str and repr(annotation) in seen:
                    continue
                seen.add(repr(annotation))
                yield kind, name, field.encode_name


@pytest.mark.parametrize(("kind", "name", "member"), list(_members()))
def test_a_member_of_a_megabyte_costs_a_moment(kind: str, name: str, member: str, slowness: float) -> None:
    decider = REGISTRY[kind]
    annotation = type_hints(decider.commands[name])[_attribute(decider.commands[name], member)]
    shape = get_origin(marks_of(annotation)[0])
    fills = [many(UNITS[0]), quoted(TEXTS[1])]
    if shape is list or shape is dict or marks_of(annotation)[0] is dict:
        fills = [*map(many, UNITS), names("k%d"), names("K %d")]
        if shape is dict and get_args(marks_of(annotation)[0])[1] is not Any:
            fills.append(b"{" + b",".join(b'"s%d":{}' % n for n in range(80_000)) + b"}")
    elif marks_of(annotation)[0] is str:
        fills = [quoted(text) for text in TEXTS]
    for fill in fills:
        _costs_little(decider, name, b'{"%b":%b}' % (member.encode(), fill), slowness)


def _attribute(struct: type, member: str) -> str:
    return next(field.name for field in msgspec.structs.fields(struct) if field.encode_name == member)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_of_the_command_itself_that_fills_it_costs_a_moment(member: str, slowness: float) -> None:
    """Goes red when what a command expects is parsed before it is known to be short: a second for 1e-320."""
    well = {"id": b'"c"', "type": b'"RegisterPerson"', "aggregate_id": b'"a"', "data": b'{"name":"a"}'}
    for fill in (*map(many, ("1e-320", "9e307", "{}", '"a"')), names("k%d"), quoted(TEXTS[1])):
        members = [b'"%b":%b' % (name.encode(), value) for name, value in (well | {member: fill}).items()]
        value = b"{" + b",".join(members) + b"}"
        costs_little(lambda value=value: _answer(REGISTRY["person"], value), slowness, f"{member}: {fill[:80]!r}")


class _Sent(NamedTuple):
    value: bytes
    key: bytes | None = None
    headers: tuple[()] = ()


@pytest.mark.parametrize("unit", ["1e-320", "9e307"])
def test_a_large_command_costs_no_more_beside_others_than_alone(unit: str, slowness: float) -> None:
    """Goes red when all of them go through the parser that takes a second for such numbers."""
    small = b'{"id":"c","type":"RegisterPerson","aggregate_id":"a","data":{"name":"a"}}'
    large = b'{"id":"d","type":"RegisterPerson","aggregate_id":"a","data":{"x":%b}}' % many(unit)
    records = [_Sent(small), _Sent(large)]
    found = costs_little(lambda: read_commands(records, 1_000_000), slowness, unit)
    assert [type(each) for each in found] == [Command, Command]


@pytest.mark.parametrize("unit", [*UNITS, *FLAWED])
def test_a_document_of_very_many_values_is_read_in_a_moment(unit: str, slowness: float) -> None:
    person = REGISTRY["person"]
    for last in ("", ',{"$a":1}', ',"\\ud800"', ",-0.0", ',"\\u0022"'):
        answer = _costs_little(person, "RegisterPerson", b'{"x":%b%b]}' % (many(unit)[:-1], last.encode()), slowness)
        assert answer == "invalid_command"


@pytest.mark.parametrize(
    "data",
    [
        names("$%d"),
        names("k%d"),
        b'{"' + b"k" * 400_000 + b'":' + names("$%d", 500_000) + b"}",
        b'{"a":' + b"9" * 990_000 + b"}",
        b'{"a":1.' + b"9" * 990_000 + b"}",
        b'{"a":1e' + b"9" * 990_000 + b"}",
        b'{"a":' + b",".join([b'"%b"' % (b"1" * 308)] * 3_000).join([b"[", b"]"]) + b"}",
        b'{"a":"' + b'\\"' * 490_000 + b'"}',
        b'{"a":' + b"[" * 490_000 + b"]" * 490_000 + b"}",
        b'{"a":' * 160_000 + b"1" + b"}" * 160_000,
        b'{"a":' + b"[" * 70 + b",".join([b"[]"] * 300_000) + b"]" * 70 + b"}",
        b'{"a":' + b"[" * 2_000 + b",".join([b"1"] * 480_000) + b"]" * 2_000 + b"}",
        b'{"a":' + b"[" + b",".join([b"[" * 62 + b"]" * 62] * 7_900) + b"]" + b"}",
    ],
    ids=lambda data: f"{data[:12].decode()}…",
)
def test_what_is_long_or_deep_is_read_in_a_moment(data: bytes, slowness: float) -> None:
    _costs_little(REGISTRY["person"], "RegisterPerson", data, slowness)


def test_at_most_twenty_errors_are_told_and_the_length_before_the_items(slowness: float) -> None:
    data = b'{"name":"a","definition":"a","owner":{"kind":"person","id":"p"},"subjects":%b}' % many("{}")
    workflow = REGISTRY["workflow"]
    assert _costs_little(workflow, "DefineWorkflow", data, slowness) == "invalid_command"
    assert workflow.parse("DefineWorkflow", msgspec.json.decode(data)) == [
        ("data.subjects", "expected array of length <= 20")
    ]
