"""What a fold changes of an event that it is given is its own: other folds, states and answers have it as it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from annals.agents.aggregates import REGISTRY as DECIDERS
from annals.agents.projections.projection import Projection, Row
from annals.agents.reading.following.fold import ReadingFold
from annals.agents.reading.keeping.messages import message_of
from annals.agents.reading.keeping.states import States
from annals.agents.reading.projecting.rows import ProjectionFollower, row_key
from annals.schemas.data.copies import own
from annals.schemas.journal_reader import START, Counted
from annals.schemas.kinds import agent, organization, person
from annals.schemas.messages import Message, Part
from annals.workers.stores.reading_memory import MemoryReadingStore
from projecting import PARTITIONS, Journals

if TYPE_CHECKING:
    from annals.agents.projections.projection import Happened, ProjectionRows

DEPLOYED = agent.AgentDeployed(name="scout", agent_type="analyst", owner_id="p-1")
ASSIGNED = agent.TaskAssigned(task_id="t", task_type="look", needs=["see"], input={"where": {"rooms": ["a", "b"]}})


class Seen(Row, kw_only=True):
    needs: list[str]
    input: dict[str, Any]


def see(event: Happened, rows: ProjectionRows[Seen]) -> None:
    message = event.message
    assert isinstance(message, agent.TaskAssigned)
    assert isinstance(message.needs, list)
    assert isinstance(message.input, dict)
    row = Seen(kind=event.kind, aggregate_id=event.aggregate_id, needs=message.needs, input=message.input)
    rows.put(copy.deepcopy(row), event.aggregate_id)
    message.needs.append("bent")
    message.input["where"]["rooms"].clear()


BENDING = Projection("bending", 1, {"agent": frozenset({agent.TaskAssigned})}, Seen, (), lambda _: {}, see)
BENDING_TOO = replace(BENDING, name="bending_too")


def test_a_projection_that_changes_what_it_is_given_changes_nothing_for_the_next_one_nor_for_states() -> None:
    journals = Journals(("agent",))
    journals.append("agent", "a-1", DEPLOYED, ASSIGNED)
    (partition,) = [number for number in range(PARTITIONS) if journals.records_of["agent", number]]
    store = MemoryReadingStore()
    followers = [ProjectionFollower(each, DECIDERS) for each in (BENDING, BENDING_TOO)]
    states = States(DECIDERS["agent"])
    fold = ReadingFold("agent", partition, PARTITIONS, store, [*followers, states])
    fold.apply(journals.records_of["agent", partition])
    assert fold.stale == {}
    for each in (BENDING, BENDING_TOO):
        row = msgspec.msgpack.decode(memoryview(store.get(row_key(each, ("a-1",))) or b"")[1:], type=Seen)
        assert (row.needs, row.input) == (["see"], {"where": {"rooms": ["a", "b"]}})


def counted(message: Message) -> Counted[Any]:
    event = {"type": type(message).__name__, "schema_version": 1, "data": msgspec.to_builtins(message)}
    return Counted(0, b"a", event, b"", START)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("agent", ASSIGNED),
        ("person", person.PersonRegistered(name="Ada", languages=["en"])),
        ("organization", organization.RoleDefined(role_id="r", title="R", permissions=["p"])),
    ],
)
def test_an_event_with_something_in_it_that_can_be_changed_is_copied_for_each(kind: str, message: Message) -> None:
    event = counted(message)
    first, second = message_of(DECIDERS[kind], event), message_of(DECIDERS[kind], event)
    assert first == second == message
    _bend(first)
    assert first != second == message_of(DECIDERS[kind], event) == message
    assert event.event["data"] == msgspec.to_builtins(message)


def test_an_event_in_which_nothing_can_be_changed_is_read_once_for_all() -> None:
    event = counted(person.PersonRegistered(name="Ada", email="ada@example.org"))
    assert message_of(DECIDERS["person"], event) is message_of(DECIDERS["person"], event)


class Bent(Part):
    names: list[str]


class Mixed(Message):
    either: str | list[str]
    free: Any
    maps: dict[str, list[dict[str, str]]]
    listed: list[Bent]
    pairs: tuple[list[str], ...] = ()
    marks: set[str] = set()


def test_a_copy_has_nothing_that_what_it_was_made_of_has() -> None:
    mixed = Mixed(
        either=["a"],
        free=[{"x": [1]}],
        maps={"m": [{"k": "v"}]},
        listed=[Bent(names=["a"])],
        pairs=(["a"], ["b"]),
        marks={"a"},
    )
    before = copy.deepcopy(mixed)
    _bend(own(mixed))
    assert mixed == before


def _bend(value: Any) -> None:
    """Change whatever can be changed in a value."""
    if isinstance(value, msgspec.Struct):
        for each in msgspec.structs.astuple(value):
            _bend(each)
    elif isinstance(value, tuple):
        for each in value:
            _bend(each)
    elif isinstance(value, set):
        value.add("bent")
    elif isinstance(value, list):
        for each in value:
            _bend(each)
        value.append("bent")
    elif isinstance(value, dict):
        for each in value.values():
            _bend(each)
        value["bent"] = True
