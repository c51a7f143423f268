"""What the kit draws from types is valid, for every named type and for types of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from annals.agents.testing import extremes
from annals.agents.testing.strategies import structs, values
from annals.schemas.data.complaints import complaints
from annals.schemas.kinds import document, workflow
from annals.schemas.messages import Message, Part
from annals.schemas.values import fields
from annals.schemas.values.constraints import UNORDERED, checked, marks_of, type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTED = {"Any", "Annotated", "Final", "Meta"}
NAMED = sorted(name for name in vars(fields) if name[0].isupper() and not name.isupper() and name not in IMPORTED)

ENDS = {"Date": extremes.DAYS, "Time": extremes.MOMENTS} | {
    name: extremes.TEXTS[id(marks[0])]
    for name in NAMED
    if (marks := marks_of(getattr(fields, name))[1]) and id(marks[0]) in extremes.TEXTS
}

Even = Annotated[int, Meta(ge=0, le=10), checked(lambda n: None if n % 2 == 0 else "is odd")]


class Place(Part):
    country: Literal["gb", "us"]
    region: Literal["gb-eng", "us-ca"] | UnsetType | None = UNSET

    def problems(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.region, str) and not self.region.startswith(self.country):
            yield "region", "is of another country"


class Own(Message):
    code: Annotated[str, Meta(pattern="^[A-Z]{3}-[0-9]+$", max_length=8)]
    even: Even
    flag: bool
    ratio: fields.Number
    level: Literal["low", "high"]
    pair: Annotated[list[Even], Meta(min_length=2, max_length=2), UNORDERED]
    free: dict[str, Any] | UnsetType = UNSET
    notes: Annotated[dict[str, Any], fields.object_within(32)] | UnsetType = UNSET


class Optional(Message):
    plain: str | UnsetType | None = UNSET
    places: Annotated[dict[fields.Slug, Place], Meta(max_length=2)] | UnsetType = UNSET
    size: int = 3


@pytest.mark.parametrize("name", NAMED)
@given(data=st.data())
def test_values_of_a_named_type_are_valid(name: str, data: st.DataObject) -> None:
    annotation = getattr(fields, name)
    value = data.draw(values(annotation))
    assert list(complaints(annotation, value, "")) == []


@given(st.one_of(structs(Own), structs(Optional)))
def test_messages_with_parts_maps_sets_and_rules_are_valid(message: Message) -> None:
    assert list(complaints(type(message), msgspec.to_builtins(message), "")) == []


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a text of 32,000 characters
@pytest.mark.parametrize("name", sorted(ENDS))
def test_the_ends_of_a_named_text_are_valid_and_drawn(name: str) -> None:
    annotation = getattr(fields, name)
    for text in ENDS[name]:
        assert list(complaints(annotation, text, "")) == [], text[:80]
    assert find(values(annotation), lambda drawn: drawn in ENDS[name]) in ENDS[name]


def test_numbers_lists_and_maps_reach_their_ends() -> None:
    assert find(values(fields.Count), lambda number: number == 2**64 - 1)
    assert find(values(fields.Number), lambda number: number == -(2**63))
    assert find(values(fields.Number), lambda number: number == 5e-324)
    assert find(values(document.Tags), lambda tags: len(tags) == 50)
    assert find(values(document.Tags), lambda tags: tags == []) == []
    steps = type_hints(workflow.DefineWorkflow)["steps"]
    assert len(find(values(steps), lambda steps: len(steps) == 100)) == 100


def test_members_that_need_not_be_given_are_given_and_not() -> None:
    assert find(structs(Optional), lambda own: own.plain is UNSET and own.size == 3)
    assert find(structs(Optional), lambda own: own.plain is None and own.size != 3)
    assert find(structs(Optional), lambda own: own.places is not UNSET and len(own.places) > 1)


def test_a_type_that_json_does_not_have_has_no_strategy() -> None:
    with pytest.raises(TypeError, match="no strategy for"):
        values(bytes)
