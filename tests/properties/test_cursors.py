"""Cursors: they say where a reader goes on, fit into a URL, and nothing but what was given out is taken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.agents.reading.gathering.aggregates import decode_places, encode_places
from annals.agents.reading.gathering.cursors import (
    CURSOR_CHARACTERS,
    BadCursorError,
    Cursor,
    CursorTooLongError,
    Place,
    begin,
    decode,
    encode,
    seal_text,
)
from annals.agents.reading.gathering.key_cursors import decode_keys, encode_keys
from annals.agents.reading.gathering.row_cursors import FORM, decode_place, encode_place

GREATEST = (1 << 62) - 1
PLACES = st.builds(
    Place, st.none() | st.integers(-1, GREATEST), st.just(b"") | st.binary(min_size=4, max_size=4).filter(any)
)
COUNTS = st.dictionaries(st.sampled_from(["person", "organization", "agent", "Ä"]), st.integers(1, 5), min_size=1)


@st.composite
def cursors(draw: st.DrawFn) -> tuple[Cursor, dict[str, int]]:
    counts = draw(COUNTS)
    keys = [(kind, partition) for kind, count in counts.items() for partition in range(count)]
    return Cursor({key: draw(PLACES) for key in keys}, draw(st.booleans())), counts


@given(cursors())
def test_a_cursor_comes_back_as_it_was(made: tuple[Cursor, dict[str, int]]) -> None:
    cursor, counts = made
    text = encode(cursor)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,4096}", text)
    again = decode(text, counts, descending=cursor.descending)
    assert dict(again.places) == dict(cursor.places)
    with pytest.raises(BadCursorError):
        decode(text, counts, descending=not cursor.descending)
    for kind, count in counts.items():
        with pytest.raises(BadCursorError):
            decode(text, counts | {kind: count + 1}, descending=cursor.descending)
    with pytest.raises(BadCursorError):
        decode(text, counts | {"workflow": 1}, descending=cursor.descending)


@given(cursors(), st.data())
def test_an_altered_cursor_is_refused(made: tuple[Cursor, dict[str, int]], data: st.DataObject) -> None:
    cursor, counts = made
    text = encode(cursor)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[at]))
    for altered in (text[:at] + other + text[at + 1 :], text[:at], text[:at] + other + text[at:], text + "=", ""):
        if altered != text:
            with pytest.raises(BadCursorError):
                decode(altered, counts, descending=cursor.descending)


@given(st.binary(max_size=60) | cursors().map(lambda made: encode(made[0]).encode()[:60]))
def test_what_has_the_right_check_and_is_no_cursor_is_refused(data: bytes) -> None:
    text = seal_text(data)
    counts = {"person": 1, "organization": 3}
    for descending in (False, True):
        try:
            cursor = decode(text, counts, descending=descending)
        except BadCursorError:
            continue
        assert encode(cursor) == text  # hypothesis has made a cursor
    with pytest.raises(BadCursorError):
        decode_places(text + "A", "person", 3)


@given(st.text(max_size=5_000))
def test_whatever_comes_is_a_cursor_or_refused(text: str) -> None:
    with pytest.raises(BadCursorError):
        decode(text, {"person": 4}, descending=False)
    with pytest.raises(BadCursorError):
        decode_places(text, "person", 4)


def test_seven_kinds_of_32_partitions_fit_at_any_offset() -> None:
    kinds = ("person", "organization", "agent", "location", "policy", "document", "workflow")
    places = {(kind, partition): Place(GREATEST, b"\xff" * 4) for kind in kinds for partition in range(32)}
    text = encode(Cursor(places))
    assert len(text) <= CURSOR_CHARACTERS
    assert dict(decode(text, dict.fromkeys(kinds, 32), descending=False).places) == places


def test_a_cursor_that_does_not_fit_is_refused_when_it_is_made() -> None:
    with pytest.raises(CursorTooLongError, match="4096"):
        encode(begin({"person": 2_000}, descending=False))


@given(st.lists(st.none() | st.text(max_size=8), min_size=1, max_size=6))
def test_places_in_a_list_of_aggregates_come_back_as_they_were(places: list[str | None]) -> None:
    text = encode_places("person", places)
    assert decode_places(text, "person", len(places)) == places
    with pytest.raises(BadCursorError):
        decode_places(text, "person", len(places) + 1)
    with pytest.raises(BadCursorError):
        decode_places(text, "agent", len(places))


@given(st.integers(0, (1 << 32) - 1), st.lists(st.none() | st.binary(max_size=8), min_size=1, max_size=6))
def test_places_in_rows_come_back_as_they_were(version: int, after: list[bytes | None]) -> None:
    text = encode_place("organizations", {"name": "ada"}, version, after)
    assert decode_place(text, "organizations", {"name": "ada"}) == (version, after)
    with pytest.raises(BadCursorError):
        decode_place(text, "organizations", {"name": "bob"})


@pytest.mark.parametrize("version", [b"", b"\1", b"\1" * 5, b"\1" * 2_000])
def test_a_version_of_another_length_than_one_has_is_refused(version: bytes) -> None:
    """Goes red when a made-up one has so many digits that it cannot be told."""
    of, _ = decode_keys(encode_place("organizations", {}, 1, [None]), FORM)
    with pytest.raises(BadCursorError):
        decode_place(encode_keys(FORM, of[:-4] + version, [b"a", None]), "organizations", {})
