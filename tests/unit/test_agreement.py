"""When a wish is already true: how what is given compares with what is kept."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from agents.agreement import agrees, restates
from agents.state import StatePart
from schemas.fields import Number, Slug
from schemas.messages import Message


class Tune(Message):
    model: Slug
    temperature: Number | UnsetType = UNSET


class Tuned(StatePart):
    model: str = ""
    temperature: int | float | None = None


def test_what_is_not_given_plays_no_part_where_parts_change() -> None:
    assert agrees(Tune(model="a"), Tuned(model="a", temperature=1))
    assert not agrees(Tune(model="a", temperature=0), Tuned(model="a", temperature=1))


def test_where_the_whole_is_said_again_a_kept_zero_is_something_that_was_not_given() -> None:
    assert restates(Tune(model="a"), Tuned(model="a"))
    assert not restates(Tune(model="a"), Tuned(model="a", temperature=0))
    assert restates(Tune(model="a", temperature=0), Tuned(model="a", temperature=0.0))
