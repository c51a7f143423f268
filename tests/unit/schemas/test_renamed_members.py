"""A member whose name on the wire is a word of Python's: parsed, complained about and read back under its own name."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field, to_builtins

from annals.schemas.data.stored import Reader
from annals.schemas.data.validation import Validator
from annals.schemas.messages import Message, Part
from annals.schemas.values.fields import Slug, Time

NEW_YEAR = "2026-01-01T00:00:00Z"


class Inner(Part):
    from_: Slug = field(name="from")


class Lend(Message):
    from_: Time = field(name="from")
    until: Time | UnsetType = UNSET
    inner: Inner | UnsetType = UNSET


WHOLE = {"from": NEW_YEAR, "inner": {"from": "a"}}


def test_a_renamed_member_is_parsed_and_written_by_its_name_on_the_wire() -> None:
    parsed = Validator(Lend).parse(WHOLE)
    assert parsed == Lend(from_=NEW_YEAR, inner=Inner(from_="a"))
    assert to_builtins(parsed) == WHOLE


def test_a_renamed_member_is_read_back() -> None:
    assert Reader(Lend).read(WHOLE) == Lend(from_=NEW_YEAR, inner=Inner(from_="a"))


def test_complaints_name_a_renamed_member_as_on_the_wire() -> None:
    assert Validator(Lend).parse({"inner": {"from": "A"}}) == [
        ("data.from", "is required"),
        ("data.inner.from", "must be a slug: 1 to 64 of a-z 0-9 . _ - (a letter or digit first)"),
    ]
    found = Validator(Lend).parse({"from": 1, "from_": NEW_YEAR})
    assert isinstance(found, list)
    assert [path for path, _ in found] == ["data.from", "data.from_"]
