"""When a wish is already true: how what is given compares with what is kept."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from annals.agents.deciding.comparison import is_identical, matches
from annals.agents.deciding.state import StatePart
from annals.schemas.messages import Message
from annals.schemas.values.fields import Number, Slug


class Tune(Message):
    model: Slug
    temperature: Number | UnsetType = UNSET


class Tuned(StatePart):
    model: str = ""
    temperature: int | float | None = None


def test_what_is_not_given_plays_no_part_where_parts_change() -> None:
    assert matches(Tune(model="a"), Tuned(model="a", temperature=1))
    assert not matches(Tune(model="a", temperature=0), Tuned(model="a", temperature=1))


def test_where_the_whole_is_said_again_a_kept_zero_is_something_that_was_not_given() -> None:
    assert is_identical(Tune(model="a"), Tuned(model="a"))
    assert not is_identical(Tune(model="a"), Tuned(model="a", temperature=0))
    assert is_identical(Tune(model="a", temperature=0), Tuned(model="a", temperature=0.0))
