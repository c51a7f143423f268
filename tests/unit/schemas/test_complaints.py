"""Where a complaint points, and that every one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType

from annals.schemas.data.stored import Reader
from annals.schemas.data.validation import Validator
from annals.schemas.messages import Message, Part
from annals.schemas.values.constraints import UNORDERED, at_most
from annals.schemas.values.fields import Score, Slug, Text, object_within
from annals.schemas.values.refs import OwnerRef

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place(Part):
    country: Slug
    region: Slug | UnsetType | None = UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.region, str) and not self.region.startswith(self.country):
            yield "region", "is of another country"


class Plan(Message):
    name: Text
    owner: OwnerRef | UnsetType = UNSET
    owners: Annotated[list[OwnerRef], Meta(max_length=2), UNORDERED] | UnsetType = UNSET
    place: Place | UnsetType | None = UNSET
    steps: Annotated[dict[Slug, Place], Meta(max_length=2)] | UnsetType = UNSET
    notes: Annotated[dict[str, Any], object_within(16)] | UnsetType = UNSET
    level: Literal["low", "high"] | UnsetType = UNSET
    score: Score | UnsetType = UNSET


P1, P2 = {"kind": "person", "id": "p-1"}, {"kind": "person", "id": "p-2"}


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        ({}, {"data.name": "is required"}),
        ({"name": "a", "nmae": 1}, {"data.nmae": "is not a member here; the members are name, owner, owners, place,"}),
        ({"f": 1, "e": 1, "name": "a", "d": 1, "c": 1, "b": 1}, {f"data.{name}": "is not a" for name in "fedcb"}),
        ({"name": "a", "a b": 1}, {'data["a b"]': "is not a member here"}),
        ({"name": None}, {"data.name": "must be text of 1 to 200 characters"}),
        ({"name": "a", "owner": {"kind": "robot", "id": 3}}, {
            "data.owner.kind": "must be one of person, organization",
            "data.owner.id": "must be an aggregate id",
        }),
        ({"name": "a", "owner": None}, {"data.owner": "expected object, got null"}),
        ({"name": "a", "owners": [P1, {"kind": "person"}]}, {"data.owners[1].id": "is required"}),
        ({"name": "a", "owners": [P1, P2, P1]}, {"data.owners": "expected array of length <= 2"}),
        ({"name": "a", "owners": [P1, P1]}, {"data.owners[1]": "is in the list already, at [0]"}),
        ({"name": "a", "place": {"country": "gb", "region": "us-ca"}}, {"data.place.region": "is of another country"}),
        ({"name": "a", "steps": {"A b": {"country": "gb"}}}, {'data.steps["A b"]': "its name must be a slug"}),
        ({"name": "a", "steps": {"x": {"country": "gb", "region": "us"}}}, {"data.steps.x.region": "is of another"}),
        ({"name": "a", "steps": {n: {} for n in "abc"}}, {"data.steps": "expected object of length <= 2"}),
        ({"name": "a", "notes": {"x": "y" * 20}}, {"data.notes": "is 24 bytes as DAG-CBOR, more than 16"}),
        ({"name": "a", "notes": []}, {"data.notes": "must be an object of at most 16 bytes as DAG-CBOR"}),
        ({"name": "a", "level": "middle"}, {"data.level": "must be one of low, high"}),
        ({"name": "a", "score": 1.5}, {"data.score": "must be a number from 0 to 1"}),
        ({"name": 3, "level": 3, "score": "x"}, {"data.name": "must", "data.level": "must", "data.score": "must"}),
    ],
)  # fmt: skip
def test_every_member_that_offends_is_named_once(data: dict[str, Any], problems: dict[str, str]) -> None:
    found = Validator(Plan).parse(data)
    assert isinstance(found, list)
    assert [path for path, _ in found] == list(problems)
    assert all(problems[path] in message for path, message in found)


def test_well_formed_data_come_as_types() -> None:
    data = {"name": "a", "owners": [P1, P2], "place": None, "steps": {"x": {"country": "gb", "region": "gb-x"}}}
    plan = Validator(Plan).parse(data)
    assert isinstance(plan, Plan)
    assert plan.owners == [OwnerRef(kind="person", id="p-1"), OwnerRef(kind="person", id="p-2")]
    assert plan.steps == {"x": Place(country="gb", region="gb-x")}


@pytest.mark.parametrize(
    "data",
    [
        {"name": " against a rule ", "level": "unheard-of", "score": 7},
        {"name": "a", "steps": {"No Slug": {"country": "XX", "region": "of another"}}, "place": None},
        {"name": "a", "owners": [P1, P1, P1], "notes": {"long": "x" * 100}, "owner": {"kind": "robot", "id": ""}},
    ],
)
def test_stored_data_are_read_by_their_shape_and_not_by_rules(data: dict[str, Any]) -> None:
    read = Reader(Plan).read(data)
    assert isinstance(read, Plan)
    assert msgspec.to_builtins(read) == data


@pytest.mark.parametrize(
    "data", [{}, {"name": 1}, {"name": "a", "more": 1}, {"name": "a", "steps": {"x": {"region": "r"}}}, {"name": None}]
)
def test_stored_data_of_another_shape_are_refused(data: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        Reader(Plan).read(data)


def test_a_problem_deep_inside_a_member_is_named_by_its_path() -> None:
    class Study(Message):
        parameters: dict[str, Any]

        def problems(self) -> Iterator[tuple[str, str]]:
            if "question" not in self.parameters:
                yield "parameters.question", "is required"

    assert Validator(Study).parse({"parameters": {}}) == [("data.parameters.question", "is required")]


class Bounded(Part):
    names: Annotated[list[Slug], at_most(2)] | UnsetType = UNSET


class Holds(Message):
    by_name: dict[Slug, Bounded] | UnsetType = UNSET
    listed: list[Bounded] | UnsetType = UNSET
    of_lists: dict[str, Annotated[list[Slug], at_most(2)]] | UnsetType = UNSET


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"by_name": {"a": {}, "k": {"names": ["a", "b", "c"]}}}, "data.by_name.k.names"),
        ({"listed": [{}, {"names": ["a", "b", "c"]}]}, "data.listed[1].names"),
        ({"of_lists": {"k": ["a", "b", "c"]}}, "data.of_lists.k"),
    ],
)
def test_a_list_that_is_longer_than_its_bound_is_named_however_deep_it_is(data: dict[str, Any], path: str) -> None:
    assert Validator(Holds).parse(data) == [(path, "expected array of length <= 2")]
